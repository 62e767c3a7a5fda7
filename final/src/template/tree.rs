//! The tree of a template, and how Go's messages write its parts.

use std::collections::BTreeMap;
use std::fmt;

use super::value::Value;

/// A piece of a template.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { at: usize, name: String, data: Option<Pipe> },
    Break,
    Continue,
}

/// `{{if PIPE}} LIST {{else}} OTHERWISE {{end}}`, and the same of `range` and `with`.
#[derive(Debug)]
pub struct Branch {
    pub pipe: Pipe,
    pub list: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// `$declared := command | command`
#[derive(Debug)]
pub struct Pipe {
    pub at: usize,
    pub declared: Vec<String>,
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// A function or a value, and its arguments.
#[derive(Debug)]
pub struct Command {
    pub at: usize,
    pub args: Vec<Arg>,
}

/// One word of a command.
#[derive(Debug)]
pub struct Arg {
    pub at: usize,
    pub kind: ArgKind,
}

/// What a word is.
#[derive(Debug)]
pub enum ArgKind {
    Dot,
    Nil,
    Bool(bool),
    Number(String, Value),
    Text(String, String),
    Field(Vec<String>),
    /// The variable, and the fields of its value.
    Variable(Vec<String>),
    Function(String),
    Pipe(Pipe),
    /// The fields of what parentheses give.
    Chain(Box<Arg>, Vec<String>),
}

/// A template, and those that it defines.
#[derive(Debug, Default)]
pub struct Tree {
    pub main: Vec<Node>,
    pub defined: BTreeMap<String, Vec<Node>>,
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ArgKind::Dot => f.write_str("."),
            ArgKind::Nil => f.write_str("nil"),
            ArgKind::Bool(value) => write!(f, "{value}"),
            ArgKind::Number(text, _) | ArgKind::Text(text, _) => f.write_str(text),
            ArgKind::Field(names) => names.iter().try_for_each(|name| write!(f, ".{name}")),
            ArgKind::Variable(names) => f.write_str(&names.join(".")),
            ArgKind::Function(name) => f.write_str(name),
            ArgKind::Pipe(pipe) => write!(f, "({pipe})"),
            ArgKind::Chain(from, names) => {
                write!(f, "{from}")?;
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.args.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.declared.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.declared.join(", "))?;
        }
        let commands: Vec<_> = self.commands.iter().map(ToString::to_string).collect();
        f.write_str(&commands.join(" | "))
    }
}

impl Tree {
    /// The first names of all fields that are asked for, in order: the columns.
    pub fn fields(&self) -> Vec<String> {
        let mut fields = Vec::new();
        self.main.iter().for_each(|node| node.fields(&mut fields));
        fields
    }
}

impl Node {
    fn fields(&self, into: &mut Vec<String>) {
        match self {
            Node::Action(pipe) => pipe.fields(into),
            Node::Template { data, .. } => data.iter().for_each(|pipe| pipe.fields(into)),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                branch.pipe.fields(into);
                branch.list.iter().chain(&branch.otherwise).for_each(|node| node.fields(into));
            }
            Node::Text(_) | Node::Break | Node::Continue => {}
        }
    }
}

impl Pipe {
    fn fields(&self, into: &mut Vec<String>) {
        self.commands.iter().flat_map(|command| &command.args).for_each(|arg| arg.fields(into));
    }
}

impl Arg {
    fn fields(&self, into: &mut Vec<String>) {
        match &self.kind {
            ArgKind::Field(names) => into.push(names[0].clone()),
            ArgKind::Variable(names) if names[0] == "$" => into.extend(names.get(1).cloned()),
            ArgKind::Pipe(pipe) => pipe.fields(into),
            ArgKind::Chain(from, _) => from.fields(into),
            _ => {}
        }
    }
}
