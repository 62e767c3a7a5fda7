//! Lesson 3: a container that stands on its own, layered, root.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use cgroups::{Cgroup, DevicePolicy};
use clap::{Args, Parser, Subcommand};
use namespaces::{Container, Namespaces, Process, explain};
use rootfs::{Rootfs, Scratch, Upper, cli};

/// Runs programs on a root of their own.
#[derive(Parser)]
#[command(name = "rootfs")]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a program on a root made of directories
    Run(Box<Run>),
    /// List what a kept upper directory changes: A added, C changed, D deleted
    Changes(Changes),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    limits: cgroups::cli::LimitArgs,

    #[command(flatten)]
    root: cli::RootArgs,

    /// A directory to stand on; more than once: layers, the bottom one first
    #[arg(long = "rootfs", value_name = "DIR", required = true)]
    layers: Vec<PathBuf>,

    /// Keep the changes in DIR, and find them there the next time
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,

    /// Tell every request to the kernel while it is made
    #[arg(long)]
    explain: bool,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

#[derive(Args)]
struct Changes {
    /// The directories that the container stood on, the bottom one first
    #[arg(long = "rootfs", value_name = "DIR")]
    layers: Vec<PathBuf>,

    /// The directory that was given to `run --upper`
    upper: PathBuf,
}

fn main() -> ExitCode {
    let command = Command::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 125 } else { 0 })
    });
    let done = match command.verb {
        Verb::Run(args) => run(*args),
        Verb::Changes(args) => changes(args),
    };
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("rootfs: {error}");
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
    let cgroup = Cgroup::new(&name, args.limits.limits()?, devices(&args)?);
    let scratch = Scratch::below(&std::env::temp_dir());
    let root = root(&args, &scratch)?;
    let mut running = Container::new(Process::new(args.program))
        .with(scratch)
        .with(Namespaces::container())
        .with(cgroup)
        .with(root)
        .guarded()
        .start()?;
    let exit = running.wait()?;
    running.teardown()?;
    Ok(exit.code())
}

fn devices(args: &Run) -> Result<DevicePolicy> {
    Ok(match args.limits.devices() {
        DevicePolicy::Default(rules) => {
            DevicePolicy::Default([rules, args.root.device_rules()?].concat())
        }
        all => all,
    })
}

fn root(args: &Run, scratch: &Scratch) -> Result<Rootfs> {
    let upper = match &args.upper {
        None => scratch.upper(),
        Some(kept) => Upper::below(kept)?,
    };
    let mut root = Rootfs::new(args.layers.clone(), Some(upper), scratch.target());
    root.volatile = args.upper.is_none();
    args.root.apply(&mut root)?;
    Ok(root)
}

fn changes(args: Changes) -> Result<u8> {
    let upper = Upper::below(&args.upper)?.upper;
    for change in rootfs::changes(&args.layers, &upper)? {
        println!("{change}");
    }
    Ok(0)
}
