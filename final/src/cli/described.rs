//! What a command is for, told by its line in the list of commands.
//!
//! clap would take the description from the type of the flags, too, and that of the type
//! would count. But a type is described for who reads the code, may serve several
//! commands, and may be made of others with descriptions of their own.

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Id};

/// The flags of a command, which leave it its description.
#[derive(Debug)]
pub struct Flags<A>(pub A);

fn keep_description(command: Command, augment: impl FnOnce(Command) -> Command) -> Command {
    let (about, long) = (command.get_about().cloned(), command.get_long_about().cloned());
    augment(command).about(Resettable::from(about)).long_about(Resettable::from(long))
}

impl<A: Args> Args for Flags<A> {
    fn group_id() -> Option<Id> {
        A::group_id()
    }

    fn augment_args(command: Command) -> Command {
        keep_description(command, A::augment_args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        keep_description(command, A::augment_args_for_update)
    }
}

impl<A: FromArgMatches> FromArgMatches for Flags<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        A::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        A::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }

    fn update_from_arg_matches_mut(&mut self, matches: &mut ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches_mut(matches)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// Each command, and what its description was before its flags were put to it.
    fn assert_described(command: &Command, name: &str) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let name = format!("{name} {}", below.get_name());
            let about = below.get_about().map(ToString::to_string).unwrap_or_default();
            let of_code = about.contains('`') || about.contains("there can be commands");
            assert!(!about.is_empty() && !of_code, "{name}: {about}");
            assert_described(below, &name);
        }
    }

    #[test]
    fn every_command_tells_what_it_does_and_not_how_it_is_made() {
        let mut command = Cli::command();
        let listed: Vec<_> = command.get_subcommands().cloned().collect();
        command.build();
        for (listed, built) in listed.iter().zip(command.get_subcommands()) {
            let about = |command: &Command| command.get_about().map(ToString::to_string);
            assert_eq!(about(built), about(listed));
        }
        assert_described(&command, "coracle");
    }
}
