//! Coracle: a container engine that one person can build and one person can carry.

mod api;
mod cli;
mod client;
mod engine;
mod runtime;
mod store;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use cli::Cli;
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
    let cli = Cli::parse();
    match act(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("coracle: {error:#}");
            let refused = error.downcast_ref::<Refused>().map(|refused| refused.exit_code);
            ExitCode::from(refused.or(from_namespaces(&error)).unwrap_or(125))
        }
    }
}

fn from_namespaces(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref::<namespaces::Error>().map(|error| error.exit_code)
}

fn act(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let root = store::Root::open(cli.root.as_deref())?;
        let here = || Ok(api::router(Arc::new(Engine::open(root.clone())?)));
        let client = Client::connect(&root.socket(), here)?;
        cli::dispatch(cli.command, client, root.data()).await
    });
    // What is still being read from a terminal must not hold up the end.
    runtime.shutdown_background();
    result
}
