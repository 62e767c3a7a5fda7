//! Times as Docker writes them, and durations as people say them.

use jiff::Timestamp;

/// What Docker writes where a time is not known: Go's zero time.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// Now, in RFC 3339 with nanoseconds, UTC.
pub fn now() -> String {
    format!("{:.9}", Timestamp::now())
}

/// Seconds since the epoch of a time in RFC 3339; 0 where it cannot be read.
pub fn seconds(text: &str) -> i64 {
    text.parse::<Timestamp>().map(|time| time.as_second()).unwrap_or(0)
}

/// Seconds from a time in RFC 3339 until now.
pub fn age(text: &str) -> i64 {
    (Timestamp::now().as_second() - seconds(text)).max(0)
}

/// Seconds from a number of seconds since the epoch until now.
pub fn since(seconds: i64) -> i64 {
    (Timestamp::now().as_second() - seconds).max(0)
}

/// A number of seconds since the epoch as a date and a time of day, UTC.
pub fn local(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// A number of seconds since the epoch in RFC 3339, UTC.
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// A duration in Docker's words: `About a minute`, `3 weeks`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// A duration as Go writes it, in seconds: `10m`, `1h30m`, `1.5h`, `300ms`.
pub fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let each = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * each;
        rest = tail;
    }
    (!text.is_empty()).then_some(seconds)
}

/// A moment as Docker's filters have it: seconds since the epoch, a time in RFC 3339,
/// or one without its zone or its end, which is UTC.
pub fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Timestamp::from_nanosecond((seconds * 1e9) as i128).ok();
    }
    let whole = || text.parse::<Timestamp>().ok();
    let local = || {
        let ends = ["", ":00", ":00:00", "T00:00:00"];
        ends.iter().find_map(|end| format!("{text}{end}Z").parse::<Timestamp>().ok())
    };
    whole().or_else(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_docker_says_them() {
        let said: Vec<_> = [0, 1, 59, 61, 3599, 3700, 7300, 86_400 * 3, 86_400 * 15, 86_400 * 90]
            .into_iter()
            .map(human_duration)
            .collect();
        assert_eq!(
            said,
            [
                "Less than a second",
                "1 second",
                "59 seconds",
                "About a minute",
                "59 minutes",
                "About an hour",
                "2 hours",
                "3 days",
                "2 weeks",
                "3 months"
            ]
        );
    }
}
