//! `--filter key=value`: all keys must match, any value of a key is enough.

use std::time::Duration;

use jiff::Timestamp;
use regex_lite::Regex;

use crate::engine::error::{Error, Result};
use crate::engine::time;

/// What a listing is narrowed to.
#[derive(Debug, Default, Clone)]
pub struct Filters(Vec<(String, String)>);

impl Filters {
    /// Filters from pairs of key and value.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// Adds a value of a key.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.push((key.to_owned(), value.to_owned()));
    }

    /// Refuses keys that this listing does not know.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(Error::bad_parameter(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// True if a value was given for `key`.
    pub fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// The values given for `key`.
    pub fn values<'a>(&'a self, key: &'a str) -> impl DoubleEndedIterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    /// True if nothing was asked of `key`, or one of its values matches.
    pub fn admit(&self, key: &str, matches: impl Fn(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(matches)
    }

    /// As [`Filters::admit`], where a value is a regular expression. One that is none
    /// matches nothing.
    pub fn matches(&self, key: &str, text: &str) -> bool {
        self.admit(key, |wanted| {
            wanted == text || Regex::new(wanted).is_ok_and(|wanted| wanted.is_match(text))
        })
    }

    /// The `label` filter: `key` or `key=value`, and here all of them must match.
    pub fn admit_labels(&self, label: impl Fn(&str) -> Option<String>) -> bool {
        self.values("label").all(|wanted| has_label(wanted, &label))
            && (!self.has("label!")
                || !self.values("label!").all(|wanted| has_label(wanted, &label)))
    }

    /// Whether a filter that is true or false is true; `None` if nothing was asked of it.
    ///
    /// # Errors
    /// A value that is neither, or both.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        if !self.has(key) {
            return Ok(None);
        }
        let given = |words: [&str; 2]| self.values(key).any(|value| words.contains(&value));
        let (yes, no) = (given(["1", "true"]), given(["0", "false"]));
        if yes == no {
            let values: Vec<_> = self.values(key).collect();
            let values = values.join(" ");
            return Err(Error::bad_parameter(format!("invalid filter '{key}=[{values}]'")));
        }
        Ok(Some(yes))
    }

    /// The moment before which something must have been created: `until=10m`, a time
    /// in RFC 3339, a date, or seconds since the epoch.
    ///
    /// # Errors
    /// More than one, or one that is no time.
    pub fn until(&self) -> Result<Option<Timestamp>> {
        let mut values = self.values("until");
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::bad_parameter("more than one until filter specified"));
        }
        let wrong =
            || Error::bad_parameter(format!("invalid value for \"until\": \"{value}\" is no time"));
        if let Some(ago) = time::go_duration(value) {
            let then = Timestamp::now().checked_sub(Duration::from_secs_f64(ago));
            return then.map(Some).map_err(|_| wrong());
        }
        time::moment(value).map(Some).ok_or_else(wrong)
    }
}

fn has_label(wanted: &str, label: &impl Fn(&str) -> Option<String>) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => label(key).as_deref() == Some(value),
        None => label(wanted).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        Filters::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())))
    }

    #[test]
    fn a_name_is_a_regular_expression() {
        let some = filters(&[("name", "^web[0-9]$"), ("name", "exact")]);
        for (name, admitted) in [("web1", true), ("web12", false), ("exact", true), ("b", false)] {
            assert_eq!(some.matches("name", name), admitted, "{name}");
        }
        assert!(!filters(&[("name", "(")]).matches("name", "a"));
    }

    #[test]
    fn a_flag_is_true_or_false_and_not_both() {
        assert_eq!(filters(&[]).flag("dangling"), Ok(None));
        assert_eq!(filters(&[("dangling", "1")]).flag("dangling"), Ok(Some(true)));
        let wrong = filters(&[("dangling", "x")]).flag("dangling").unwrap_err();
        assert_eq!(wrong.message, "invalid filter 'dangling=[x]'");
        assert!(filters(&[("d", "1"), ("d", "0")]).flag("d").is_err());
    }

    #[test]
    fn until_is_a_duration_or_a_time() {
        let until =
            |value| filters(&[("until", value)]).until().map(|time| time.unwrap().as_second());
        assert_eq!(until("2020-01-02T03:04:05Z"), Ok(1_577_934_245));
        assert_eq!(until("1577934245"), Ok(1_577_934_245));
        assert!(until("1h30m").unwrap() < Timestamp::now().as_second() - 5000);
        assert!(until("yesterday").is_err());
    }
}
