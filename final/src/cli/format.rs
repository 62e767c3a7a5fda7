//! How Docker shows things: `--format`, `--quiet`, tables, JSON.
//!
//! For another command:
//!
//! - a list (`ps`, `network ls`): [`Format::new`] with the columns of its table, then
//!   [`Format::print`] with a [`Row`] for each thing and the columns' headings;
//! - lines that come one by one (`stats`, `events`): [`Format::new`], then
//!   [`Format::line`] for each;
//! - one object (`info`, `version`): [`object`];
//! - objects by name (`inspect` of any noun): [`super::inspect::Inspector`].
//!
//! What users write after `--format` is a Go template: [`crate::template`].

use anyhow::Result;
use serde_json::Value as Json;

pub use super::human::{ellipsis, heading, ports, short, size, sum};
use super::out;
use super::table;
use crate::template::Template;
use crate::template::value::{Field, Map, Method, Struct, Value};

/// A template that is wrong, or does not fit.
#[derive(Debug, thiserror::Error)]
#[error("{prefix}{message}")]
pub struct Wrong {
    /// What Docker says before Go's sentence.
    prefix: String,
    /// Go's sentence.
    message: String,
    /// Docker's exit code: 64 for what is no template at all, in some commands.
    pub exit_code: u8,
}

/// What Docker says before Go's sentence, mostly.
const PARSING: &str = "template parsing error";

impl Wrong {
    /// Go's sentence alone, and Docker's exit code.
    pub fn new(message: impl Into<String>, exit_code: u8) -> Self {
        Self { prefix: String::new(), message: message.into(), exit_code }
    }

    /// With what Docker says before it.
    pub fn saying(self, prefix: &str) -> Self {
        Self { prefix: format!("{prefix}: "), ..self }
    }

    /// Go's sentence, and Docker's words for a template in most commands.
    pub fn parsing(why: String, exit_code: u8) -> Self {
        Self::new(why, exit_code).saying(PARSING)
    }
}

/// One thing of a list, as the fields that Docker's templates know.
pub struct Row(Json, Vec<(String, String)>);

impl From<Json> for Row {
    fn from(fields: Json) -> Self {
        Self(fields, Vec::new())
    }
}

impl Row {
    /// With labels, for `{{.Label "key"}}`.
    pub fn labels<'a>(
        mut self,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        self.1 = labels.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        self
    }

    /// As a template sees it.
    pub fn value(&self, of: &str, with_labels: bool) -> Value {
        let map = self.0.as_object();
        let field = |(name, value): (&String, &Json)| {
            let name: std::rc::Rc<str> = name.as_str().into();
            Field { name: name.clone(), json: Some(name), value: row_value(value) }
        };
        let mut fields: Vec<_> = map.into_iter().flatten().map(field).collect();
        if with_labels {
            let labels = self.1.clone();
            let label = move |wanted: &str| {
                let found = labels.iter().find(|(key, _)| key == wanted);
                found.map_or("", |(_, value)| value.as_str()).into()
            };
            fields.push(method("Label", label));
        }
        Value::Struct(Struct { name: of.into(), fields, escaped: true }.into())
    }
}

/// What a row has not is a pointer to nothing.
fn row_value(value: &Json) -> Value {
    if value.is_null() { Value::Nil("*string".into()) } else { value.into() }
}

fn method(name: &str, call: impl Fn(&str) -> Value + 'static) -> Field {
    let method = Method { name: name.into(), call: Box::new(call) };
    Field { name: name.into(), json: None, value: Value::Method(method.into()) }
}

/// What `--format` and `--quiet` ask of a list.
pub struct Format {
    template: Template,
    /// With headings, and columns under each other.
    table: bool,
    /// Go's name of a row, for messages.
    of: &'static str,
    /// What Docker says before the reason why a row does not fit.
    prefix: &'static str,
}

impl Format {
    /// Reads the options. The columns are those of the table that is shown unasked;
    /// the first field of a row that is shown `quiet`ly is its `ID`.
    ///
    /// # Errors
    /// A template that is none.
    pub fn new(format: Option<&str>, quiet: bool, columns: &[&str]) -> Result<Self, Wrong> {
        let columns: Vec<_> = columns.iter().map(|column| format!("{{{{.{column}}}}}")).collect();
        Self::with_table(format, quiet, &columns.join("\t"))
    }

    /// As [`Format::new`], with the template of a table's row.
    ///
    /// # Errors
    /// As for [`Format::new`].
    pub fn with_table(format: Option<&str>, quiet: bool, row: &str) -> Result<Self, Wrong> {
        let format = format.unwrap_or_default();
        if quiet && !matches!(format, "" | "table") {
            out::tell(
                "WARNING: Ignoring custom format, because both --format and --quiet are set.",
            );
        }
        let (table, text) = match format {
            _ if quiet => (false, "{{.ID}}".to_owned()),
            "" | "table" => (true, row.to_owned()),
            "json" => (false, "{{json .}}".to_owned()),
            text => match text.strip_prefix("table") {
                Some(row) => (true, unescape(row.trim_matches(' '))),
                None => (false, unescape(text.trim_matches(' '))),
            },
        };
        let template = Template::parse(&text).map_err(|why| Wrong::parsing(why, 1))?;
        Ok(Self { template, table, of: "*formatter.Context", prefix: PARSING })
    }

    /// With Go's name of a row, which messages tell: `*formatter.volumeContext`.
    pub fn of(mut self, name: &'static str) -> Self {
        self.of = name;
        self
    }

    /// With what Docker says before the reason why a row does not fit.
    pub fn saying(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    /// True if a column is shown: for what is only worth its price if it is.
    pub fn shows(&self, column: &str) -> bool {
        self.template.fields().iter().any(|field| field == column)
    }

    /// Prints all rows, a table with `header`'s headings.
    ///
    /// # Errors
    /// A template that does not fit the rows, and as for [`out::text`].
    pub fn print<R: Into<Row>>(&self, rows: Vec<R>, header: fn(&str) -> String) -> Result<()> {
        out::text(self.text(rows, header)?)
    }

    /// What [`Format::print`] prints.
    ///
    /// # Errors
    /// A template that does not fit the rows.
    pub fn text<R: Into<Row>>(
        &self,
        rows: impl IntoIterator<Item = R>,
        header: fn(&str) -> String,
    ) -> Result<String> {
        let mut text = String::new();
        for row in rows {
            text.push_str(&self.render(&row.into())?);
            text.push('\n');
        }
        match self.table {
            true => Ok(table::align(&(self.headings(header)? + "\n" + &text)).to_string()),
            false => Ok(text),
        }
    }

    /// A row's line, without its end.
    ///
    /// # Errors
    /// A template that does not fit the row.
    pub fn render(&self, row: &Row) -> Result<String> {
        let text = self.template.render(&row.value(self.of, self.shows("Label")));
        text.map_err(|why| Wrong::new(why, 1).saying(self.prefix).into())
    }

    /// Prints one row by itself, whatever its columns.
    ///
    /// # Errors
    /// As for [`Format::print`].
    pub fn line(&self, row: impl Into<Row>) -> Result<()> {
        out::line(self.render(&row.into())?)
    }

    /// The headings, with tabs between them.
    ///
    /// # Errors
    /// A template that does not fit headings.
    pub fn headings(&self, header: fn(&str) -> String) -> Result<String> {
        let fields = self.template.fields();
        let known = fields.into_iter().map(|field| (field.clone(), header(&field).into()));
        let mut entries: std::collections::BTreeMap<String, Value> = known.collect();
        if entries.contains_key("Label") {
            let label = |key: &str| {
                let last = key.rsplit('.').next().unwrap_or(key);
                last.replace(['-', '_'], " ").into()
            };
            entries.insert("Label".into(), method("Label", label).value);
        }
        let map = Map { entries, of: "string".into(), zero: "".into(), nil: false };
        let text = self.template.headings(&Value::Map(map.into()));
        text.map_err(|why| Wrong::new(why, 1).saying(self.prefix).into())
    }
}

/// `--filter`: a key and a value.
///
/// # Errors
/// Docker's sentence for what is neither.
pub fn filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".into()),
    }
}

/// Filters as the API wants them: `{"name":["web"]}`.
pub fn filters<'a>(given: impl IntoIterator<Item = &'a (String, String)>) -> String {
    let mut filters = serde_json::Map::new();
    for (key, value) in given {
        let values = filters.entry(key).or_insert_with(|| Json::Array(Vec::new()));
        values.as_array_mut().expect("all are lists").push(value.as_str().into());
    }
    Json::Object(filters).to_string()
}

/// Words in order, with commas between them.
pub fn sorted(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<_> = words.collect();
    words.sort();
    words.join(",")
}

/// In lists, and only there, `\t` and `\n` need not be written in quotes.
pub fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Prints one object through a template, or as JSON in one line.
///
/// # Errors
/// A template that is none (64), or does not fit the object (1).
pub fn object(format: &str, object: &Value) -> Result<()> {
    match format {
        "json" => out::line(object.json()),
        _ => out::line(rendered(format, object)?),
    }
}

/// One object through a template.
///
/// # Errors
/// As for [`object`].
pub fn rendered(format: &str, object: &Value) -> Result<String, Wrong> {
    let template = Template::parse(format).map_err(|why| Wrong::parsing(why, 64))?;
    template.render(object).map_err(|why| Wrong::new(why, 1))
}
