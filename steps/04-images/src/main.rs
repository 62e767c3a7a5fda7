//! Lesson 4: a root that came, verified, from a registry.

use std::process::ExitCode;

use clap::Parser;
use images::Store;
use images::cli::{Command, Root};
use namespaces::userns;

/// Pull, list, tag and remove images.
#[derive(Debug, Parser)]
#[command(name = "images", version)]
struct Cli {
    #[command(flatten)]
    root: Root,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before we are root: the usual place depends on who we are.
    let root = cli.root.path();
    let act = || cli.command.run(&Store::open(&root.clone()?)?);
    // Layers have files of many owners. An ordinary user is root over them only in a
    // user namespace.
    let done = match userns::needed() {
        true => userns::run_in(|| Ok(act())).unwrap_or_else(|error| Err(error.into())),
        false => act(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error}");
            ExitCode::FAILURE
        }
    }
}
