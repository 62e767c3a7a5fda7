//! Lesson 2: a container that gets only its share.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use cgroups::{Cgroup, cli};
use clap::{Args, Parser, Subcommand};
use namespaces::{Container, Namespaces, Process, explain};

/// Runs programs that get only their share.
#[derive(Parser)]
#[command(name = "cgroups")]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a program in new namespaces, with limits
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    limits: cli::LimitArgs,

    /// Tell every request to the kernel while it is made
    #[arg(long)]
    explain: bool,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    let command = Command::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 125 } else { 0 })
    });
    let Verb::Run(args) = command.verb;
    match run(args) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("cgroups: {error}");
            let code =
                error.downcast_ref().map_or(125, |error: &namespaces::Error| error.exit_code);
            code.into()
        }
    }
}

fn run(args: Run) -> Result<u8> {
    if args.explain {
        explain::print_live();
    }
    let name = format!("{}/{}", args.limits.cgroup_parent, std::process::id());
    let cgroup = Cgroup::new(&name, args.limits.limits()?, args.limits.devices());
    let mut running = Container::new(Process::new(args.program))
        .with(Namespaces::container())
        .with(cgroup)
        .guarded()
        .start()?;
    let exit = running.wait()?;
    if let Ok(group) = Cgroup::open(&name)
        && let Some(sentence) = cli::out_of_memory(&group, exit)
    {
        eprintln!("cgroups: {sentence}");
    }
    running.teardown()?;
    Ok(exit.code())
}
