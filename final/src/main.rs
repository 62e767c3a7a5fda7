//! Coracle: a container engine that one person can build and one person can carry.

mod api;
mod cli;
mod client;
mod daemon;
mod engine;
mod files;
mod runtime;
mod shape;
mod store;
mod template;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use cli::out::Closed;
use cli::{Cli, Command};
use client::{Client, Refused};
use engine::Engine;

fn main() -> ExitCode {
    // The processes that the engine starts for itself are not spoken to by people.
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some(runtime::shim::COMMAND) => return runtime::shim::main(&arguments[1..]),
        Some(engine::worker::SUBCOMMAND) => return engine::worker::main(&arguments[1..]),
        _ => {}
    }
    let (fallback, done) = match Cli::try_parse() {
        Ok(cli) => (cli.command.exit_code_of_refusals(), act(cli)),
        Err(usage) => (1, cli::usage::refuse(&usage)),
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is::<Closed>() => ExitCode::from(cli::out::CLOSED_EXIT_CODE),
        Err(error) => {
            cli::out::tell(format!("coracle: {error:#}"));
            let asked = exit_code_in(&error).filter(|code| *code != OURS);
            ExitCode::from(asked.unwrap_or(fallback))
        }
    }
}

/// Docker's exit code for what is our failure, and not the program's.
const OURS: u8 = 125;

/// The exit code that an error asks for.
fn exit_code_in(error: &anyhow::Error) -> Option<u8> {
    let refused = error.downcast_ref::<Refused>().map(|refused| refused.exit_code);
    let wrong = error.downcast_ref::<cli::format::Wrong>().map(|wrong| wrong.exit_code);
    refused
        .or(wrong)
        .or_else(|| error.downcast_ref::<namespaces::Error>().map(|error| error.exit_code))
}

fn act(cli: Cli) -> anyhow::Result<ExitCode> {
    let root = cli.root.as_deref();
    match cli.command {
        Command::Daemon(args) => return daemon::daemon(store::Root::open(root)?, args),
        // These ask no engine: they need no store, and make none.
        Command::Doctor => return Ok(cli::doctor::doctor(store::Root::find(root)?.data())),
        Command::Completion { shell } => return cli::completion(shell),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let root = store::Root::open(root)?;
        let (socket, data) = (root.socket(), root.data().to_owned());
        // ANCHOR: here
        let here = move || {
            api::serve_alone();
            Ok(api::Api::new(Arc::new(Engine::open(root.clone())?)))
        };
        let client = Client::connect(&socket, here)?;
        // ANCHOR_END: here
        cli::dispatch(cli.command, client, &data).await
    });
    // What is still being read from a terminal must not hold up the end.
    runtime.shutdown_background();
    result
}
