//! Query parameters as Docker's clients write them.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Deserialize;

use super::versions::Spoken;
use crate::engine::error::{Error, Result};
use crate::engine::filters::Filters;

/// The query of a request. A parameter that is missing is as one that is empty.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>, Option<Spoken>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let query =
            axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let spoken = parts.extensions.get().cloned();
        Ok(Self(query.map(|query| query.0).unwrap_or_default(), spoken))
    }
}

impl Params {
    /// The text of a parameter; `None` if it is missing or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let given = self.0.iter().rev().find(|(given, _)| given == name);
        given.map(|(_, text)| text.as_str()).filter(|text| !text.is_empty())
    }

    /// All texts of a parameter that may be given several times, but for empty ones.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let given = self.0.iter().filter(move |(given, text)| given == name && !text.is_empty());
        given.map(|(_, text)| text.as_str())
    }

    /// True if the client speaks a version of the API before this one: `1.44`.
    pub fn before(&self, version: &str) -> bool {
        self.1.as_ref().is_some_and(|spoken| spoken.before(version))
    }

    /// Docker's idea of true: anything but nothing, 0, no, false and none.
    pub fn flag(&self, name: &str) -> bool {
        let text = self.text(name).unwrap_or("").to_ascii_lowercase();
        !matches!(text.trim(), "" | "0" | "no" | "false" | "none")
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse();
        number.map(Some).map_err(|_| Error::bad_parameter(format!("{name}={text} is not a number")))
    }

    /// The `filters` parameter: `{"name":["web"]}`, or the older `{"name":{"web":true}}`.
    pub fn filters(&self) -> Result<Filters> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Map(HashMap<String, bool>),
        }
        let Some(text) = self.text("filters") else { return Ok(Filters::default()) };
        let parsed: HashMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| Error::bad_parameter(format!("understand filters {text}: {error}")))?;
        let pairs = parsed.into_iter().flat_map(|(key, values)| {
            let values = match values {
                Values::List(list) => list,
                Values::Map(map) => {
                    map.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect()
                }
            };
            values.into_iter().map(move |value| (key.clone(), value))
        });
        Ok(Filters::new(pairs))
    }
}
