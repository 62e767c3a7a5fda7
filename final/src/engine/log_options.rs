//! What is asked of a container's log: `--log-opt`, of Docker's json-file driver.
//!
//! ```text
//!   max-size=10m  max-file=3            how much is kept
//!   labels=tier   labels-regex=^app     labels, and
//!   env=MODE      env-regex=^CI_        variables, that are kept with every line
//!   tag={{.Name}}/{{.ID}}               and a text made for the container
//! ```
//!
//! Source: Docker's documentation of the JSON file logging driver.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::json;

use super::error::{Error, Result};
use super::record::Record;
use super::spec;
use crate::runtime::shim::LogOptions;
use crate::template::Template;
use crate::template::value::Value;

/// The options of a container's log, decided.
///
/// # Errors
/// A driver or an option that there is not, or a value that makes no sense.
pub fn of(record: &Record) -> Result<LogOptions> {
    let mut options = LogOptions::default();
    let Some(config) = &record.host_config.log_config else { return Ok(options) };
    match config.typ.as_deref().unwrap_or("") {
        "" | "json-file" | "local" => {}
        "none" => return Ok(options),
        other => {
            return Err(Error::bad_parameter(format!(
                "logger: no log driver named '{other}' is registered"
            )));
        }
    }
    let labels: BTreeMap<_, _> =
        record.config.labels.clone().unwrap_or_default().into_iter().collect();
    let variables = spec::pairs(record.config.env.as_deref().unwrap_or_default());
    let variables: BTreeMap<_, _> = variables.into_iter().collect();
    for (key, value) in config.config.iter().flatten() {
        let wrong = || Error::bad_parameter(format!("invalid value '{value}' of log option {key}"));
        match key.as_str() {
            "max-size" => {
                options.max_size = Some(cgroups::size::bytes(value).map_err(|_| wrong())?)
            }
            "max-file" => {
                let count = value.parse().ok().filter(|count| *count > 0);
                options.max_file = count.ok_or_else(wrong)?;
            }
            "labels" => options.attributes.extend(named(&labels, value)),
            "env" => options.attributes.extend(named(&variables, value)),
            "labels-regex" => options.attributes.extend(matching(&labels, value)?),
            "env-regex" => options.attributes.extend(matching(&variables, value)?),
            "tag" if value.is_empty() => {}
            "tag" => drop(options.attributes.insert(key.clone(), tag(record, value)?)),
            _ => {
                return Err(Error::bad_parameter(format!(
                    "unknown log opt '{key}' for json-file log driver"
                )));
            }
        }
    }
    Ok(options)
}

type Pairs = BTreeMap<String, String>;

/// Those that a list with commas names, as far as they are there.
fn named(all: &Pairs, names: &str) -> Pairs {
    let pair = |name| all.get_key_value(name).map(|(key, value)| (key.clone(), value.clone()));
    names.split(',').filter_map(pair).collect()
}

/// Those whose names fit a regular expression.
fn matching(all: &Pairs, pattern: &str) -> Result<Pairs> {
    let pattern = Regex::new(pattern).map_err(|why| {
        Error::bad_parameter(format!("failed to initialize logging driver: {pattern:?}: {why}"))
    })?;
    let fits = all.iter().filter(|(name, _)| pattern.is_match(name));
    Ok(fits.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The text that a template makes of a container.
fn tag(record: &Record, template: &str) -> Result<String> {
    let first = |id: &str| id.chars().take(12).collect::<String>();
    let container = json!({
        "ID": first(&record.id),
        "FullID": record.id,
        "Name": record.name,
        "ImageID": first(&record.image_id),
        "ImageFullID": record.image_id,
        "ImageName": record.image(),
        "DaemonName": "coracle",
    });
    let text = Template::parse(template)
        .and_then(|template| template.render_raw(&Value::from(&container)));
    text.map_err(|why| Error::bad_parameter(format!("failed to initialize logging driver: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_named_or_fit_a_pattern() {
        let all: Pairs = [("tier", "web"), ("app.name", "x"), ("app.team", "sea")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let keys = |found: Pairs| found.into_keys().collect::<Vec<_>>();
        assert_eq!(keys(named(&all, "tier,none")), ["tier"]);
        assert_eq!(keys(matching(&all, "^app\\.").unwrap()), ["app.name", "app.team"]);
        assert!(matching(&all, "(").is_err());
    }
}
