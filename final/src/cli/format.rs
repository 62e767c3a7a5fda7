//! How listings are printed: a table, ids only, JSON, or through a template.

use std::fmt::Write;

use anyhow::{Result, bail};
use bollard_stubs::models::PortSummary;
use serde_json::Value;

use super::out;
use super::table::Table;

/// What `--format` and `--quiet` ask for.
pub enum Format {
    /// A table of these columns.
    Table(Vec<String>),
    /// The id of each row.
    Ids,
    /// A line of JSON for each row.
    Json,
    /// A line made by a template for each row.
    Template(Template),
}

impl Format {
    /// Reads the options.
    pub fn new(format: Option<&str>, quiet: bool, columns: &[&str]) -> Result<Self> {
        Ok(match format {
            _ if quiet && format.is_none() => Self::Ids,
            None | Some("" | "table") => {
                Self::Table(columns.iter().map(|c| (*c).to_owned()).collect())
            }
            Some("json") => Self::Json,
            Some(text) => match text.strip_prefix("table ") {
                Some(template) => Self::Table(Template::parse(template)?.fields()),
                None => Self::Template(Template::parse(text)?),
            },
        })
    }

    /// Prints all rows, a table with `header`'s headings.
    pub fn print(&self, rows: Vec<Value>, header: fn(&str) -> String) -> Result<()> {
        let mut out = String::new();
        match self {
            Self::Table(columns) => {
                let mut table = Table::new(columns.iter().map(|column| header(column)));
                for row in &rows {
                    table.row(columns.iter().map(|column| field(row, column)));
                }
                out = table.to_string();
            }
            Self::Ids => {
                rows.iter().try_for_each(|row| writeln!(out, "{}", field(row, "ID")))?;
            }
            Self::Json => rows.iter().try_for_each(|row| writeln!(out, "{row}"))?,
            Self::Template(template) => {
                for row in &rows {
                    writeln!(out, "{}", template.render(row)?)?;
                }
            }
        }
        out::text(out)
    }
}

/// A template in the form that Docker users write: text, `{{.Field.Of.Field}}` and
/// `{{json .Field}}`. Go's whole language is not spoken; what is not understood is
/// refused, never printed wrongly.
pub struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Field { path: Vec<String>, json: bool },
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, tail)) = rest.split_once("{{") {
            let Some((inside, after)) = tail.split_once("}}") else {
                bail!("template {text:?}: there is a {{{{ without its }}}}");
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Self::field(inside.trim(), &text)?);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    fn field(inside: &str, text: &str) -> Result<Piece> {
        let (json, path) = match inside.strip_prefix("json ") {
            Some(path) => (true, path.trim()),
            None => (false, inside),
        };
        let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match path.strip_prefix('.') {
            Some(path) if path.chars().all(simple) => {
                let path = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned);
                Ok(Piece::Field { path: path.collect(), json })
            }
            _ => bail!(
                "template {text:?}: {{{{{inside}}}}} is not understood; write {{{{.Field}}}} or {{{{json .Field}}}}"
            ),
        }
    }

    /// The first names of all fields.
    fn fields(&self) -> Vec<String> {
        let names = self.0.iter().filter_map(|piece| match piece {
            Piece::Field { path, .. } => path.first().cloned(),
            Piece::Text(_) => None,
        });
        names.collect()
    }

    /// The text for one object.
    pub fn render(&self, object: &Value) -> Result<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field { path, json } => {
                    let value = lookup(object, path)?;
                    out.push_str(&if *json { value.to_string() } else { plain(value) });
                }
            }
        }
        Ok(out)
    }
}

/// Field names are as the API writes them; a difference of case is forgiven where
/// it is the only one.
fn lookup<'a>(object: &'a Value, path: &[String]) -> Result<&'a Value> {
    let mut value = object;
    for name in path {
        let found = match value {
            Value::Object(map) => map.get(name).or_else(|| {
                map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            }),
            _ => None,
        };
        match found {
            Some(found) => value = found,
            None => bail!("template: there is no field {name} in .{}", path.join(".")),
        }
    }
    Ok(value)
}

/// A value as Go's templates print it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}:{}", plain(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// The text of a row's field; empty where it has none.
pub fn field(row: &Value, name: &str) -> String {
    row.get(name).map(plain).unwrap_or_default()
}

/// `RunningFor` is `RUNNING FOR`.
pub fn heading(field: &str) -> String {
    let mut heading = String::new();
    for (at, c) in field.char_indices() {
        let before = field[..at].chars().last();
        if c.is_uppercase() && before.is_some_and(char::is_lowercase) {
            heading.push(' ');
        }
        heading.extend(c.to_uppercase());
    }
    heading
}

/// The first 12 digits of an id, without its algorithm.
pub fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    &digits[..digits.len().min(12)]
}

/// At most `width` characters, the last one an ellipsis if some are left out.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// A size in powers of 1000 with three digits, as Docker prints it: `1.24MB`.
pub fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let decimals = if value >= 100.0 || unit == "B" {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let digits = format!("{value:.decimals$}");
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        &digits
    };
    format!("{digits}{unit}")
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`
pub fn ports(ports: &[PortSummary]) -> String {
    let mut lines: Vec<_> = ports
        .iter()
        .map(|port| {
            let typ = port.typ.map(|typ| typ.to_string()).unwrap_or_else(|| "tcp".into());
            match (port.public_port, &port.ip) {
                (Some(public), Some(ip)) if ip.contains(':') => {
                    format!("[{ip}]:{public}->{}/{typ}", port.private_port)
                }
                (Some(public), ip) => {
                    let ip = ip.as_deref().unwrap_or("0.0.0.0");
                    format!("{ip}:{public}->{}/{typ}", port.private_port)
                }
                (None, _) => format!("{}/{typ}", port.private_port),
            }
        })
        .collect();
    lines.sort();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_prints_fields_and_json() {
        let object = json!({"State": {"Status": "running", "Pid": 7}, "Args": ["a", "b"]});
        let render = |text: &str| Template::parse(text).unwrap().render(&object).unwrap();
        assert_eq!(render("{{.State.Status}}:{{ .State.Pid }}"), "running:7");
        assert_eq!(render("{{json .Args}} {{.Args}}"), r#"["a","b"] [a b]"#);
    }

    #[test]
    fn a_template_that_is_not_understood_is_refused() {
        for text in ["{{range .x}}", "{{.a", "{{if .b}}x{{end}}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Template::parse("{{.Nope}}").unwrap().render(&json!({})).is_err());
    }

    #[test]
    fn sizes_have_three_digits() {
        let said: Vec<_> = [0, 999, 1000, 1240, 12_345_678, 123_456_789].map(size).into();
        assert_eq!(said, ["0B", "999B", "1kB", "1.24kB", "12.3MB", "123MB"]);
    }
}
