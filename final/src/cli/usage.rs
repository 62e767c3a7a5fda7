//! Wrong usage, told as Docker tells it: one sentence, and where to read on.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error};

use super::{Cli, out};

/// Docker's exit code for a flag that makes no sense.
const BAD_FLAG: u8 = 125;

/// Help and versions are results; everything else is wrong usage.
///
/// # Errors
/// The result cannot be written.
pub fn refuse(usage: &Error) -> Result<ExitCode> {
    match usage.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            out::to_stdout(usage.print().and_then(|()| io::stdout().flush()))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            let words: Vec<_> = std::env::args().skip(1).collect();
            let (sentence, code) = tell(usage, &words);
            out::tell(sentence);
            Ok(ExitCode::from(code))
        }
    }
}

/// The sentence, and the exit code.
fn tell(usage: &Error, words: &[String]) -> (String, u8) {
    let (command, name) = meant(words);
    let (what, code) = sentence(usage, &command, &name);
    (format!("coracle: {what}\nSee '{name} --help'."), code)
}

fn sentence(usage: &Error, command: &Command, name: &str) -> (String, u8) {
    let text = |kind| usage.get(kind).map(ToString::to_string).unwrap_or_default();
    let argument = text(ContextKind::InvalidArg);
    match usage.kind() {
        ErrorKind::InvalidSubcommand => {
            let wrong = text(ContextKind::InvalidSubcommand);
            (format!("'{wrong}' is not a {name} command"), 1)
        }
        ErrorKind::MissingSubcommand => (format!("{name} takes a command"), 1),
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            (format!("unknown flag: {argument}"), BAD_FLAG)
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let letter = argument.chars().nth(1).unwrap_or('-');
            (format!("unknown shorthand flag: '{letter}' in {argument}"), BAD_FLAG)
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues | ErrorKind::TooFewValues => {
            (format!("'{name}' {}", count(command)), 1)
        }
        ErrorKind::MissingRequiredArgument => match flags(usage) {
            Some(flags) => (format!("the flag {flags} is missing"), BAD_FLAG),
            None => (format!("'{name}' {}", count(command)), 1),
        },
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue);
            let flag = argument.split([' ', '[']).next().unwrap_or_default();
            if value.is_empty() {
                return (format!("flag needs an argument: {flag}"), BAD_FLAG);
            }
            (format!("invalid argument \"{value}\" for {flag}{}", why(usage)), BAD_FLAG)
        }
        _ => (first_line(usage), BAD_FLAG),
    }
}

/// What is wrong with a value, or which ones there are.
fn why(usage: &Error) -> String {
    if let Some(cause) = std::error::Error::source(usage) {
        return format!(": {cause}");
    }
    match usage.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!(": it must be one of {}", valid.join(", "))
        }
        _ => String::new(),
    }
}

/// The missing ones, if they are flags.
fn flags(usage: &Error) -> Option<String> {
    let ContextValue::Strings(missing) = usage.get(ContextKind::InvalidArg)? else { return None };
    let flags: Vec<_> = missing.iter().filter(|name| name.starts_with('-')).cloned().collect();
    (!flags.is_empty()).then(|| flags.join(", "))
}

/// How many arguments a command takes, in Docker's words.
fn count(command: &Command) -> String {
    let (mut least, mut many) = (0, false);
    let mut most = 0;
    for argument in command.get_positionals() {
        most += 1;
        let values = argument.get_num_args().unwrap_or_default();
        least += if argument.is_required_set() { values.min_values().max(1) } else { 0 };
        many |= values.max_values() > 1;
    }
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    match (least, most, many) {
        (_, 0, _) => "accepts no arguments".into(),
        (least, _, true) => format!("requires at least {least} argument{}", plural(least)),
        (least, most, false) if least == most => {
            format!("requires {most} argument{}", plural(most))
        }
        (_, most, false) => format!("takes at most {most} argument{}", plural(most)),
    }
}

/// The command that the words lead to, and what it is called: `coracle volume rm`.
fn meant(words: &[String]) -> (Command, String) {
    let mut command = Cli::command();
    command.build();
    let mut name = command.get_name().to_owned();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--root" {
            words.next();
        } else if !word.starts_with('-') {
            let Some(next) = command.find_subcommand(word).cloned() else { break };
            command = next;
            name = format!("{name} {}", command.get_name());
        }
    }
    (command, name)
}

/// Of what is left, the sentence alone.
fn first_line(usage: &Error) -> String {
    let text = usage.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn told(line: &str) -> (String, u8) {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::try_parse_from(["coracle".to_owned()].iter().chain(&words)).unwrap_err();
        tell(&error, &words)
    }

    #[test]
    fn wrong_usage_is_a_sentence_and_where_to_read_on() {
        let cases = [
            ("bogus", "'bogus' is not a coracle command", "coracle", 1),
            ("ps --bogus", "unknown flag: --bogus", "coracle ps", 125),
            ("wait -x a", "unknown shorthand flag: 'x' in -x", "coracle wait", 125),
            ("rm", "'coracle rm' requires at least 1 argument", "coracle rm", 1),
            ("exec", "'coracle exec' requires at least 2 arguments", "coracle exec", 1),
            ("exec a", "'coracle exec' requires at least 2 arguments", "coracle exec", 1),
            ("ps a", "'coracle ps' accepts no arguments", "coracle ps", 1),
            ("volume bogus", "'bogus' is not a coracle volume command", "coracle volume", 1),
            ("ps -n", "flag needs an argument: --last", "coracle ps", 125),
        ];
        for (line, what, name, code) in cases {
            let expected = (format!("coracle: {what}\nSee '{name} --help'."), code);
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn a_flag_can_be_spelled_as_docker_spells_it() {
        let read = |line: &str| format!("{:?}", Cli::try_parse_from(line.split(' ')).unwrap());
        for (one, other) in [
            ("run --rm=true -it=1 host", "run --rm -i -t host"),
            ("run --rm=false --init=F -d=false host", "run host"),
            ("run --rm --rm=false host sh --x=true", "run host sh --x=true"),
            ("run --sig-proxy --read-only=T host", "run --read-only host"),
            ("create -e -x --name=-n host", "create --env=-x --name=-n host"),
            ("ps -aq=true --no-trunc=false", "ps -aq"),
            ("volume prune -f=true --all=0", "volume prune -f"),
            ("--root=/x container rm --force=t a", "--root /x container rm -f a"),
            ("exec -d=true a -x --y=z", "exec -d a -x --y=z"),
            ("exec -- a -d", "exec a -d"),
        ] {
            let (one, other) = (format!("coracle {one}"), format!("coracle {other}"));
            assert_eq!(read(&one), read(&other));
        }
        for line in ["exec a -- b", "run host -- b", "create host -- b"] {
            let read = read(&format!("coracle {line}"));
            assert!(read.contains("\"--\", \"b\"]"), "{read}");
        }
        let nowhere = ["coracle", "run", "-w", "", "host"];
        assert!(Cli::try_parse_from(nowhere).is_ok(), "an empty folder is none");
        let maybe = told("run --rm=maybe host").0;
        assert!(maybe.starts_with("coracle: invalid argument \"maybe\" for --rm: "), "{maybe}");
        let below = told("run --memory -1 host").0;
        assert!(below.starts_with("coracle: invalid argument \"-1\" for --memory: "), "{below}");
    }

    #[test]
    fn a_wrong_value_is_told_with_the_reason() {
        let (text, code) = told("run -m abc host");
        assert!(text.starts_with("coracle: invalid argument \"abc\" for --memory: "), "{text}");
        assert_eq!((text.lines().count(), code), (2, 125), "{text}");
    }
}
