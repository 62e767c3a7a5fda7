//! Lesson 2: a container that gets only its share.

use std::ffi::OsString;

use cgroups::cli::LimitArgs;
use cgroups::size::human;
use cgroups::{Cgroup, Group, Stats, doctor};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use namespaces::cli::{self, Defaults, ProcessArgs, RunArgs};
use namespaces::{Container, Error, Join, Proc, Result, explain};

/// Without a name, the group would be that of all containers.
fn a_name() -> NonEmptyStringValueParser {
    NonEmptyStringValueParser::new()
}

/// Programs that get only their share
#[derive(Parser)]
#[command(name = "cgroups", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program in namespaces of its own, with limits
    Run(Box<Run>),
    /// Run one more program in a container, within its limits
    Exec(Exec),
    /// Tell what a container uses
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
    /// Say what this machine lacks, and what to do
    Doctor,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    args: RunArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// The container's name, by which the other commands find it
    #[arg(long, default_value_t = std::process::id().to_string(), value_parser = a_name())]
    name: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Args)]
struct Exec {
    #[command(flatten)]
    args: ProcessArgs,
    #[command(flatten)]
    which: Which,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    limits: LimitArgs,
    /// The container's name
    #[arg(value_parser = a_name())]
    name: String,
}

#[derive(Args)]
struct Which {
    /// The cgroup that the container was made in
    #[arg(long, value_name = "PATH", default_value = "coracle")]
    cgroup_parent: String,
    /// The container's name
    #[arg(value_parser = a_name())]
    name: String,
}

fn main() {
    let cli: Cli = cli::parse();
    cli::exit_with(match cli.command {
        Command::Run(run) => run.act(),
        Command::Exec(exec) => exec.act(),
        Command::Update(update) => update.act(),
        Command::Stats { which, json } => which.group().and_then(|group| print_stats(&group, json)),
        Command::Pause(which) => which.group().and_then(|group| done(group.freeze())),
        Command::Unpause(which) => which.group().and_then(|group| done(group.thaw())),
        Command::Kill(which) => which.group().and_then(|group| done(group.kill())),
        Command::Doctor => Ok(namespaces::doctor::report(&doctor::checks())),
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
        let name = format!("{}/{}", self.limits.cgroup_parent, self.name);
        let cgroup = Cgroup::new(&name, self.limits.limits()?, self.limits.devices());
        let out_of_memory = cgroup.out_of_memory();
        let container = Container::new(process).with(namespaces).with(cgroup).with_some(proc);
        let code = finish(container, &args.process)?;
        if let Some(out_of_memory) = out_of_memory.take() {
            cli::tell(format_args!("cgroups: {}", out_of_memory.told(code)));
        }
        Ok(code)
    }
}
// ANCHOR_END: run

// ANCHOR: exec
impl Exec {
    fn act(self) -> Result<u8> {
        let process = self.args.process(self.program, &Defaults::default())?;
        let group = self.which.group()?;
        let empty = || Error::new(format!("the container {} has ended", self.which.name));
        let first = *group.pids()?.first().ok_or_else(empty)?;
        if group.is_frozen() {
            let error = Error::new(format!("the container {} is paused", self.which.name));
            return Err(error.hint("its new process would stand still too; unpause it first"));
        }
        let container = Container::new(process).with(Join::pid(first)?).with(Cgroup::enter(group));
        finish(container, &self.args)
    }
}
// ANCHOR_END: exec

impl Update {
    fn act(self) -> Result<u8> {
        let name = format!("{}/{}", self.limits.cgroup_parent, self.name);
        done(Group::open(&name)?.update(&self.limits.limits()?))
    }
}

impl Which {
    fn group(&self) -> Result<Group> {
        Group::open(&format!("{}/{}", self.cgroup_parent, self.name))
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

fn done(result: Result<()>) -> Result<u8> {
    result.map(|()| 0)
}

fn print_stats(group: &Group, json: bool) -> Result<u8> {
    let stats = group.stats();
    let text = match json {
        true => serde_json::to_string(&stats).expect("stats are plain data") + "\n",
        false => told(&stats),
    };
    done(cli::print(&text))
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
