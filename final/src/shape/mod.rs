//! Docker's types as data: which fields an object has, in which order, and what stands
//! there while nothing is known.
//!
//! Programs rely on more than on the values: a list is `[]` or `null` but never
//! missing, a field that is empty may be left out or not. Go's types decide that in
//! Docker, and [`types.txt`](self) is what they say. Two sides read it:
//!
//! - the API completes what it answers with [`complete`]: every field, in order;
//! - the command line gives templates values with [`value`], whose fields exist even
//!   where JSON has left them out.
//!
//! Source: the Go types of the Docker Engine API, version 1.50, and what dockerd sends.

mod order;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::Value as Json;

pub use order::Ordered;

use crate::template::value::{ANY, Field as Shown, List, Map, Struct, Value};

/// All types, by name.
static TYPES: LazyLock<HashMap<&'static str, Type>> =
    LazyLock::new(|| parse(include_str!("types.txt")));

struct Type {
    go: &'static str,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    json: &'static str,
    typ: Kind,
    /// JSON leaves it out while it is empty.
    optional: bool,
}

enum Kind {
    Text,
    Bool,
    Int,
    Float,
    Any,
    Pair,
    Set,
    Pointer(Box<Kind>),
    List(Box<Kind>),
    Map(Box<Kind>),
    Named(&'static str),
}

fn parse(text: &'static str) -> HashMap<&'static str, Type> {
    let mut types = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, rest) = line.trim().split_once(' ').expect("two words on a line");
        if !line.starts_with(' ') {
            current = name;
            types.insert(name, Type { go: rest, fields: Vec::new() });
            continue;
        }
        let (typ, optional) = rest.strip_suffix('?').map_or((rest, false), |typ| (typ, true));
        let (name, json) = name.split_once('=').unwrap_or((name, name));
        let field = Field { name, json, typ: kind(typ), optional };
        types.get_mut(current).expect("a type before its fields").fields.push(field);
    }
    types
}

fn kind(text: &'static str) -> Kind {
    let inner = |text| Box::new(kind(text));
    match text {
        "string" => Kind::Text,
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "float" => Kind::Float,
        "any" => Kind::Any,
        "pair" => Kind::Pair,
        "set" => Kind::Set,
        _ if text.starts_with('*') => Kind::Pointer(inner(&text[1..])),
        _ if text.starts_with("[]") => Kind::List(inner(&text[2..])),
        _ if text.starts_with("map[") => Kind::Map(inner(&text[4..text.len() - 1])),
        _ => Kind::Named(text),
    }
}

/// An object of a type, with everything that Docker would send, in its order.
///
/// What the type does not know is kept, at the end.
pub fn complete(typ: &str, object: &Json) -> Ordered {
    ordered(&Kind::Named(TYPES.get_key_value(typ).expect("a type of types.txt").0), object)
}

/// A list of such objects.
pub fn complete_all(typ: &str, objects: &[Json]) -> Ordered {
    Ordered::List(objects.iter().map(|object| complete(typ, object)).collect())
}

/// Writes the members of an object of a type as the type spells them: Docker reads
/// `detachkeys` for `DetachKeys`, and there are clients that write so.
pub fn spell(typ: &str, object: &mut Json) {
    spelled(&Kind::Named(TYPES.get_key_value(typ).expect("a type of types.txt").0), object);
}

fn spelled(kind: &Kind, json: &mut Json) {
    match (kind, json) {
        (Kind::Named(name), Json::Object(members)) => {
            for Field { json: name, typ, .. } in &TYPES[name].fields {
                if !members.contains_key(*name) {
                    let other = members.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
                    let value = other.and_then(|other| members.remove(&other));
                    value.map(|value| members.insert((*name).to_owned(), value));
                }
                members.get_mut(*name).into_iter().for_each(|member| spelled(typ, member));
            }
        }
        (Kind::Pointer(inner), json) => spelled(inner, json),
        (Kind::List(inner), Json::Array(items)) => {
            items.iter_mut().for_each(|item| spelled(inner, item));
        }
        (Kind::Map(inner), Json::Object(map)) => {
            map.values_mut().for_each(|value| spelled(inner, value));
        }
        _ => {}
    }
}

fn ordered(kind: &Kind, json: &Json) -> Ordered {
    match (kind, json) {
        (Kind::Named(name), json) => {
            let typ = &TYPES[name];
            let given = |name: &str| json.get(name).unwrap_or(&Json::Null);
            let mut members = Vec::with_capacity(typ.fields.len());
            for field in &typ.fields {
                let value = given(field.json);
                if !(field.optional && is_empty(&field.typ, value)) {
                    members.push((field.json.to_owned(), ordered(&field.typ, value)));
                }
            }
            let known = |name: &str| typ.fields.iter().any(|field| field.json == name);
            let more = json.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
            members.extend(more.map(|(name, value)| (name.clone(), Ordered::Plain(value.clone()))));
            Ordered::Object(members)
        }
        (Kind::Pointer(inner), json) if !json.is_null() => ordered(inner, json),
        (Kind::List(inner), Json::Array(items)) => {
            Ordered::List(items.iter().map(|item| ordered(inner, item)).collect())
        }
        (Kind::Map(inner), Json::Object(map)) => {
            let member = |(key, value): (&String, &Json)| (key.clone(), ordered(inner, value));
            Ordered::Object(map.iter().map(member).collect())
        }
        // Some of our models keep a set as the list of its keys.
        (Kind::Set, Json::Array(keys)) => {
            let keys = keys.iter().filter_map(Json::as_str);
            let mut keys: Vec<_> = keys.map(str::to_owned).collect();
            keys.sort();
            let empty = |key| (key, Ordered::Object(Vec::new()));
            Ordered::Object(keys.into_iter().map(empty).collect())
        }
        (Kind::Text, Json::Null) => Ordered::Plain("".into()),
        (Kind::Bool, Json::Null) => Ordered::Plain(false.into()),
        (Kind::Int | Kind::Float, Json::Null) => Ordered::Plain(0.into()),
        (Kind::Pair, Json::Null) => Ordered::Plain(serde_json::json!([0, 0])),
        (_, json) => Ordered::Plain(json.clone()),
    }
}

/// Empty as Go's `omitempty` has it.
fn is_empty(kind: &Kind, json: &Json) -> bool {
    match (kind, json) {
        (_, Json::Null) => !matches!(kind, Kind::Named(_)),
        (Kind::Pointer(_) | Kind::Named(_), _) => false,
        (_, Json::Bool(value)) => !value,
        (_, Json::Number(number)) => number.as_f64() == Some(0.0),
        (_, Json::String(text)) => text.is_empty(),
        (_, Json::Array(items)) => items.is_empty(),
        (_, Json::Object(map)) => map.is_empty(),
    }
}

/// An object of a type as templates see it.
pub fn value(typ: &str, object: &Json) -> Value {
    shown(&Kind::Named(TYPES.get_key_value(typ).expect("a type of types.txt").0), object)
}

fn shown(kind: &Kind, json: &Json) -> Value {
    match (kind, json) {
        (Kind::Named(name), json) => {
            let typ = &TYPES[name];
            let field = |field: &Field| {
                let value = json.get(field.json).unwrap_or(&Json::Null);
                let hidden = field.optional && is_empty(&field.typ, value);
                Shown {
                    name: field.name.into(),
                    json: (!hidden).then(|| field.json.into()),
                    value: shown(&field.typ, value),
                }
            };
            let fields = typ.fields.iter().map(field).collect();
            Value::Struct(Rc::new(Struct { name: typ.go.into(), fields, escaped: false }))
        }
        (Kind::Pointer(inner), Json::Null) => Value::Nil(format!("*{}", go(inner)).into()),
        (Kind::Pointer(inner), json) => shown(inner, json),
        (Kind::List(inner), json) => {
            let items = json.as_array().into_iter().flatten();
            let items = items.map(|item| shown(inner, item)).collect();
            Value::List(Rc::new(List { items, of: go(inner).into(), nil: json.is_null() }))
        }
        (Kind::Map(inner), json) => {
            let entries = json.as_object().into_iter().flatten();
            let entries = entries.map(|(key, value)| (key.clone(), shown(inner, value)));
            let zero = shown(inner, &Json::Null);
            let (entries, of) = (entries.collect(), go(inner).into());
            Value::Map(Rc::new(Map { entries, of, zero, nil: json.is_null() }))
        }
        (Kind::Set, json) => {
            let empty = || {
                let (name, fields) = ("struct {}".into(), Vec::new());
                Value::Struct(Rc::new(Struct { name, fields, escaped: false }))
            };
            let keys = json.as_object().into_iter().flatten();
            let entries = keys.map(|(key, _)| (key.clone(), empty())).collect();
            let (of, zero) = ("struct {}".into(), empty());
            Value::Map(Rc::new(Map { entries, of, zero, nil: json.is_null() }))
        }
        (Kind::Text, Json::Null) => "".into(),
        (Kind::Bool, Json::Null) => Value::Bool(false),
        (Kind::Int, Json::Null) => Value::Int(0),
        (Kind::Float, Json::Null) => Value::Float(0.0),
        (Kind::Pair, Json::Null) => Value::list(vec![Value::Int(0), Value::Int(0)], "uint"),
        (Kind::Any, Json::Null) => Value::Nil(ANY.into()),
        (_, json) => json.into(),
    }
}

/// Go's name of a type.
fn go(kind: &Kind) -> String {
    match kind {
        Kind::Text => "string".into(),
        Kind::Bool => "bool".into(),
        Kind::Int => "int".into(),
        Kind::Float => "float64".into(),
        Kind::Any => ANY.into(),
        Kind::Pair => "[2]uint".into(),
        Kind::Set => "map[string]struct {}".into(),
        Kind::Pointer(inner) => format!("*{}", go(inner)),
        Kind::List(inner) => format!("[]{}", go(inner)),
        Kind::Map(inner) => format!("map[string]{}", go(inner)),
        Kind::Named(name) => TYPES[name].go.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_that_a_field_names_is_there() {
        for (name, typ) in TYPES.iter() {
            assert!(!typ.fields.is_empty(), "{name} has no fields");
            complete(name, &Json::Null);
            value(name, &Json::Null);
        }
    }

    #[test]
    fn what_is_empty_is_written_as_go_writes_it() {
        let object = json!({"Name": "no", "More": 1});
        let text = serde_json::to_string(&complete("RestartPolicy", &object)).unwrap();
        assert_eq!(text, r#"{"Name":"no","MaximumRetryCount":0,"More":1}"#);
        let object = json!({"Labels": {"b": "1", "a": "2"}, "ExposedPorts": ["80/tcp"]});
        let text = serde_json::to_string(&complete("Config", &object)).unwrap();
        assert!(text.contains(r#""ExposedPorts":{"80/tcp":{}}"#), "{text}");
        assert!(text.contains(r#""Cmd":null,"Image":"","Volumes":null"#), "{text}");
        assert!(text.ends_with(r#""Labels":{"a":"2","b":"1"}}"#), "{text}");
    }

    #[test]
    fn a_template_sees_what_json_leaves_out() {
        use crate::template::Template;
        let container = value("Container", &json!({"State": {"Status": "created"}}));
        let text = "{{if .State.Health}}x{{else}}none{{end}} {{.State}} {{.HostConfig}}";
        let said = Template::parse(text).unwrap().render(&container).unwrap();
        let state = "none {created false false false false false 0 0    <nil>} <nil>";
        assert_eq!(said, state);
    }
}
