//! `cargo run -p press` makes the book, below `book/html`.

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Makes the book's html
#[derive(Parser)]
#[command(name = "press")]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring the translators' catalogues up to date with the pages
    Messages,
}

fn main() -> Result<()> {
    match Cli::parse().verb {
        Some(Verb::Messages) => press::update(),
        None => {
            let target = press::book().join("html");
            press::make(&target)?;
            println!("{}", target.join("index.html").display());
            Ok(())
        }
    }
}
