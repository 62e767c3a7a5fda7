//! Patience with registries.

use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, header};

/// How often in a row a request may fail.
const ATTEMPTS: u32 = 6;
/// No registry makes us wait longer than this before the user hears of it.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses that double: 0.2, 0.4, 0.8, 1.6, 3.2 seconds, and a little more, so that
/// many machines that failed together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause, or what the registry asks for instead; `None` is the end of patience.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= ATTEMPTS || asked.is_some_and(|asked| asked > LONGEST) {
            return None;
        }
        let base = Duration::from_millis(100 << self.failures);
        Some(asked.unwrap_or(base + base.mul_f64(jitter() / 4.0)))
    }

    /// Something arrived: patience is as at the start.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Waits between the tries of one request, and tells who asked for it.
pub(crate) struct Patience<'a> {
    backoff: Backoff,
    waiting: &'a mut dyn FnMut(String, Duration),
}

impl<'a> Patience<'a> {
    /// `waiting` hears of every pause: why, and how long.
    pub(crate) fn new(waiting: &'a mut dyn FnMut(String, Duration)) -> Self {
        Self { backoff: Backoff::default(), waiting }
    }

    /// Pauses, as long as was asked for if anything was. False at the end of patience.
    pub(crate) fn wait(&mut self, why: String, asked: Option<Duration>) -> bool {
        let Some(pause) = self.backoff.next(asked) else { return false };
        (self.waiting)(why, pause);
        std::thread::sleep(pause);
        true
    }
}

/// A number from 0 to 1 that nobody can use for anything but this.
fn jitter() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    f64::from(now.subsec_nanos() % 1000) / 1000.0
}

/// `Retry-After`, in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(date.duration_since(jiff::Timestamp::now()).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.next(None)).collect();
        assert_eq!(pauses.len(), 5);
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
    }

    #[test]
    fn the_registry_may_ask_for_a_pause_within_reason() {
        assert_eq!(header("3"), Some(Duration::from_secs(3)));
        assert_eq!(header("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(header("soon"), None);
        assert_eq!(Backoff::default().next(header("3")), Some(Duration::from_secs(3)));
        assert_eq!(Backoff::default().next(header("3600")), None);
    }
}
