//! Events, told to those who listen.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::error::{Error, Result};
use super::filters::Filters;
use crate::store::Events;
use crate::store::events::{Event, EventReader, Kind};

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is asked for.
#[derive(Debug, Default)]
pub struct Query {
    /// Also what has happened since then; without, only what comes.
    pub since: Option<Timestamp>,
    /// Up to then; without, for ever.
    pub until: Option<Timestamp>,
    /// Only what all of these admit.
    pub filters: Filters,
}

/// Someone who listens.
pub struct Listener {
    reader: EventReader,
    query: Query,
    /// When `until` is, on the clock that waits.
    end: Option<Instant>,
}

/// Begins to listen: what happens from here on is not missed.
///
/// # Errors
/// The log of events cannot be made.
pub fn listen(events: &Events, query: Query) -> Result<Listener> {
    let what = |error: io::Error| Error::system(format!("listen to events: {error}"));
    let reader = match query.since.or(query.until) {
        Some(_) => events.read(),
        None => events.read_from_now(),
    };
    let left = |until: Timestamp| Duration::try_from(until - Timestamp::now()).unwrap_or_default();
    let end = query.until.map(|until| Instant::now() + left(until));
    Ok(Listener { reader: reader.map_err(what)?, query, end })
}

impl Listener {
    /// The next event that was asked for, as a line of JSON. `None`: there will be no more.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            while let Some(line) = self.reader.next().ok()? {
                let Ok(event) = serde_json::from_slice::<Event>(&line) else { continue };
                if self.query.until.is_some_and(|until| nanoseconds(until) < event.time_nano) {
                    return None;
                }
                if self.query.admits(&event) {
                    return Some(line);
                }
            }
            if self.end.is_some_and(|end| end <= Instant::now()) {
                return None;
            }
            sleep(LOOK).await;
        }
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    time.as_nanosecond() as i64
}

impl Query {
    fn admits(&self, event: &Event) -> bool {
        let filters = &self.filters;
        let kind = serde_json::to_value(event.kind).unwrap_or_default();
        let attributes = &event.actor.attributes;
        let named = |wanted: &str| {
            let name = attributes.get("name").map(String::as_str).unwrap_or_default();
            event.actor.id.starts_with(wanted) || name.starts_with(wanted)
        };
        let is = |key: &str, wanted: Kind| {
            filters.admit(key, |text| event.kind == wanted && named(text))
        };
        self.since.is_none_or(|since| nanoseconds(since) <= event.time_nano)
            && filters.admit("type", |wanted| kind == wanted)
            && filters.admit("event", |wanted| is_action(&event.action, wanted))
            && filters.admit("scope", |wanted| event.scope == wanted)
            && is("container", Kind::Container)
            && is("volume", Kind::Volume)
            && is("network", Kind::Network)
            && filters.admit("image", |wanted| is_image(event, wanted))
            && filters.admit("daemon", |_| false)
            && filters.admit("plugin", |_| false)
            && filters.admit_labels(|key| attributes.get(key).cloned())
    }
}

/// `exec_create` and `health_status` also mean every event of theirs.
fn is_action(action: &str, wanted: &str) -> bool {
    let of = |kind: &str| kind == wanted && (kind.starts_with("exec_") || kind == "health_status");
    action == wanted || action.split_once(':').is_some_and(|(kind, _)| of(kind))
}

/// An image's own events, and those of its containers.
fn is_image(event: &Event, wanted: &str) -> bool {
    let key = if event.kind == Kind::Container { "image" } else { "name" };
    let name = event.actor.attributes.get(key).map(String::as_str).unwrap_or_default();
    let repository = name
        .rsplit_once(':')
        .map_or(name, |(repository, tag)| if tag.contains('/') { name } else { repository });
    [event.actor.id.as_str(), name, repository].contains(&wanted)
}

/// A time of the API: seconds since the epoch with an optional fraction, or RFC 3339.
/// Exact to the nanosecond, as events are.
///
/// # Errors
/// It is none of the two.
pub fn parse_time(text: &str) -> Result<Timestamp> {
    let exact = || {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        Timestamp::new(seconds.parse().ok()?, digits.parse().ok()?).ok()
    };
    exact().map_or_else(|| super::logs::parse_time(text), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::events::Actor;

    fn admits(event: &Event, pairs: &[(&str, &str)]) -> bool {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Query { filters: Filters::new(pairs), ..Query::default() }.admits(event)
    }

    #[test]
    fn filters_mean_what_they_mean_to_docker() {
        let actor = Actor::new("abcdef").with("name", "web").with("image", "nginx:1");
        let start = Event::now(Kind::Container, "start", actor.clone());
        let exec = Event::now(Kind::Container, "exec_create: sh -c ls", actor);
        assert!(admits(&start, &[("container", "web"), ("type", "container")]));
        assert!(admits(&start, &[("container", "abc"), ("image", "nginx")]));
        assert!(admits(&start, &[("event", "die"), ("event", "start")]));
        assert!(admits(&exec, &[("event", "exec_create")]));
        assert!(!admits(&exec, &[("event", "exec_die")]));
        assert!(!admits(&start, &[("type", "volume")]));
        assert!(!admits(&start, &[("network", "web")]));
        assert!(!admits(&start, &[("label", "tier")]));
    }

    #[test]
    fn a_time_keeps_its_nanoseconds() {
        let time = parse_time("1763700000.123456789").unwrap();
        assert_eq!(time.as_nanosecond(), 1_763_700_000_123_456_789);
        assert_eq!(parse_time("1763700000").unwrap().as_second(), 1_763_700_000);
        assert!(parse_time("2026-01-02T03:04:05Z").is_ok() && parse_time("noon").is_err());
    }
}
