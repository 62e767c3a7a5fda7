//! Being with a container while it runs: its streams, its signals, its end.

use std::process::ExitCode;

use anyhow::{Result, bail};
use axum::body::Body;
use bollard_stubs::models::ContainerInspectResponse;
use clap::Args;
use http_body_util::BodyExt;
use hyper::{Method, Response};
use namespaces::Size;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::streams::{self, Left, Wiring};
use super::{explain, out};
use crate::api::detach::DetachKeys;
use crate::client::{Client, Connection, encode};
use crate::engine::wait::Ended;

/// Refuses `-it` where there is no terminal to give: with 1, also for `run`, as docker does
/// before it has asked for anything.
pub fn require_terminal(wanted: bool) -> Result<()> {
    use std::io::IsTerminal;
    if wanted && !std::io::stdin().is_terminal() {
        let refusal = namespaces::Error::new("the input device is not a TTY");
        let hint = "leave -t out, or run this in a terminal";
        return Err(refusal.hint(hint).exit_code(1).into());
    }
    Ok(())
}

/// Our terminal in raw mode: every key is a byte for the container. Given back when
/// this is dropped, or a signal ends this program.
pub struct RawMode {
    found: Termios,
    _signals: Vec<Task>,
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.found);
    }
}

/// Signals that would end this program and leave the terminal raw. They come from
/// outside: the keys are the container's.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Ends this program when one of these comes, but gives the terminal back before.
fn give_back_on_signals(found: &Termios) -> Vec<Task> {
    let watch = |number: i32| {
        let mut signals = signal(SignalKind::from_raw(number)).ok()?;
        let found = found.clone();
        Some(Task(tokio::spawn(async move {
            if signals.recv().await.is_some() {
                // Not TCSADRAIN: the terminal's other end may be gone.
                let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &found);
                std::process::exit(128 + number);
            }
        })))
    };
    ENDING.into_iter().filter_map(watch).collect()
}

/// Puts our terminal into raw mode, until the guard is dropped.
pub fn raw_mode(wanted: bool) -> Result<Option<RawMode>> {
    if !wanted {
        return Ok(None);
    }
    let found = tcgetattr(std::io::stdin())?;
    let signals = give_back_on_signals(&found);
    let mut raw = found.clone();
    cfmakeraw(&mut raw);
    tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
    Ok(Some(RawMode { found, _signals: signals }))
}

/// The size of our terminal.
fn size_of_stdin() -> Option<(u16, u16)> {
    Size::of(std::io::stdin()).map(|size| (size.rows, size.columns))
}

/// The size of our terminal as the API writes it: height, width.
pub fn console_size() -> Option<Vec<usize>> {
    size_of_stdin().map(|(rows, columns)| vec![rows.into(), columns.into()])
}

/// A task that ends when this is dropped.
pub struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the container's terminal whenever ours changes its size.
pub fn follow_size(client: Client, path: String) -> Task {
    Task(tokio::spawn(async move {
        let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
        loop {
            if let Some((rows, columns)) = size_of_stdin() {
                let _ = client.post(&format!("{path}?h={rows}&w={columns}")).await;
            }
            if changes.recv().await.is_none() {
                return;
            }
        }
    }))
}

/// The signals that are passed on to the container, as Docker's `--sig-proxy` does.
const PASSED_ON: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// Passes our signals on to the container.
fn pass_signals_on(client: &Client, id: &str) -> Vec<Task> {
    let pass = |number: i32| {
        let mut signals = signal(SignalKind::from_raw(number)).ok()?;
        let (client, path) = (client.clone(), format!("/containers/{id}/kill?signal={number}"));
        Some(Task(tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = client.post(&path).await;
            }
        })))
    };
    PASSED_ON.into_iter().filter_map(pass).collect()
}

/// What Docker says when the keys have been pressed that leave a terminal.
pub const LEFT: &str = "read escape sequence";

/// The keys that leave a terminal, as they are written.
pub fn keys(text: &str) -> Result<DetachKeys> {
    Ok(DetachKeys::parse(text)?)
}

/// What of a container is shown while it runs.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Our standard input is its.
    pub stdin: bool,
    /// Its standard output is ours.
    pub stdout: bool,
    /// Its standard error is ours.
    pub stderr: bool,
    /// Pass our signals on.
    pub signals: bool,
    /// Wait until it is removed, not only until it ends.
    pub removed: bool,
    /// Tell how it was made.
    pub explain: bool,
    /// The keys that leave its terminal; empty for the usual ones.
    pub detach_keys: String,
}

/// What becomes of the signals that we get.
#[derive(Debug, Args)]
pub struct SignalArgs {
    /// Pass signals on to the program.
    #[arg(
        long,
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub sig_proxy: bool,
}

/// `attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The keys that leave its terminal, and let it go on.
    #[arg(long, value_name = "KEYS", default_value = "")]
    detach_keys: String,
    /// Do not give it our standard input.
    #[arg(long)]
    no_stdin: bool,
    /// What becomes of our signals.
    #[command(flatten)]
    signals: SignalArgs,
    /// A name, an id, or an unambiguous beginning of an id.
    container: String,
}

/// `coracle attach`
pub async fn attach(client: &Client, args: AttachArgs) -> Result<ExitCode> {
    let path = format!("/containers/{}/json", encode(&args.container));
    let container: ContainerInspectResponse = client.get(&path).await?;
    let state = container.state.clone().unwrap_or_default();
    if state.running != Some(true) {
        bail!("You cannot attach to a stopped container, start it first");
    }
    if state.paused == Some(true) {
        bail!("You cannot attach to a paused container, unpause it first");
    }
    if state.restarting == Some(true) {
        bail!("You cannot attach to a restarting container, wait until it is running");
    }
    let config = container.config.unwrap_or_default();
    let view = View {
        stdin: !args.no_stdin && config.open_stdin == Some(true),
        stdout: true,
        stderr: true,
        signals: args.signals.sig_proxy,
        detach_keys: args.detach_keys,
        ..View::default()
    };
    let id = container.id.unwrap_or_default();
    let tty = config.tty.unwrap_or(false);
    let with = With::join(client, &id, tty, view, "not-running").await?;
    // A program draws its screen anew when its terminal has got another size.
    if let Some((rows, columns)) = size_of_stdin().filter(|_| tty) {
        let taller = rows.saturating_add(1);
        let path = format!("/containers/{id}/resize?h={taller}&w={columns}");
        let _ = client.post(&path).await;
    }
    match with.stay().await? {
        Some(code) => Ok(code),
        None => bail!(LEFT),
    }
}

/// Starts a container, and tells how it was made if that is asked for.
pub async fn start(client: &Client, id: &str, explain: bool) -> Result<()> {
    match explain {
        true => explain::start(client, id).await,
        false => client.post(&format!("/containers/{}/start", encode(id))).await.map(drop),
    }
}

/// Attaches to a container, starts it, and stays until its end: its exit code. Who
/// leaves it earlier has done nothing wrong.
pub async fn start_and_stay(client: &Client, id: &str, tty: bool, view: View) -> Result<ExitCode> {
    let condition = if view.removed { "removed" } else { "next-exit" };
    let explain = view.explain;
    // Attach and wait first, so that nothing is missed.
    let with = With::join(client, id, tty, view, condition).await?;
    start(client, id, explain).await?;
    Ok(with.stay().await?.unwrap_or(ExitCode::SUCCESS))
}

/// Being with a container.
struct With {
    client: Client,
    id: String,
    wiring: Wiring,
    connection: Connection,
    end: Response<Body>,
    signals: Vec<Task>,
}

impl With {
    async fn join(
        client: &Client,
        id: &str,
        tty: bool,
        view: View,
        condition: &str,
    ) -> Result<Self> {
        let View { stdin, stdout, stderr, detach_keys, .. } = view;
        require_terminal(tty && stdin)?;
        let keys = (tty && stdin).then(|| keys(&detach_keys)).transpose()?;
        let path = format!(
            "/containers/{id}/attach?stream=1&stdin={stdin}&stdout={stdout}&stderr={stderr}\
             &detachKeys={}",
            encode(&detach_keys)
        );
        let connection = client.upgrade(&path, None).await?;
        let path = format!("/containers/{id}/wait?condition={condition}");
        let end = client.send(Method::POST, &path, None).await?;
        // A terminal's signals are keys, and travel as its input.
        let signals = if tty || !view.signals { Vec::new() } else { pass_signals_on(client, id) };
        let wiring = Wiring { stdin, tty, keys };
        Ok(Self { client: client.clone(), id: id.into(), wiring, connection, end, signals })
    }

    /// Until its end, which has an exit code, or until our user leaves.
    async fn stay(self) -> Result<Option<ExitCode>> {
        let Wiring { stdin, tty, .. } = self.wiring;
        let raw = raw_mode(tty && stdin)?;
        let path = format!("/containers/{}/resize", self.id);
        let resize = tty.then(|| follow_size(self.client.clone(), path));
        let left = streams::join(self.connection, self.wiring).await?;
        drop((raw, resize));
        if left == Left::ByKeys {
            return Ok(None);
        }
        let Ended { docker: ended, out_of_memory } =
            serde_json::from_slice(&self.end.into_body().collect().await?.to_bytes())?;
        drop(self.signals);
        let messages = ended.error.and_then(|error| error.message).into_iter();
        messages.chain(out_of_memory).for_each(|text| out::tell(format!("coracle: {text}")));
        Ok(Some(ExitCode::from(ended.status_code as u8)))
    }
}
