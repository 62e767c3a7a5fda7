//! Signals, as people write them.

use nix::sys::signal::Signal;

/// `9`, `KILL`, `SIGKILL`, `kill`; also the real-time ones as `RTMIN+3`, `RTMAX-1`.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let number = if let Some(text) = name.strip_prefix("RTMIN") {
        libc::SIGRTMIN() + offset(text, '+')?
    } else if let Some(text) = name.strip_prefix("RTMAX") {
        libc::SIGRTMAX() - offset(text, '-')?
    } else {
        format!("SIG{name}").parse::<Signal>().ok()? as i32
    };
    (1..=64).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_number_or_a_name() {
        for text in ["15", "TERM", "SIGTERM", "term", "sigterm"] {
            assert_eq!(parse(text), Some(15), "{text}");
        }
        assert_eq!(parse("RTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(parse("SIGRTMAX-1"), Some(libc::SIGRTMAX() - 1));
        for bad in ["0", "65", "-1", "SIGFOO", "", "RTMIN+99", "RTMIN3"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
