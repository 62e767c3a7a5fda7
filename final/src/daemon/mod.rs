//! `coracle daemon`: the API, on sockets, for as long as it is wanted.
//!
//! The daemon owns nothing. Containers belong to their shims and records to the disk;
//! when this process ends, in whichever way, it takes nothing along, and the next one
//! finds everything. So there is no hand-over and no state to save: a daemon is a
//! listener in front of the same router that a command line without one serves itself.
//!
//! ```text
//!   unix socket ─┐                     ┌─▶ handler ─▶ engine ─▶ disk, shims
//!                ├─ accept ─ HTTP/1.1 ─┤
//!   TCP + TLS ───┘                     └─▶ raw stream ◀──▶ a shim's socket
//! ```

mod listen;
mod tls;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::api;
use crate::engine::{Engine, guard, revive};
use crate::runtime::shim;
use crate::store::{Lock, Root};
use listen::Listener;
use tls::TlsArgs;

/// How long a client that has just connected may take to say what it wants, when the end
/// was asked for.
const LAST_REQUESTS: Duration = Duration::from_millis(50);

/// How long requests that are being answered may go on after that.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serve the Docker API on a socket, for docker and other clients.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Listen here: unix://PATH, or tcp://HOST:PORT with the three --tls options.
    ///
    /// May be given several times. The default is the socket at which the other
    /// commands look for a daemon.
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    hosts: Vec<String>,
    /// Who may speak to us over TCP, and who we are.
    #[command(flatten)]
    tls: TlsArgs,
}

/// Serves until SIGTERM or SIGINT. Containers go on.
pub fn daemon(root: Root, args: DaemonArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("coracle-api")
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(root, args));
    // Streams of containers end only with them; nobody waits for that here.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(root: Root, args: DaemonArgs) -> Result<()> {
    let _only = claim(&root)?;
    // First: who can reach us can also end us, and is to find no socket then.
    let mut ending = Ending::listen()?;
    let mut listeners = Vec::new();
    let hosts = match args.hosts.is_empty() {
        true => vec![format!("unix://{}", root.socket().display())],
        false => args.hosts,
    };
    let tls = args.tls.acceptor()?;
    for host in &hosts {
        listeners.push(Listener::open(host, tls.as_ref()).await?);
    }
    tokio::spawn(reap_shims()?);

    let engine = Arc::new(Engine::open(root)?);
    let revive::Found { again, running } = {
        let engine = engine.clone();
        let settled = tokio::task::spawn_blocking(move || revive::settle(&engine));
        tokio::select! {
            settled = settled => settled?,
            () = ending.asked_for() => return Ok(()),
        }
    };
    tokio::spawn(guard::guard(engine.clone(), running).context("read the log of events")?);
    let api = api::Api::new(engine.clone());
    let (busy, mut waiting) = watch::channel(0);
    let busy = api::Busy(Arc::new(busy));
    for (listener, host) in listeners.iter().zip(&hosts) {
        eprintln!("coracle: listening on {host}");
        tokio::spawn(listener.accept(api.clone(), busy.clone()));
    }
    for container in again {
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || revive::start(&engine, &container));
    }
    ending.asked_for().await;

    // New clients are refused from here on, and find no socket.
    drop(listeners);
    tokio::time::sleep(LAST_REQUESTS).await;
    let _ = tokio::time::timeout(LAST_WORDS, waiting.wait_for(|count| *count == 0)).await;
    Ok(())
}

/// The signals that ask us to end.
struct Ending {
    term: Signal,
    int: Signal,
}

impl Ending {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Returns when one of them has come.
    async fn asked_for(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// One daemon for a root: held by lock, named by its process id.
fn claim(root: &Root) -> Result<Lock> {
    let path: PathBuf = root.pid_file();
    let Some(lock) = Lock::try_exclusive(&path)? else {
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        bail!(
            "a daemon serves {} already, with process id {}: stop that one, or use another --root",
            root.data().display(),
            pid.trim()
        );
    };
    let what = || format!("write {}", path.display());
    let mut file =
        std::fs::File::options().write(true).truncate(true).open(&path).with_context(what)?;
    writeln!(file, "{}", std::process::id()).with_context(what)?;
    Ok(lock)
}

/// Shims are our children until we end. Those that have ended are not kept waiting.
fn reap_shims() -> Result<impl Future<Output = ()>> {
    let mut ended = signal(SignalKind::child())?;
    Ok(async move {
        while ended.recv().await.is_some() {
            shim::reap();
        }
    })
}
