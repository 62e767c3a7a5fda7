//! Lesson 4: a root that came, verified, from a registry.

use clap::Parser;
use images::Store;
use images::cli::{Command, Root};

/// Pull, list, tag and remove images.
#[derive(Debug, Parser)]
#[command(name = "images", version)]
struct Cli {
    #[command(flatten)]
    root: Root,
    #[command(subcommand)]
    command: Command,
}

fn main() {
    let cli = Cli::parse();
    let result = cli.root.path().and_then(|root| cli.command.run(&Store::open(&root)?));
    if let Err(error) = result {
        eprintln!("images: {error}");
        std::process::exit(1);
    }
}
