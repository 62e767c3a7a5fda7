//! Lesson 1: a process that sees its own world, and the life of a container.

use namespaces::{Container, IdMaps, Namespaces, Process, explain, userns};

fn main() -> anyhow::Result<()> {
    explain::print_live();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let mut namespaces = Namespaces::container().hostname("box");
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let mut running = Container::new(Process::new(args)).with(namespaces).guarded().start()?;
    let exit = running.wait()?;
    running.teardown()?;
    std::process::exit(exit.code().into());
}
