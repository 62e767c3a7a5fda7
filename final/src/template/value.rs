//! What a template works on: values with as much of Go's types as its output shows.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing at all, as of a key that a map does not have: `<no value>`.
    Missing,
    /// A pointer to nothing, with its type: `<nil>`.
    Nil(Rc<str>),
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<List>),
    Map(Rc<Map>),
    Struct(Rc<Struct>),
    Method(Rc<Method>),
}

/// A slice.
#[derive(Debug)]
pub struct List {
    pub items: Vec<Value>,
    /// Go's type of the items.
    pub of: Rc<str>,
    /// JSON's `null` instead of `[]`.
    pub nil: bool,
}

/// A map whose keys are text.
#[derive(Debug)]
pub struct Map {
    pub entries: BTreeMap<String, Value>,
    /// Go's type of the values.
    pub of: Rc<str>,
    /// What `index` gives for a key that is not there.
    pub zero: Value,
    /// JSON's `null` instead of `{}`.
    pub nil: bool,
}

/// A structure: its fields in order.
#[derive(Debug)]
pub struct Struct {
    /// Go's type.
    pub name: Rc<str>,
    pub fields: Vec<Field>,
    /// `<`, `>` and `&` are escaped in JSON, as Docker's rows have it.
    pub escaped: bool,
}

/// A field of a structure.
#[derive(Debug)]
pub struct Field {
    /// As templates call it.
    pub name: Rc<str>,
    /// As JSON calls it; none if JSON leaves it out.
    pub json: Option<Rc<str>>,
    pub value: Value,
}

/// A method: it takes one text.
pub struct Method {
    pub name: String,
    pub call: Box<dyn Fn(&str) -> Value>,
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Go's name of a value that may be anything.
pub const ANY: &str = "interface {}";

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

/// JSON as Go decodes it where it knows no types.
impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Value::Missing,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Float(number.as_f64().unwrap_or(0.0)),
            },
            Json::String(text) => text.as_str().into(),
            Json::Array(items) => Value::list(items.iter().map(Value::from).collect(), ANY),
            Json::Object(map) => {
                let entries = map.iter().map(|(key, value)| (key.clone(), value.into())).collect();
                let map = Map { entries, of: ANY.into(), zero: Value::Missing, nil: false };
                Value::Map(Rc::new(map))
            }
        }
    }
}

impl Value {
    /// A slice of `of`.
    pub fn list(items: Vec<Value>, of: &str) -> Self {
        Value::List(Rc::new(List { items, of: of.into(), nil: false }))
    }

    /// Go's name of the type.
    pub fn type_name(&self) -> String {
        match self {
            Value::Missing => "<nil>".into(),
            Value::Nil(name) => name.to_string(),
            Value::Bool(_) => "bool".into(),
            Value::Int(_) => "int".into(),
            Value::Float(_) => "float64".into(),
            Value::Text(_) => "string".into(),
            Value::List(list) => format!("[]{}", list.of),
            Value::Map(map) => format!("map[string]{}", map.of),
            Value::Struct(fields) => fields.name.to_string(),
            Value::Method(_) => "func(string) string".into(),
        }
    }

    /// True as `if` has it: anything that is not zero, empty or nothing.
    pub fn truth(&self) -> bool {
        match self {
            Value::Missing | Value::Nil(_) => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Struct(_) | Value::Method(_) => true,
        }
    }

    /// JSON as Go writes it: the fields of structures in order.
    pub fn json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out, false);
        out
    }

    fn write_json(&self, out: &mut String, escaped: bool) {
        match self {
            Value::Missing | Value::Nil(_) | Value::Method(_) => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&super::print::json_float(*value)),
            Value::Text(text) => write_text(text, out, escaped),
            Value::List(list) if list.nil => out.push_str("null"),
            Value::List(list) => {
                let write = |item: &Value, out: &mut String| item.write_json(out, escaped);
                between(out, "[]", list.items.iter(), write);
            }
            Value::Map(map) if map.nil => out.push_str("null"),
            Value::Map(map) => between(out, "{}", map.entries.iter(), |(key, value), out| {
                write_text(key, out, escaped);
                out.push(':');
                value.write_json(out, escaped);
            }),
            Value::Struct(fields) => {
                let escaped = escaped || fields.escaped;
                let shown =
                    fields.fields.iter().filter_map(|field| Some((field.json.as_ref()?, field)));
                between(out, "{}", shown, |(name, field), out| {
                    write_text(name, out, escaped);
                    out.push(':');
                    field.value.write_json(out, escaped);
                });
            }
        }
    }
}

fn between<T>(
    out: &mut String,
    around: &str,
    items: impl Iterator<Item = T>,
    write: impl Fn(T, &mut String),
) {
    out.push_str(&around[..1]);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push_str(&around[1..]);
}

fn write_text(text: &str, out: &mut String, escaped: bool) {
    let json = serde_json::to_string(text).expect("text is JSON");
    // These two end a line in JavaScript; Go escapes them always.
    let json = json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    match escaped {
        true => out.push_str(
            &json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        ),
        false => out.push_str(&json),
    }
}

/// The value of a number or a character constant.
pub fn number(text: &str) -> Option<Value> {
    if text.starts_with('\'') {
        let quoted = format!("\"{}\"", text.get(1..text.len() - 1)?.replace('"', "\\\""));
        let inside = super::print::unquote(&quoted.replace("\\'", "'"))?;
        let mut chars = inside.chars();
        let only = chars.next().filter(|_| chars.next().is_none())?;
        return Some(Value::Int(only as i64));
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let radix = |prefix: &str, radix| {
        lower.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok())
    };
    let octal = || lower.strip_prefix('0').and_then(|rest| i64::from_str_radix(rest, 8).ok());
    let whole = radix("0x", 16).or(radix("0b", 2)).or(radix("0o", 8)).or_else(octal);
    if let Some(whole) = whole.or_else(|| lower.parse().ok()) {
        return Some(Value::Int(sign * whole));
    }
    let numeric = lower.bytes().all(|b| b.is_ascii_digit() || b"e.+-".contains(&b));
    lower.parse().ok().filter(|_| numeric).map(|value: f64| Value::Float(sign as f64 * value))
}
