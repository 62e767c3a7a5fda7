//! Lesson 1: a process that sees its own world, and the life of a container.

use namespaces::{Container, Namespaces, Process, explain};

fn main() -> anyhow::Result<()> {
    explain::print_live();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let mut running = Container::new(Process::new(args)).with(Namespaces::container().hostname("box")).guarded().start()?;
    let exit = running.wait()?;
    running.teardown()?;
    std::process::exit(exit.code().into());
}
