//! How Go prints: `fmt.Fprint`, `fmt.Sprintf` and `strconv.Quote`.

use super::value::Value;

/// A value as Go's `%v` has it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Missing => "<no value>".into(),
        _ => verb_v(value, false),
    }
}

fn verb_v(value: &Value, plus: bool) -> String {
    let all = |items: Vec<String>| items.join(" ");
    match value {
        Value::Missing | Value::Nil(_) => "<nil>".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float(*value),
        Value::Text(text) => text.to_string(),
        Value::List(list) => {
            format!("[{}]", all(list.items.iter().map(|item| verb_v(item, plus)).collect()))
        }
        Value::Map(map) => {
            let pair = |(key, value)| format!("{key}:{}", verb_v(value, plus));
            format!("map[{}]", all(map.entries.iter().map(pair).collect()))
        }
        Value::Struct(fields) => {
            let field = |field: &super::value::Field| match plus {
                true => format!("{}:{}", field.name, verb_v(&field.value, plus)),
                false => verb_v(&field.value, plus),
            };
            format!("{{{}}}", all(fields.fields.iter().map(field).collect()))
        }
        Value::Method(method) => method.name.clone(),
    }
}

/// `fmt.Print`: a blank between two operands if neither is a text.
pub fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let texts =
            at > 0 && [value, &values[at - 1]].iter().any(|value| matches!(value, Value::Text(_)));
        if at > 0 && !texts {
            out.push(' ');
        }
        out.push_str(&verb_v(value, false));
    }
    out
}

/// `fmt.Println`
pub fn println(values: &[Value]) -> String {
    let words: Vec<_> = values.iter().map(|value| verb_v(value, false)).collect();
    words.join(" ") + "\n"
}

/// The shortest text of a float; with an exponent where it is large or small.
fn float(value: f64) -> String {
    shortest(value, 1e-4..1e6)
}

/// The same, with JSON's idea of large and small.
pub fn json_float(value: f64) -> String {
    shortest(value, 1e-6..1e21).replace("e-0", "e-")
}

fn shortest(value: f64, plain: std::ops::Range<f64>) -> String {
    if value != 0.0 && !plain.contains(&value.abs()) && value.is_finite() {
        return exponent(&format!("{value:e}"));
    }
    match value {
        _ if value.is_nan() => "NaN".into(),
        _ if value.is_infinite() => if value > 0.0 { "+Inf" } else { "-Inf" }.into(),
        _ => value.to_string(),
    }
}

/// `1.5e7` is `1.5e+07`.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}

/// What stands between `%` and the verb.
#[derive(Default, Clone)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`
pub fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values_left = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                _ => spec.zero = !spec.minus,
            }
        }
        let mut amount = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if chars.next_if_eq(&'*').is_some() {
                return match values_left.next() {
                    Some(Value::Int(value)) => usize::try_from(*value).ok(),
                    _ => None,
                };
            }
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse().ok()
        };
        spec.width = amount(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(amount(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values_left.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&spec.one(verb, value)),
            },
        }
    }
    let extra: Vec<_> = values_left
        .map(|value| match value {
            Value::Missing => "<nil>".into(),
            value => format!("{}={}", value.type_name(), verb_v(value, false)),
        })
        .collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

impl Spec {
    fn one(&self, verb: char, value: &Value) -> String {
        // Verbs that are no `%v` reach into lists.
        if let Value::List(list) = value
            && !"vT".contains(verb)
        {
            let items: Vec<_> = list.items.iter().map(|item| self.one(verb, item)).collect();
            return format!("[{}]", items.join(" "));
        }
        match self.text(verb, value) {
            Some(text) => self.pad(text, matches!(value, Value::Int(_) | Value::Float(_))),
            None if matches!(value, Value::Missing) => format!("%!{verb}(<nil>)"),
            None => format!("%!{verb}({}={})", value.type_name(), verb_v(value, false)),
        }
    }

    fn text(&self, verb: char, value: &Value) -> Option<String> {
        Some(match (verb, value) {
            ('T', value) => value.type_name(),
            ('v', Value::Text(text)) if self.sharp => quote(text),
            ('v', Value::Text(text)) => self.cut(text),
            ('v', Value::Int(number)) => self.signed(number.to_string()),
            ('v', value) => verb_v(value, self.plus || self.sharp),
            ('s', Value::Text(text)) => self.cut(text),
            ('q', Value::Text(text)) => quote(&self.cut(text)),
            ('q', Value::Int(number)) => {
                format!("'{}'", char::from_u32(u32::try_from(*number).ok()?)?)
            }
            ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('X', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
            ('t', Value::Bool(value)) => value.to_string(),
            ('d', Value::Int(number)) => self.signed(number.to_string()),
            ('b', Value::Int(number)) => self.radix(*number, |n| format!("{n:b}"), "0b"),
            ('o', Value::Int(number)) => self.radix(*number, |n| format!("{n:o}"), "0"),
            ('O', Value::Int(number)) => self.radix(*number, |n| format!("0o{n:o}"), ""),
            ('x', Value::Int(number)) => self.radix(*number, |n| format!("{n:x}"), "0x"),
            ('X', Value::Int(number)) => self.radix(*number, |n| format!("{n:X}"), "0X"),
            ('c', Value::Int(number)) => char::from_u32(u32::try_from(*number).ok()?)?.to_string(),
            ('U', Value::Int(number)) => format!("U+{number:04X}"),
            ('f' | 'F', Value::Float(number)) => {
                self.signed(format!("{number:.*}", self.precision.unwrap_or(6)))
            }
            ('e', Value::Float(number)) => {
                self.signed(exponent(&format!("{number:.*e}", self.precision.unwrap_or(6))))
            }
            ('g', Value::Float(number)) => self.signed(float(*number)),
            _ => return None,
        })
    }

    fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }

    fn signed(&self, digits: String) -> String {
        match digits.starts_with('-') {
            false if self.plus => format!("+{digits}"),
            false if self.space => format!(" {digits}"),
            _ => digits,
        }
    }

    fn radix(&self, number: i64, digits: impl Fn(u64) -> String, prefix: &str) -> String {
        let prefix = if self.sharp { prefix } else { "" };
        let text = format!("{prefix}{}", digits(number.unsigned_abs()));
        if number < 0 { format!("-{text}") } else { self.signed(text) }
    }

    fn pad(&self, text: String, number: bool) -> String {
        let length = text.chars().count();
        let missing = self.width.unwrap_or(0).saturating_sub(length);
        match (self.minus, self.zero) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) if number && text.starts_with(['+', '-']) => {
                format!("{}{}{}", &text[..1], "0".repeat(missing), &text[1..])
            }
            (false, true) => "0".repeat(missing) + &text,
            (false, false) => " ".repeat(missing) + &text,
        }
    }
}

/// A text as a Go literal.
pub fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            _ if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text of a Go literal, `"…"` or `` `…` ``.
pub fn unquote(literal: &str) -> Option<String> {
    let inside = literal.get(1..literal.len().checked_sub(1)?)?;
    if literal.starts_with('`') {
        return Some(inside.replace('\r', ""));
    }
    let mut out = Vec::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend(c.to_string().into_bytes());
            continue;
        }
        let code = |chars: &mut std::str::Chars<'_>, digits: usize, radix| {
            let text: String = chars.take(digits).collect();
            u32::from_str_radix(&text, radix).ok().filter(|_| text.len() == digits)
        };
        let escape = chars.next()?;
        let simple = "abfnrtv\\\"".find(escape).map(|at| b"\x07\x08\x0c\n\r\t\x0b\\\""[at]);
        match escape {
            _ if simple.is_some() => out.extend(simple),
            'x' => out.push(u8::try_from(code(&mut chars, 2, 16)?).ok()?),
            'u' => out.extend(char::from_u32(code(&mut chars, 4, 16)?)?.to_string().into_bytes()),
            'U' => out.extend(char::from_u32(code(&mut chars, 8, 16)?)?.to_string().into_bytes()),
            '0'..='7' => {
                let more: String = chars.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&format!("{escape}{more}"), 8).ok()?);
            }
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
