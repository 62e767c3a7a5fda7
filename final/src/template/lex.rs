//! From the text of a template to its tokens.

use super::print::quote;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text outside of actions.
    Text,
    /// `{{`
    Left,
    /// `}}`
    Right,
    /// Blanks inside of an action: they part arguments from each other.
    Space,
    /// A word: a function, or `true` and its kin.
    Identifier,
    /// A word of the language: `if`, `end`, …
    Keyword,
    /// `.Name`
    Field,
    /// `$name`
    Variable,
    /// `.`
    Dot,
    /// A number or a character constant.
    Number,
    /// `"text"`
    Quoted,
    /// `` `text` ``
    Raw,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// Any other printable character.
    Char,
    /// The end.
    End,
    /// Not a template: the text says why.
    Error,
}

/// A piece of a template.
#[derive(Debug, Clone)]
pub struct Token {
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub at: usize,
    pub text: String,
}

impl Token {
    /// As Go's parser names a token that it did not expect.
    pub fn describe(&self) -> String {
        match self.kind {
            Kind::End => "EOF".into(),
            Kind::Error => self.text.clone(),
            Kind::Keyword => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let short: String = self.text.chars().take(10).collect();
                format!("{}...", quote(&short))
            }
            _ => quote(&self.text),
        }
    }
}

const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// All tokens of a template. The last one is the end, or an error.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, depth: 0, tokens: Vec::new() };
    if let Err(message) = lexer.text() {
        let at = lexer.at;
        lexer.tokens.push(Token { kind: Kind::Error, at, text: message });
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, kind: Kind, end: usize) {
        let text = self.text[self.at..end].to_owned();
        self.tokens.push(Token { kind, at: self.at, text });
        self.at = end;
    }

    /// Text up to the next action, and that action, until the end.
    fn text(&mut self) -> Result<(), String> {
        loop {
            let Some(left) = self.rest().find("{{").map(|found| self.at + found) else {
                if !self.rest().is_empty() {
                    self.push(Kind::Text, self.text.len());
                }
                self.push(Kind::End, self.text.len());
                return Ok(());
            };
            let inside = &self.text[left + 2..];
            let trims = inside.starts_with('-') && inside[1..].starts_with(is_blank);
            let before = &self.text[self.at..left];
            let before = if trims { before.trim_end_matches(is_blank) } else { before };
            if !before.is_empty() {
                self.push(Kind::Text, self.at + before.len());
            }
            self.at = left;
            let begin = left + 2 + usize::from(trims) * 2;
            let comment = &self.text[if trims { begin } else { left + 2 }..];
            if comment.starts_with("/*") {
                self.comment(self.text.len() - comment.len())?;
                continue;
            }
            self.push(Kind::Left, left + 2);
            self.at = begin.max(self.at);
            self.action()?;
        }
    }

    fn comment(&mut self, begin: usize) -> Result<(), String> {
        let Some(end) = self.text[begin..].find("*/").map(|found| begin + found + 2) else {
            return Err("unclosed comment".into());
        };
        match self.right(end) {
            Some((after, trims)) => self.leave(after, trims),
            None => return Err("comment ends before closing delimiter".into()),
        }
        Ok(())
    }

    /// Where an action that may end at `at` ends, and if what follows is trimmed.
    fn right(&self, at: usize) -> Option<(usize, bool)> {
        let rest = &self.text[at..];
        let dash = rest.starts_with(is_blank) && rest[1..].starts_with("-}}");
        match rest {
            _ if dash => Some((at + 4, true)),
            _ if rest.starts_with("}}") => Some((at + 2, false)),
            _ => None,
        }
    }

    fn leave(&mut self, after: usize, trims: bool) {
        let rest = &self.text[after..];
        self.at =
            if trims { self.text.len() - rest.trim_start_matches(is_blank).len() } else { after };
    }

    /// The inside of an action, with its end.
    fn action(&mut self) -> Result<(), String> {
        self.depth = 0;
        loop {
            if let Some((after, trims)) = self.right(self.at) {
                if self.depth > 0 {
                    return Err("unclosed left paren".into());
                }
                let at = self.at;
                self.tokens.push(Token { kind: Kind::Right, at, text: "}}".into() });
                self.leave(after, trims);
                return Ok(());
            }
            let Some(c) = self.peek() else { return Err("unclosed action".into()) };
            self.inside(c)?;
        }
    }

    fn inside(&mut self, c: char) -> Result<(), String> {
        let next = self.rest()[c.len_utf8()..].chars().next();
        let one = self.at + c.len_utf8();
        match c {
            _ if is_blank(c) => {
                // Of the blanks before `-}}`, the last one belongs to it.
                let blanks = self.rest().len() - self.rest().trim_start_matches(is_blank).len();
                let last = self.right(self.at + blanks - 1).is_some_and(|(_, trims)| trims);
                self.push(Kind::Space, self.at + blanks - usize::from(last && blanks > 1));
            }
            '=' => self.push(Kind::Assign, one),
            ':' if next == Some('=') => self.push(Kind::Declare, one + 1),
            ':' => return Err("expected :=".into()),
            '|' => self.push(Kind::Pipe, one),
            '"' => self.quoted('"', "unterminated quoted string", Kind::Quoted)?,
            '\'' => self.quoted('\'', "unterminated character constant", Kind::Number)?,
            '`' => match self.rest()[1..].find('`') {
                Some(length) => self.push(Kind::Raw, self.at + length + 2),
                None => return Err("unterminated raw quoted string".into()),
            },
            '$' => {
                let end = self.word(one);
                self.terminated(end)?;
                self.push(Kind::Variable, end);
            }
            '.' if next.is_none_or(|next| !next.is_ascii_digit()) => {
                let end = self.word(one);
                self.terminated(end)?;
                self.push(if end == one { Kind::Dot } else { Kind::Field }, end);
            }
            '+' | '-' | '.' | '0'..='9' => self.number()?,
            _ if is_word(c) => {
                let end = self.word(self.at);
                self.terminated(end)?;
                let word = &self.text[self.at..end];
                let keyword = KEYWORDS.contains(&word);
                self.push(if keyword { Kind::Keyword } else { Kind::Identifier }, end);
            }
            '(' => {
                self.depth += 1;
                self.push(Kind::Open, one);
            }
            ')' if self.depth == 0 => return Err("unexpected right paren".into()),
            ')' => {
                self.depth -= 1;
                self.push(Kind::Close, one);
            }
            _ if c.is_ascii_graphic() => self.push(Kind::Char, one),
            _ => return Err(format!("unrecognized character in action: U+{:04X} '{c}'", c as u32)),
        }
        Ok(())
    }

    fn word(&self, from: usize) -> usize {
        let rest = &self.text[from..];
        self.text.len() - rest.trim_start_matches(is_word).len()
    }

    /// After a field, a variable or a word only some characters may stand.
    fn terminated(&self, end: usize) -> Result<(), String> {
        let rest = &self.text[end..];
        match rest.chars().next() {
            Some(c) if !is_blank(c) && !".,|:()=".contains(c) && !rest.starts_with("}}") => {
                Err(format!("bad character U+{:04X} '{c}'", c as u32))
            }
            _ => Ok(()),
        }
    }

    fn quoted(&mut self, end: char, unclosed: &str, kind: Kind) -> Result<(), String> {
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == end => {
                    self.push(kind, self.at + offset + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(unclosed.into())
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let digits = rest.trim_start_matches(['+', '-']);
        let hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
        let mut before = ' ';
        let mut length = 0;
        for (offset, c) in rest.char_indices() {
            let sign = matches!(c, '+' | '-');
            let exponent = if hexadecimal { "pP" } else { "eEpP" };
            if !(is_word(c) || c == '.' || sign && (offset == 0 || exponent.contains(before))) {
                break;
            }
            before = c;
            length = offset + c.len_utf8();
        }
        if super::value::number(&rest[..length]).is_none() {
            return Err(format!("bad number syntax: {}", quote(&rest[..length])));
        }
        self.push(Kind::Number, self.at + length);
        Ok(())
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
