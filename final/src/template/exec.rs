//! Carries a template out on a value, with the messages of Go's text/template.

use std::fmt::Display;

use super::funcs;
use super::print;
use super::tree::{Arg, ArgKind, Branch, Command, Node, Pipe, Tree};
use super::value::{ANY, Value};

/// The deepest nesting of templates that call each other.
const DEEPEST: usize = 1000;

/// How a template is carried out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode {
    /// A key that a map does not have is an error, and types are not known: how
    /// Docker looks at JSON that its types do not fit.
    pub raw: bool,
    /// The value is a table's headings: functions leave them as they are.
    pub headings: bool,
}

/// Carries out a template.
///
/// # Errors
/// Go's sentence: `template: :1:2: executing "" at <.X>: …`.
pub fn execute(tree: &Tree, text: &str, data: &Value, mode: Mode) -> Result<String, String> {
    let vars = vec![("$".to_owned(), data.clone())];
    let mut run = Run { tree, text, mode, name: "", vars, out: String::new(), depth: 0 };
    run.list(&tree.main, data)?;
    Ok(run.out)
}

pub(super) struct Run<'a> {
    tree: &'a Tree,
    text: &'a str,
    pub(super) mode: Mode,
    /// The template that is carried out: empty for the main one.
    name: &'a str,
    vars: Vec<(String, Value)>,
    out: String,
    depth: usize,
}

/// What comes after a piece.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'a> Run<'a> {
    pub(super) fn fail<T>(
        &self,
        at: usize,
        what: impl Display,
        message: impl Display,
    ) -> Result<T, String> {
        let before = &self.text[..at];
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1);
        let line = 1 + before.matches('\n').count();
        Err(format!(
            "template: :{line}:{column}: executing \"{}\" at <{what}>: {message}",
            self.name
        ))
    }

    fn list(&mut self, list: &'a [Node], dot: &Value) -> Result<Flow, String> {
        for node in list {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.declared.is_empty() {
                    if let Value::Method(_) = value {
                        return self.fail(pipe.at, pipe, "can't print a method");
                    }
                    self.out.push_str(&print::plain(&value));
                }
            }
            Node::If(branch) | Node::With(branch) => {
                let vars = self.vars.len();
                let value = self.pipe(&branch.pipe, dot)?;
                let inner = if let Node::With(_) = node { &value } else { dot };
                let flow = match value.truth() {
                    true => self.list(&branch.list, inner)?,
                    false => self.list(&branch.otherwise, dot)?,
                };
                self.vars.truncate(vars);
                return Ok(flow);
            }
            Node::Range(branch) => {
                let vars = self.vars.len();
                let flow = self.range(branch, dot)?;
                self.vars.truncate(vars);
                return Ok(flow);
            }
            Node::Template { at, name, data } => self.template(*at, name, data.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, branch: &'a Branch, dot: &Value) -> Result<Flow, String> {
        let over = self.pipe_undeclared(&branch.pipe, dot)?;
        let pairs: Vec<(Value, Value)> = match &over {
            Value::List(list) => {
                let items = list.items.iter().cloned().enumerate();
                items.map(|(at, item)| (Value::Int(at as i64), item)).collect()
            }
            Value::Map(map) => {
                let entries = map.entries.iter();
                entries.map(|(key, value)| (key.as_str().into(), value.clone())).collect()
            }
            Value::Int(count) => (0..*count).map(|n| (Value::Int(n), Value::Int(n))).collect(),
            Value::Missing | Value::Nil(_) => Vec::new(),
            other => {
                let message = format!("range can't iterate over {}", print::plain(other));
                return self.fail(branch.pipe.at, &branch.pipe, message);
            }
        };
        if pairs.is_empty() {
            return self.list(&branch.otherwise, dot);
        }
        let vars = self.vars.len();
        for (key, item) in pairs {
            match branch.pipe.declared.as_slice() {
                [one] => self.declare(&branch.pipe, one, item.clone()),
                [first, second] => {
                    self.declare(&branch.pipe, first, key);
                    self.declare(&branch.pipe, second, item.clone());
                }
                _ => {}
            }
            let flow = self.list(&branch.list, &item)?;
            self.vars.truncate(vars);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn template(
        &mut self,
        at: usize,
        name: &'a str,
        data: Option<&'a Pipe>,
        dot: &Value,
    ) -> Result<(), String> {
        let with = data.map(|pipe| format!(" {pipe}")).unwrap_or_default();
        let data = data.map(|pipe| self.pipe(pipe, dot)).transpose()?.unwrap_or(Value::Missing);
        let shown = format!("{{{{template {}{with}}}}}", print::quote(name));
        let Some(list) = self.tree.defined.get(name) else {
            return self.fail(at, shown, format!("template {} not defined", print::quote(name)));
        };
        if self.depth == DEEPEST {
            return self.fail(at, shown, format!("exceeded maximum template depth ({DEEPEST})"));
        }
        self.depth += 1;
        let vars = std::mem::replace(&mut self.vars, vec![("$".into(), data.clone())]);
        let outer = std::mem::replace(&mut self.name, name);
        self.list(list, &data)?;
        (self.vars, self.name) = (vars, outer);
        self.depth -= 1;
        Ok(())
    }

    fn declare(&mut self, pipe: &Pipe, name: &str, value: Value) {
        let known = self.vars.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, known)) if pipe.assigns => *known = value,
            _ => self.vars.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, String> {
        let value = self.pipe_undeclared(pipe, dot)?;
        for name in &pipe.declared {
            let last = pipe.commands.last().and_then(|command| command.args.last());
            if let Some(last) = last.filter(|_| pipe.assigns && !self.knows(name)) {
                return self.fail(last.at, last, format!("undefined variable: {name}"));
            }
            self.declare(pipe, name, value.clone());
        }
        Ok(value)
    }

    fn pipe_undeclared(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Missing))
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        let first = &command.args[0];
        let rest = &command.args[1..];
        match &first.kind {
            ArgKind::Field(names) => self.fields(dot, first, dot.clone(), names, rest, last),
            ArgKind::Chain(from, names) => {
                let value = self.arg(from, dot)?;
                self.fields(dot, first, value, names, rest, last)
            }
            ArgKind::Variable(names) => {
                let value = self.variable(&names[0]);
                if names.len() == 1 {
                    self.alone(first, rest, &last)?;
                    return Ok(value);
                }
                self.fields(dot, first, value, &names[1..], rest, last)
            }
            ArgKind::Function(name) => self.function(command, name, rest, dot, last),
            ArgKind::Nil => self.fail(first.at, first, "nil is not a command"),
            _ => {
                self.alone(first, rest, &last)?;
                self.arg(first, dot)
            }
        }
    }

    fn alone(&self, first: &Arg, rest: &[Arg], last: &Option<Value>) -> Result<(), String> {
        if rest.is_empty() && last.is_none() {
            return Ok(());
        }
        self.fail(first.at, first, format!("can't give argument to non-function {first}"))
    }

    fn knows(&self, name: &str) -> bool {
        self.vars.iter().any(|(known, _)| known == name)
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.vars.iter().rev().find(|(known, _)| known == name);
        found.map_or(Value::Missing, |(_, value)| value.clone())
    }

    /// The value of one word.
    pub(super) fn arg(&mut self, arg: &'a Arg, dot: &Value) -> Result<Value, String> {
        Ok(match &arg.kind {
            ArgKind::Dot => dot.clone(),
            ArgKind::Nil => Value::Missing,
            ArgKind::Bool(value) => Value::Bool(*value),
            ArgKind::Number(_, value) => value.clone(),
            ArgKind::Text(_, value) => value.as_str().into(),
            ArgKind::Field(names) => self.fields(dot, arg, dot.clone(), names, &[], None)?,
            ArgKind::Variable(names) => {
                let value = self.variable(&names[0]);
                self.fields(dot, arg, value, &names[1..], &[], None)?
            }
            ArgKind::Function(name) => {
                // A function as an argument is called without any.
                let function = funcs::get(name).expect("the parser knows it");
                self.count(arg.at, arg, name, function.params.len(), function.more.is_some(), 0)?;
                (function.call)(&[]).or_else(|why| self.fail(arg.at, arg, why))?
            }
            ArgKind::Pipe(pipe) => self.pipe(pipe, dot)?,
            ArgKind::Chain(from, names) => {
                let value = self.arg(from, dot)?;
                self.fields(dot, arg, value, names, &[], None)?
            }
        })
    }

    /// Walks down fields; the last one may be a method.
    fn fields(
        &mut self,
        dot: &Value,
        node: &'a Arg,
        mut value: Value,
        names: &'a [String],
        args: &'a [Arg],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let Some((end, way)) = names.split_last() else { return Ok(value) };
        for name in way {
            value = self.field(node, value, name, false)?;
            if let Value::Method(method) = &value {
                self.method(node, method, &[], None, dot)?;
            }
        }
        let value = self.field(node, value, end, !args.is_empty() || last.is_some())?;
        match &value {
            Value::Method(method) => self.method(node, method, args, last, dot),
            _ => Ok(value),
        }
    }

    fn field(&self, node: &Arg, value: Value, name: &str, given: bool) -> Result<Value, String> {
        let found = match &value {
            Value::Missing if self.mode.raw => {
                let message = format!("nil data; no entry for key {}", print::quote(name));
                return self.fail(node.at, node, message);
            }
            Value::Missing => return Ok(Value::Missing),
            Value::Nil(of) => {
                return self.fail(node.at, node, format!("nil pointer evaluating {of}.{name}"));
            }
            Value::Map(map) => match map.entries.get(name) {
                Some(found) => Some(found.clone()),
                None if self.mode.raw => {
                    let message = format!("map has no entry for key {}", print::quote(name));
                    return self.fail(node.at, node, message);
                }
                None => return Ok(Value::Missing),
            },
            Value::Struct(fields) => {
                let field = fields.fields.iter().find(|field| &*field.name == name);
                field.map(|field| field.value.clone())
            }
            _ => None,
        };
        match (found, &value) {
            (None, _) => {
                let of = if self.mode.raw { ANY.into() } else { value.type_name() };
                self.fail(node.at, node, format!("can't evaluate field {name} in type {of}"))
            }
            (Some(found), Value::Struct(fields)) if given && !matches!(found, Value::Method(_)) => {
                // What is a field here is a method without arguments in Docker's rows.
                let message = match fields.escaped {
                    true => format!("wrong number of args for {name}: want 0 got 1"),
                    false => format!("{name} has arguments but cannot be invoked as function"),
                };
                self.fail(node.at, node, message)
            }
            (Some(found), _) if given && !matches!(found, Value::Method(_)) => {
                self.fail(node.at, node, format!("{name} is not a method but has arguments"))
            }
            (Some(found), _) => Ok(found),
        }
    }
}
