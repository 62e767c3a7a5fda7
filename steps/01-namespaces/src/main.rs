//! Lesson 1: a process that sees its own world, and the life of a container.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};
use namespaces::cli::{self, Defaults, ProcessArgs, RunArgs};
use namespaces::{Container, Join, Proc, Result, doctor, explain};
use nix::unistd::Pid;

/// A process that sees its own world
#[derive(Parser)]
#[command(name = "namespaces", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program in namespaces of its own
    Run(Run),
    /// Run a program in the namespaces of a process
    Exec(Exec),
    /// Tell what this machine can do, and what it lacks
    Doctor,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    args: RunArgs,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Args)]
struct Exec {
    #[command(flatten)]
    args: ProcessArgs,
    /// A process of the container, as `run` or `ps` shows it
    pid: i32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

fn main() {
    let cli: Cli = cli::parse();
    cli::exit_with(match cli.command {
        Command::Run(run) => run.act(),
        Command::Exec(exec) => exec.act(),
        Command::Doctor => Ok(doctor::report(&doctor::checks())),
    })
}

// ANCHOR: run
impl Run {
    fn act(self) -> Result<u8> {
        let args = &self.args;
        let defaults = Defaults { hostname: "container".into(), ..Defaults::default() };
        let process = args.process(self.program, &defaults)?;
        let namespaces = args.namespaces(&defaults)?;
        let proc = namespaces.has(libc::CLONE_NEWPID).then_some(Proc);
        let container = Container::new(process).with(namespaces).with_some(proc);
        finish(container, &args.process)
    }
}
// ANCHOR_END: run

impl Exec {
    fn act(self) -> Result<u8> {
        let process = self.args.process(self.program, &Defaults::default())?;
        let container = Container::new(process).with(Join::pid(Pid::from_raw(self.pid))?);
        finish(container, &self.args)
    }
}

fn finish(container: Container, args: &ProcessArgs) -> Result<u8> {
    if args.explain {
        explain::print_live();
    }
    let (terminal, console) = args.terminal()?.unzip();
    let container = container.with_some(terminal).with_some(args.user(&Defaults::default()));
    cli::run_to_end(container, console, args.interactive)
}
