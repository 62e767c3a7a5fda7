//! Lesson 2: a container that gets only its share.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use cgroups::size::human;
use cgroups::{Cgroup, Group, Stats, cli};
use clap::{Args, Parser, Subcommand};
use namespaces::{Container, Namespaces, Process, explain};

/// Runs programs that get only their share.
#[derive(Parser)]
#[command(name = "cgroups", version)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a program in new namespaces, with limits
    Run(Box<Run>),
    /// Tell what a running container uses
    Stats {
        #[command(flatten)]
        which: Which,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Stop every process of a container where it is
    Pause(Which),
    /// Let them go on
    Unpause(Which),
    /// Kill every process of a container
    Kill(Which),
    /// Change the limits of a running container
    Update(Box<Update>),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    limits: cli::LimitArgs,

    /// The container's name, by which the other commands find it
    #[arg(long, default_value_t = std::process::id().to_string())]
    name: String,

    /// Tell every request to the kernel while it is made
    #[arg(long)]
    explain: bool,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

#[derive(Args)]
struct Which {
    /// The cgroup that the container was made in
    #[arg(long, value_name = "PATH", default_value = "coracle")]
    cgroup_parent: String,

    /// The container's name
    name: String,
}

impl Which {
    fn group(&self) -> Result<Group> {
        Ok(Group::open(&format!("{}/{}", self.cgroup_parent, self.name))?)
    }
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    limits: cli::LimitArgs,

    /// The container's name
    name: String,
}

fn main() -> ExitCode {
    let command = Command::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 125 } else { 0 })
    });
    let result = match command.verb {
        Verb::Run(args) => run(*args),
        verb => command_on_group(verb).map(|()| 0),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("cgroups: {error}");
            let known = error.downcast_ref::<namespaces::Error>();
            known.map_or(125, |error| error.exit_code).into()
        }
    }
}

fn run(args: Run) -> Result<u8> {
    if args.explain {
        explain::print_live();
    }
    let name = format!("{}/{}", args.limits.cgroup_parent, args.name);
    let cgroup = Cgroup::new(&name, args.limits.limits()?, args.limits.devices());
    let out_of_memory = cgroup.out_of_memory();
    let mut running = Container::new(Process::new(args.program))
        .with(Namespaces::container())
        .with(cgroup)
        .guarded()
        .start()?;
    let exit = running.wait()?;
    running.teardown()?;
    if let Some(out_of_memory) = out_of_memory.take() {
        eprintln!("cgroups: {}", out_of_memory.told(exit.code()));
    }
    Ok(exit.code())
}

fn command_on_group(verb: Verb) -> Result<()> {
    match verb {
        Verb::Stats { which, json: true } => {
            println!("{}", serde_json::to_string(&which.group()?.stats())?);
        }
        Verb::Stats { which, json: false } => print!("{}", told(&which.group()?.stats())),
        Verb::Pause(which) => which.group()?.freeze()?,
        Verb::Unpause(which) => which.group()?.thaw()?,
        Verb::Kill(which) => which.group()?.kill()?,
        Verb::Update(args) => {
            let name = format!("{}/{}", args.limits.cgroup_parent, args.name);
            Cgroup::open(&name)?.update(&args.limits.limits()?)?;
        }
        Verb::Run(_) => unreachable!("run is not about an existing group"),
    }
    Ok(())
}

fn told(stats: &Stats) -> String {
    let Stats { cpu, memory, pids, io } = stats;
    let of = |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let read = human(io.iter().map(|io| io.read_bytes).sum());
    let written = human(io.iter().map(|io| io.write_bytes).sum());
    format!(
        "cpu     {:.2} s, throttled in {} of {} periods for {:.2} s\n\
         memory  {}{}, at most {}, {} killed\n\
         pids    {}{}\n\
         disk    read {read}, written {written}\n",
        seconds(cpu.total),
        cpu.throttled_periods,
        cpu.periods,
        seconds(cpu.throttled),
        human(memory.used()),
        of(memory.limit.map(human)),
        human(memory.max_usage),
        memory.oom_kills,
        pids.current,
        of(pids.limit.map(|limit| limit.to_string())),
    )
}
