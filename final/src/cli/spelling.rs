//! Flags in every spelling that Docker's command line takes: `--rm=false`, `-it=true`, and
//! the value of an option, whatever it begins with.
//!
//! Help shows the usual spelling, and building this one costs time. So a line is read
//! this way only when it could not be read the usual way.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, Command};

/// The same command, and those below it, in every spelling.
pub fn generous(mut command: Command) -> Command {
    // The flags of a command are there only when it is built.
    command.build();
    respell(command)
}

fn respell(command: Command) -> Command {
    command.mut_args(spelled).mut_subcommands(respell)
}

fn spelled(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(truth()),
        ArgAction::Set | ArgAction::Append if !arg.is_positional() => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// What Go calls a bool.
fn truth() -> impl TypedValueParser<Value = bool> {
    let yes = PossibleValue::new("true").aliases(["1", "t", "T", "TRUE", "True"]);
    let no = PossibleValue::new("false").aliases(["0", "f", "F", "FALSE", "False"]);
    PossibleValuesParser::new([yes, no])
        .map(|text| matches!(text.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True"))
}
