//! A console block: commands, and what they print.

use book::pages::{Block, Page};

/// Who types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    User,
    Root,
}

impl Prompt {
    pub fn sign(self) -> &'static str {
        match self {
            Prompt::User => "$",
            Prompt::Root => "#",
        }
    }
}

/// One block of a page.
#[derive(Debug, Clone)]
pub struct Console {
    /// Which block of the page it is, among all of them.
    pub number: usize,
    /// The line of the page where its content begins, from 1.
    pub line: usize,
    pub prompt: Prompt,
    pub commands: Vec<Command>,
    pub fails: bool,
    pub numbers: bool,
    pub unordered: bool,
    /// The first line gets a terminal, and the lines after its prompt are typed there.
    pub terminal: bool,
    pub needs: Vec<String>,
    /// Why it is not run.
    pub skipped: Option<String>,
}

/// What is typed, and what comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// As it stands on the page, with its prompt.
    pub typed: Vec<String>,
    /// For the shell: without prompts.
    pub script: String,
    pub output: Vec<String>,
}

impl Console {
    pub fn all(page: &Page) -> Vec<Console> {
        let blocks = page.blocks();
        let consoles = blocks.iter().enumerate().filter(|(_, block)| block.language == "console");
        consoles.filter_map(|(number, block)| Console::read(number, block).ok()).collect()
    }

    fn read(number: usize, block: &Block) -> Result<Console, String> {
        let first = block.lines.first().map(String::as_str).unwrap_or_default();
        let prompt = match first.as_bytes() {
            [b'$', b' ', ..] => Prompt::User,
            [b'#', b' ', ..] => Prompt::Root,
            _ => return Err("its first line is no command: `$ …` or `# …`".into()),
        };
        let list = |key| block.value(key).into_iter().flat_map(|value| value.split(','));
        Ok(Console {
            number,
            line: block.line + 1,
            prompt,
            commands: match block.has("terminal") {
                true => vec![in_a_terminal(&block.lines)],
                false => commands(&block.lines, prompt),
            },
            fails: block.has("fails"),
            numbers: block.has("numbers"),
            unordered: block.has("unordered"),
            terminal: block.has("terminal"),
            needs: list("needs").map(str::to_owned).collect(),
            skipped: block.value("not-run").map(str::to_owned),
        })
    }
}

/// A line with a prompt begins a command; a backslash at its end, or a `> `, goes on with it.
fn commands(lines: &[String], prompt: Prompt) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for line in lines {
        let begin = line.strip_prefix(prompt.sign()).and_then(|rest| rest.strip_prefix(' '));
        if let Some(words) = begin {
            let typed = vec![line.clone()];
            commands.push(Command { typed, script: words.into(), output: Vec::new() });
            continue;
        }
        let Some(command) = commands.last_mut() else { continue };
        let more = line.strip_prefix("> ").or((line == ">").then_some(""));
        let goes_on = command.script.ends_with('\\') || more.is_some();
        if command.output.is_empty() && goes_on {
            command.typed.push(line.clone());
            command.script += &format!("\n{}", more.unwrap_or(line));
        } else {
            command.output.push(line.clone());
        }
    }
    commands
}

/// The prompt of the shell that the first line starts.
const INNER_PROMPT: &str = "# ";

/// One command, and what is seen until it ends: its prompts and what is typed there, too.
fn in_a_terminal(lines: &[String]) -> Command {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let (first, seen) = lines.split_first().expect("a console has a line");
    let inside = seen.iter().filter_map(|line| line.strip_prefix(INNER_PROMPT));
    let words: Vec<_> = std::iter::once(&first[2..]).chain(inside).map(quoted).collect();
    Command {
        typed: vec![first.clone()],
        script: format!("__in_a_terminal {}", words.join(" ")),
        output: seen.to_vec(),
    }
}

/// What is wrong with the consoles of a page, one sentence each.
pub fn complaints(page: &Page) -> Vec<String> {
    let mut found = Vec::new();
    for (number, block) in page.blocks().iter().enumerate() {
        if block.language != "console" {
            continue;
        }
        let place = format!("{}:{}", page.name, block.line);
        if let Err(why) = Console::read(number, block) {
            found.push(format!("{place}: {why}"));
        }
        for word in &block.words {
            let key = word.split('=').next().unwrap_or_default();
            let known = match word.contains('=') {
                true => ["needs", "not-run"].contains(&key),
                false => ["fails", "numbers", "unordered", "terminal"].contains(&key),
            };
            if !known {
                found.push(format!("{place}: a console knows no word {word:?}"));
            }
        }
        let other = if block.lines.iter().any(|line| line.starts_with("$ ")) { "# " } else { "" };
        if !other.is_empty() && block.lines.first().is_some_and(|line| line.starts_with(other)) {
            found.push(format!("{place}: one console, one prompt"));
        }
    }
    found
}
