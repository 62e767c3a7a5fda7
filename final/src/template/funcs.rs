//! The functions of templates: Go's own, and those that Docker adds.

use std::cmp::Ordering;

use super::print;
use super::value::{Map, Value};

/// What a function takes in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    Any,
    Text,
    Int,
}

use Param::{Any, Int, Text};

/// A function: what it takes, what more of, and what it does.
pub struct Function {
    pub name: &'static str,
    pub params: &'static [Param],
    pub more: Option<Param>,
    pub call: fn(&[Value]) -> Result<Value, String>,
}

const fn function(
    name: &'static str,
    params: &'static [Param],
    more: Option<Param>,
    call: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, params, more, call }
}

/// All functions; `and` and `or`, which do not look at all their arguments, are not
/// called through here.
static FUNCTIONS: [Function; 27] = [
    function("and", &[Any], Some(Any), |args| Ok(args[0].clone())),
    function("or", &[Any], Some(Any), |args| Ok(args[0].clone())),
    function("not", &[Any], None, |args| Ok(Value::Bool(!args[0].truth()))),
    function("len", &[Any], None, len),
    function("index", &[Any], Some(Any), index),
    function("slice", &[Any], Some(Int), slice),
    function("print", &[], Some(Any), |args| Ok(print::print(args).into())),
    function("printf", &[Text], Some(Any), |args| {
        Ok(print::printf(&text(&args[0]), &args[1..]).into())
    }),
    function("println", &[], Some(Any), |args| Ok(print::println(args).into())),
    function("html", &[], Some(Any), |args| Ok(html(&words(args)).into())),
    function("js", &[], Some(Any), |args| Ok(js(&words(args)).into())),
    function("urlquery", &[], Some(Any), |args| Ok(query(&words(args)).into())),
    function("eq", &[Any], Some(Any), equal),
    function("ne", &[Any, Any], None, |args| match equal(args)? {
        Value::Bool(equal) => Ok(Value::Bool(!equal)),
        other => Ok(other),
    }),
    function("lt", &[Any, Any], None, |args| compare(args, Ordering::is_lt)),
    function("le", &[Any, Any], None, |args| compare(args, Ordering::is_le)),
    function("gt", &[Any, Any], None, |args| compare(args, Ordering::is_gt)),
    function("ge", &[Any, Any], None, |args| compare(args, Ordering::is_ge)),
    function("json", &[Any], None, |args| Ok(args[0].json().into())),
    function("split", &[Text, Text], None, split),
    function("join", &[Any, Text], None, join),
    function("title", &[Text], None, |args| Ok(title(&text(&args[0])).into())),
    function("lower", &[Text], None, |args| Ok(text(&args[0]).to_lowercase().into())),
    function("upper", &[Text], None, |args| Ok(text(&args[0]).to_uppercase().into())),
    function("pad", &[Text, Int, Int], None, pad),
    function("truncate", &[Text, Int], None, truncate),
    function("call", &[Any], Some(Any), |_| Err("call of a value that is no function".into())),
];

/// True if there is such a function.
pub fn exists(name: &str) -> bool {
    get(name).is_some()
}

/// The function of this name.
pub fn get(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// True if a table's heading passes through this function unchanged.
pub fn keeps_headings(name: &str) -> bool {
    ["json", "split", "join", "title", "lower", "upper", "truncate"].contains(&name)
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        other => print::plain(other),
    }
}

fn int(value: &Value) -> i64 {
    if let Value::Int(value) = value { *value } else { 0 }
}

fn words(args: &[Value]) -> String {
    if let [Value::Text(text)] = args { text.to_string() } else { print::print(args) }
}

fn len(args: &[Value]) -> Result<Value, String> {
    let length = match &args[0] {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Nil(_) => return Err("len of nil pointer".into()),
        Value::Missing => return Err("len of untyped nil".into()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(length as i64))
}

fn position(index: &Value, length: usize) -> Result<usize, String> {
    match index {
        Value::Int(at) => usize::try_from(*at)
            .ok()
            .filter(|at| *at < length)
            .ok_or_else(|| format!("index out of range: {at}")),
        Value::Missing => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn entry(map: &Map, key: &Value) -> Result<Value, String> {
    match key {
        Value::Text(key) => Ok(map.entries.get(&**key).unwrap_or(&map.zero).clone()),
        Value::Missing => Err("value is nil; should be of type string".into()),
        other => Err(format!("value has type {}; should be string", other.type_name())),
    }
}

fn index(args: &[Value]) -> Result<Value, String> {
    let mut item = args[0].clone();
    for index in &args[1..] {
        item = match &item {
            Value::Missing => return Err("index of untyped nil".into()),
            Value::Nil(_) => return Err("index of nil pointer".into()),
            Value::List(list) => list.items[position(index, list.items.len())?].clone(),
            Value::Text(text) => Value::Int(text.as_bytes()[position(index, text.len())?].into()),
            Value::Map(map) => entry(map, index)?,
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    match (&item, args.len()) {
        (Value::Missing, 1) => Err("index of untyped nil".into()),
        _ => Ok(item),
    }
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let length = match &args[0] {
        Value::Missing => return Err("slice of untyped nil".into()),
        Value::Text(_) if args.len() > 3 => return Err("cannot 3-index slice a string".into()),
        _ if args.len() > 4 => return Err(format!("too many slice indexes: {}", args.len() - 1)),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, default: usize| match args.get(at).map(int) {
        None => Ok(default),
        Some(bound) => usize::try_from(bound)
            .ok()
            .filter(|bound| *bound <= length)
            .ok_or_else(|| format!("index out of range: {bound}")),
    };
    let (from, to) = (bound(1, 0)?, bound(2, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match &args[0] {
        Value::List(list) => Value::list(list.items[from..to].to_vec(), &list.of),
        other => String::from_utf8_lossy(&text(other).as_bytes()[from..to]).into_owned().into(),
    })
}

fn equal(args: &[Value]) -> Result<Value, String> {
    if args.len() < 2 {
        return Err("missing argument for comparison".into());
    }
    let nothing = |value: &Value| match value {
        Value::Missing | Value::Nil(_) => true,
        Value::List(list) => list.nil,
        Value::Map(map) => map.nil,
        _ => false,
    };
    let incomparable = |value: &Value| {
        Err(format!("non-comparable type {}: {}", print::plain(value), value.type_name()))
    };
    for other in &args[1..] {
        let same = match (&args[0], other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (a, b) if nothing(a) || nothing(b) => nothing(a) && nothing(b),
            (a @ (Value::List(_) | Value::Map(_)), Value::List(_) | Value::Map(_)) => {
                return incomparable(a);
            }
            (Value::Struct(_), Value::Struct(_)) => print::plain(&args[0]) == print::plain(other),
            _ => return Err("incompatible types for comparison".into()),
        };
        if same {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn compare(args: &[Value], wanted: fn(Ordering) -> bool) -> Result<Value, String> {
    let order = match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => return Err("invalid type for comparison".into()),
        _ => return Err("incompatible types for comparison".into()),
    };
    Ok(Value::Bool(order.is_some_and(wanted)))
}

fn split(args: &[Value]) -> Result<Value, String> {
    let (all, separator) = (text(&args[0]), text(&args[1]));
    let parts: Vec<Value> = match separator.is_empty() {
        true => all.chars().map(|c| c.to_string().into()).collect(),
        false => all.split(&separator).map(Value::from).collect(),
    };
    Ok(Value::list(parts, "string"))
}

fn join(args: &[Value]) -> Result<Value, String> {
    let mut words: Vec<String> = match &args[0] {
        Value::Missing | Value::Nil(_) => Vec::new(),
        Value::List(list) => list.items.iter().map(print::plain).collect(),
        Value::Map(map) => map.entries.values().map(print::plain).collect(),
        other => return Err(format!("expected slice, got {}", other.type_name())),
    };
    if let Value::Map(_) = args[0] {
        words.sort();
    }
    Ok(words.join(&text(&args[1])).into())
}

fn title(text: &str) -> String {
    let mut begins = true;
    let mut out = String::new();
    for c in text.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.push(c),
        }
        begins = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    out
}

fn pad(args: &[Value]) -> Result<Value, String> {
    let text = text(&args[0]);
    if text.is_empty() {
        return Ok(text.into());
    }
    let blanks = |value| " ".repeat(usize::try_from(int(value)).unwrap_or(0));
    Ok((blanks(&args[1]) + &text + &blanks(&args[2])).into())
}

fn truncate(args: &[Value]) -> Result<Value, String> {
    let (text, length) = (text(&args[0]), usize::try_from(int(&args[1])).unwrap_or(0));
    Ok(String::from_utf8_lossy(&text.as_bytes()[..text.len().min(length)]).into_owned().into())
}

fn html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

fn query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}
