//! Calls of functions and methods: how many arguments, and of which types.

use std::fmt::Display;

use super::exec::Run;
use super::funcs::{self, Param};
use super::tree::{Arg, ArgKind, Command};
use super::value::{Method, Value};

impl<'a> Run<'a> {
    pub(super) fn method(
        &mut self,
        node: &'a Arg,
        method: &Method,
        args: &'a [Arg],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        self.count(
            node.at,
            node,
            &method.name,
            1,
            false,
            args.len() + usize::from(last.is_some()),
        )?;
        let value = match (args.first(), last) {
            (Some(arg), _) => self.typed(arg, Param::Text, dot)?,
            (None, last) => last.unwrap_or(Value::Missing),
        };
        Ok(match value {
            Value::Text(text) => (method.call)(&text),
            _ => Value::Missing,
        })
    }

    pub(super) fn count(
        &self,
        at: usize,
        node: impl Display,
        name: &str,
        wanted: usize,
        more: bool,
        got: usize,
    ) -> Result<(), String> {
        if got == wanted || more && got > wanted {
            return Ok(());
        }
        let least = if more { "at least " } else { "" };
        let message = format!("wrong number of args for {name}: want {least}{wanted} got {got}");
        self.fail(at, node, message)
    }

    pub(super) fn function(
        &mut self,
        command: &'a Command,
        name: &str,
        args: &'a [Arg],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        let function = funcs::get(name).expect("the parser knows it");
        let got = args.len() + usize::from(last.is_some());
        let wanted = function.params.len();
        if !(self.mode.headings && funcs::keeps_headings(name)) {
            self.count(command.at, &command.args[0], name, wanted, function.more.is_some(), got)?;
        }
        let mut values = Vec::with_capacity(got);
        for (place, arg) in args.iter().enumerate() {
            let param = function.params.get(place).copied().or(function.more).unwrap_or(Param::Any);
            let value = self.typed(arg, param, dot)?;
            // These two look no further than they need to.
            let decided = name == "and" && !value.truth() || name == "or" && value.truth();
            values.push(value);
            if decided {
                return Ok(values.pop().expect("it was just pushed"));
            }
        }
        if let Some(last) = last {
            let param = function.params.get(values.len()).copied().or(function.more);
            if let Some(wrong) = mismatch(&last, param.unwrap_or(Param::Any)) {
                return self.fail(command.at, command, wrong);
            }
            values.push(last);
        }
        if matches!(name, "and" | "or") {
            return Ok(values.pop().expect("it takes one at least"));
        }
        if self.mode.headings && funcs::keeps_headings(name) {
            return Ok(values.swap_remove(0));
        }
        (function.call)(&values)
            .or_else(|why| self.fail(command.at, command, format!("error calling {name}: {why}")))
    }

    /// The value of an argument, of the type that a function wants.
    fn typed(&mut self, arg: &'a Arg, param: Param, dot: &Value) -> Result<Value, String> {
        let wanted = match param {
            Param::Any => return self.arg(arg, dot),
            Param::Text => "string",
            Param::Int => "integer",
        };
        let fits = match &arg.kind {
            ArgKind::Nil => {
                let of = if param == Param::Text { "string" } else { "int" };
                return self.fail(arg.at, arg, format!("cannot assign nil to {of}"));
            }
            ArgKind::Bool(_) => false,
            ArgKind::Number(_, Value::Int(_)) => param == Param::Int,
            ArgKind::Number(..) => false,
            ArgKind::Text(..) => param == Param::Text,
            _ => {
                let value = self.arg(arg, dot)?;
                return match mismatch(&value, param) {
                    Some(wrong) => self.fail(arg.at, arg, wrong),
                    None => Ok(value),
                };
            }
        };
        match fits {
            true => self.arg(arg, dot),
            false => self.fail(arg.at, arg, format!("expected {wanted}; found {arg}")),
        }
    }
}

fn mismatch(value: &Value, param: Param) -> Option<String> {
    let wanted = match (param, value) {
        (Param::Any, _) | (Param::Text, Value::Text(_)) | (Param::Int, Value::Int(_)) => {
            return None;
        }
        (Param::Text, _) => "string",
        (Param::Int, _) => "int",
    };
    Some(match value {
        Value::Missing => format!("invalid value; expected {wanted}"),
        other => format!("wrong type for value; expected {wanted}; got {}", other.type_name()),
    })
}
