//! `--filter key=value`: all keys must match, any value of a key is enough.

use crate::engine::error::{Error, Result};

/// What a listing is narrowed to.
#[derive(Debug, Default, Clone)]
pub struct Filters(Vec<(String, String)>);

impl Filters {
    /// Filters from pairs of key and value.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// Refuses keys that this listing does not know.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(Error::bad_parameter(format!(
                "invalid filter '{key}': this listing knows {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// True if a value was given for `key`.
    pub fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// The values given for `key`.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    /// True if nothing was asked of `key`, or one of its values matches.
    pub fn admit(&self, key: &str, matches: impl Fn(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(matches)
    }

    /// The `label` filter: `key` or `key=value`, and here all of them must match.
    pub fn admit_labels(&self, label: impl Fn(&str) -> Option<String>) -> bool {
        self.values("label").all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => label(key).as_deref() == Some(value),
            None => label(wanted).is_some(),
        })
    }
}
