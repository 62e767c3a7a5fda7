//! From tokens to a tree: what Go's text/template calls parsing, with its messages.

use super::funcs;
use super::lex::{self, Kind, Token};
use super::print::{quote, unquote};
use super::tree::{Arg, ArgKind, Branch, Command, Node, Pipe, Tree};
use super::value;

/// Reads a template.
///
/// # Errors
/// Go's sentence: `template: :1: unclosed action`.
pub fn parse(text: &str) -> Result<Tree, String> {
    let tokens = lex::tokens(text);
    let (vars, tree) = (vec!["$".into()], Tree::default());
    let mut parser = Parser { tokens, next: 0, vars, ranges: 0, tree };
    parser.main().map_err(|message| {
        let at = parser.tokens[parser.next.saturating_sub(1).min(parser.tokens.len() - 1)].at;
        format!("template: :{}: {message}", 1 + text[..at].matches('\n').count())
    })?;
    Ok(parser.tree)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    vars: Vec<String>,
    ranges: usize,
    tree: Tree,
}

/// How a list ends.
enum Ending {
    End,
    Else,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) -> &Token {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_word(&mut self) -> Token {
        self.skip_space();
        self.take()
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T, String> {
        match token.kind {
            Kind::Error => Err(token.text.clone()),
            _ => Err(format!("unexpected {} in {context}", token.describe())),
        }
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token, String> {
        let token = self.take_word();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn main(&mut self) -> Result<(), String> {
        while self.skip_space().kind != Kind::End {
            match self.piece()? {
                Ok(node) => self.tree.main.extend(node),
                Err(Ending::End) => return Err("unexpected {{end}}".into()),
                Err(Ending::Else) => return Err("unexpected {{else}}".into()),
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(Vec<Node>, Ending), String> {
        let mut list = Vec::new();
        while self.skip_space().kind != Kind::End {
            match self.piece()? {
                Ok(node) => list.extend(node),
                Err(ending) => return Ok((list, ending)),
            }
        }
        self.next += 1;
        Err("unexpected EOF".into())
    }

    /// A text or an action; an action that ends a list is told apart.
    fn piece(&mut self) -> Result<Result<Option<Node>, Ending>, String> {
        let token = self.take();
        match token.kind {
            Kind::Text => return Ok(Ok(Some(Node::Text(token.text)))),
            Kind::Left => {}
            _ => return self.unexpected(&token, "input"),
        }
        let word = self.skip_space().clone();
        if word.kind != Kind::Keyword {
            return Ok(Ok(Some(Node::Action(self.pipe("command", Kind::Right)?))));
        }
        self.next += 1;
        let node = match word.text.as_str() {
            "if" => Node::If(self.branch("if")?),
            "with" => Node::With(self.branch("with")?),
            "range" => Node::Range(self.branch("range")?),
            "end" => {
                self.expect(Kind::Right, "end")?;
                return Ok(Err(Ending::End));
            }
            "else" => {
                let next = self.skip_space();
                if !matches!(next.text.as_str(), "if" | "with") || next.kind != Kind::Keyword {
                    self.expect(Kind::Right, "else")?;
                }
                return Ok(Err(Ending::Else));
            }
            "break" | "continue" => {
                if self.ranges == 0 {
                    return Err(format!("{{{{{}}}}} outside {{{{range}}}}", word.text));
                }
                self.expect(Kind::Right, &word.text)?;
                if word.text == "break" { Node::Break } else { Node::Continue }
            }
            "define" => {
                self.define("define clause")?;
                return Ok(Ok(None));
            }
            "block" => {
                let at = self.skip_space().at;
                let name = self.name("block clause")?;
                let data = self.pipe("block clause", Kind::Right)?;
                self.body(name.clone())?;
                Node::Template { at, name, data: Some(data) }
            }
            _ => self.template()?,
        };
        Ok(Ok(Some(node)))
    }

    fn name(&mut self, context: &str) -> Result<String, String> {
        let token = self.take_word();
        match token.kind {
            Kind::Quoted | Kind::Raw => unquote(&token.text).ok_or_else(|| "invalid syntax".into()),
            _ => self.unexpected(&token, context),
        }
    }

    fn template(&mut self) -> Result<Node, String> {
        let at = self.skip_space().at;
        let name = self.name("template clause")?;
        let data = match self.skip_space().kind {
            Kind::Right => {
                self.next += 1;
                None
            }
            _ => Some(self.pipe("template clause", Kind::Right)?),
        };
        Ok(Node::Template { at, name, data })
    }

    fn define(&mut self, context: &str) -> Result<(), String> {
        let name = self.name(context)?;
        self.expect(Kind::Right, context)?;
        self.body(name)
    }

    /// What a name stands for: it sees nothing of our variables.
    fn body(&mut self, name: String) -> Result<(), String> {
        let vars = std::mem::replace(&mut self.vars, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (list, ending) = self.list()?;
        (self.vars, self.ranges) = (vars, ranges);
        match ending {
            Ending::End => {
                self.tree.defined.insert(name, list);
                Ok(())
            }
            Ending::Else => Err("unexpected {{else}} in define clause".into()),
        }
    }

    fn branch(&mut self, context: &str) -> Result<Branch, String> {
        let vars = self.vars.len();
        let pipe = self.pipe(context, Kind::Right)?;
        self.ranges += usize::from(context == "range");
        let (list, ending) = self.list()?;
        self.ranges -= usize::from(context == "range");
        let mut otherwise = Vec::new();
        if let Ending::Else = ending {
            let word = self.peek().clone();
            if word.kind == Kind::Keyword && word.text == context {
                self.next += 1;
                let branch = self.branch(context)?;
                otherwise.push(if context == "if" { Node::If(branch) } else { Node::With(branch) });
            } else {
                let ending;
                (otherwise, ending) = self.list()?;
                if let Ending::Else = ending {
                    return Err("expected end; found {{else}}".into());
                }
            }
        }
        self.vars.truncate(vars);
        Ok(Branch { pipe, list, otherwise })
    }

    fn pipe(&mut self, context: &str, end: Kind) -> Result<Pipe, String> {
        let at = self.skip_space().at;
        let mut pipe = Pipe { at, declared: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.take_word();
            match token.kind {
                kind if kind == end => break,
                Kind::Identifier
                | Kind::Field
                | Kind::Variable
                | Kind::Dot
                | Kind::Number
                | Kind::Quoted
                | Kind::Raw
                | Kind::Open => {
                    self.next -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return Err(format!("missing value for {context}"));
        }
        for (stage, command) in pipe.commands.iter().enumerate().skip(1) {
            let fixed = matches!(
                command.args[0].kind,
                ArgKind::Bool(_)
                    | ArgKind::Dot
                    | ArgKind::Nil
                    | ArgKind::Number(..)
                    | ArgKind::Text(..)
            );
            if fixed {
                return Err(format!("non executable command in pipeline stage {}", stage + 1));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, and after `range` also `$k, $v :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), String> {
        while self.skip_space().kind == Kind::Variable {
            let begin = self.next;
            let name = self.take().text;
            let after = self.skip_space().clone();
            match after.kind {
                Kind::Declare | Kind::Assign => {
                    self.next += 1;
                    pipe.assigns = after.kind == Kind::Assign;
                    pipe.declared.push(name.clone());
                    self.vars.push(name);
                    return Ok(());
                }
                Kind::Char if after.text == "," => {
                    self.next += 1;
                    pipe.declared.push(name.clone());
                    self.vars.push(name);
                    if context != "range" || pipe.declared.len() > 1 {
                        return Err(format!("too many declarations in {context}"));
                    }
                    if self.skip_space().kind != Kind::Variable {
                        return Err("range can only initialize variables".into());
                    }
                }
                _ => {
                    self.next = begin;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut command = Command { at: self.skip_space().at, args: Vec::new() };
        loop {
            self.skip_space();
            command.args.extend(self.operand()?);
            let token = self.take();
            match token.kind {
                Kind::Space => {}
                Kind::Right | Kind::Close => {
                    self.next -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if command.args.is_empty() { Err("empty command".into()) } else { Ok(command) }
    }

    fn operand(&mut self) -> Result<Option<Arg>, String> {
        let Some(term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        // Go counts the position of a chain from its second link.
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.take().text[1..].to_owned());
        }
        let kind = match term.kind {
            ArgKind::Field(mut names) => {
                names.extend(fields);
                ArgKind::Field(names)
            }
            ArgKind::Variable(mut names) => {
                names.extend(fields);
                ArgKind::Variable(names)
            }
            ArgKind::Function(_) | ArgKind::Pipe(_) | ArgKind::Chain(..) => {
                ArgKind::Chain(Box::new(term), fields)
            }
            _ => return Err(format!("unexpected . after term {}", quote(&term.to_string()))),
        };
        Ok(Some(Arg { at, kind }))
    }

    fn term(&mut self) -> Result<Option<Arg>, String> {
        let token = self.take_word();
        let text = token.text.as_str();
        let kind = match token.kind {
            Kind::Identifier => match text {
                "true" | "false" => ArgKind::Bool(text == "true"),
                "nil" => ArgKind::Nil,
                _ if funcs::exists(text) => ArgKind::Function(text.to_owned()),
                _ => return Err(format!("function {} not defined", quote(text))),
            },
            Kind::Dot => ArgKind::Dot,
            Kind::Field => ArgKind::Field(vec![text[1..].to_owned()]),
            Kind::Variable if self.vars.iter().any(|known| known == text) => {
                ArgKind::Variable(vec![text.to_owned()])
            }
            Kind::Variable => return Err(format!("undefined variable {}", quote(text))),
            Kind::Number => match value::number(text) {
                Some(number) => ArgKind::Number(text.to_owned(), number),
                None => return Err(format!("malformed character constant: {text}")),
            },
            Kind::Quoted | Kind::Raw => match unquote(text) {
                Some(value) => ArgKind::Text(text.to_owned(), value),
                None => return Err("invalid syntax".into()),
            },
            Kind::Open => ArgKind::Pipe(self.pipe("parenthesized pipeline", Kind::Close)?),
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Arg { at: token.at, kind }))
    }
}
