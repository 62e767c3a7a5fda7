//! `exec`.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use bollard_stubs::models::{ExecConfig, ExecInspectResponse, ExecStartConfig, IdResponse};
use clap::Args;
use hyper::{Method, StatusCode};
use namespaces::cli::ProcessArgs;

use super::attach;
use super::run;
use super::streams::{self, Left, Wiring};
use crate::api::exec::REFUSE;
use crate::client::{Client, Refused, encode};

/// `exec`
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Do not wait for it.
    #[arg(short, long)]
    detach: bool,
    /// What the process is given.
    #[command(flatten)]
    process: ProcessArgs,
    /// The keys that leave its terminal, and let it go on.
    #[arg(long, value_name = "KEYS", default_value = "")]
    detach_keys: String,
    /// Give it all capabilities and no system call filter.
    #[arg(long)]
    privileged: bool,
    /// A container's name, its id, or an unambiguous beginning of it; then the program and
    /// its arguments, whatever they are: `--` is no exception.
    // One list: between two, clap would take a `--` for its own.
    #[arg(
        required = true,
        num_args = 2..,
        trailing_var_arg = true,
        value_names = ["CONTAINER", "COMMAND"]
    )]
    words: Vec<String>,
}

/// `coracle exec`
pub async fn exec(client: &Client, args: ExecArgs) -> Result<ExitCode> {
    let (container, command) = args.words.split_first().expect("two words or more");
    attach::require_terminal(args.process.tty && args.process.interactive && !args.detach)?;
    let keys = attach::keys(&args.detach_keys)?;
    let config = ExecConfig {
        attach_stdin: Some(args.process.interactive && !args.detach),
        attach_stdout: Some(!args.detach),
        attach_stderr: Some(!args.detach),
        tty: Some(args.process.tty),
        env: Some(run::environment(&args.process.env, &args.process.env_file)?),
        cmd: Some(command.to_vec()),
        privileged: Some(args.privileged),
        user: args.process.user.as_ref().map(ToString::to_string),
        working_dir: args.process.workdir.as_ref().map(|dir| dir.display().to_string()),
        console_size: args.process.tty.then(attach::console_size).flatten(),
        detach_keys: Some(args.detach_keys),
    };
    let path = format!("/containers/{}/exec", encode(container));
    let created: IdResponse = client.call(Method::POST, &path, Some(&config)).await?;
    let start = ExecStartConfig {
        detach: Some(args.detach),
        tty: Some(args.process.tty),
        console_size: None,
    };
    let path = format!("/exec/{}/start?{REFUSE}", created.id);
    let body = Some(serde_json::to_vec(&start)?);
    if args.detach {
        // Its own exit code is nobody's then, and neither is that of what cannot be run.
        let started = client.send(Method::POST, &path, body).await;
        return started.map(|_| ExitCode::SUCCESS).map_err(|error| anyhow!("{error:#}"));
    }
    let raw = attach::raw_mode(args.process.tty && args.process.interactive)?;
    let connection = client.upgrade(&path, body).await?;
    let resize = args
        .process
        .tty
        .then(|| attach::follow_size(client.clone(), format!("/exec/{}/resize", created.id)));
    let (stdin, tty) = (args.process.interactive, args.process.tty);
    let left =
        streams::join(connection, Wiring { stdin, tty, keys: raw.is_some().then_some(keys) });
    let left = left.await?;
    drop((raw, resize));
    if left == Left::ByKeys {
        bail!(attach::LEFT);
    }
    let ended = client.get::<ExecInspectResponse>(&format!("/exec/{}/json", created.id)).await;
    match ended {
        Ok(ended) => Ok(ExitCode::from(ended.exit_code.unwrap_or(KILLED) as u8)),
        Err(error) if is_gone(&error) => Ok(ExitCode::from(KILLED as u8)),
        Err(error) => Err(error),
    }
}

/// How a process ends whose container ended, and was removed before one could ask.
const KILLED: i64 = 128 + libc::SIGKILL as i64;

fn is_gone(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
}
