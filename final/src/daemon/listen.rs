//! Where the daemon listens.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::api::{self, Api, Busy};
use crate::store::socket;

/// The group that may speak to a daemon of root, if the machine has it.
const GROUP: &str = "coracle";

/// An open socket. Dropped, nobody can connect any more, and a path is gone.
pub struct Listener {
    socket: Arc<Socket>,
    /// Ends the task that accepts.
    end: watch::Sender<()>,
    path: Option<PathBuf>,
}

enum Socket {
    Unix(UnixListener),
    Tls(TcpListener, TlsAcceptor),
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
        let _ = self.end.send(());
    }
}

impl Listener {
    /// Listens at `unix://PATH` or `tcp://HOST:PORT`.
    ///
    /// # Errors
    /// A socket that somebody listens on; TCP without certificates.
    pub async fn open(host: &str, tls: Option<&TlsAcceptor>) -> Result<Self> {
        let (socket, path) = match host.split_once("://") {
            Some(("unix", path)) if Path::new(path).is_absolute() => {
                (Socket::Unix(unix(Path::new(path))?), Some(PathBuf::from(path)))
            }
            Some(("tcp", address)) => {
                let Some(tls) = tls else {
                    bail!(
                        "listen on {host}: whoever reaches this address would be root on this \
                         machine; pass --tlscacert, --tlscert and --tlskey, or use a unix socket"
                    );
                };
                let listener = TcpListener::bind(address).await;
                let listener = listener.with_context(|| format!("listen on {host}"))?;
                (Socket::Tls(listener, tls.clone()), None)
            }
            _ => bail!("listen on {host}: write unix:///PATH or tcp://HOST:PORT"),
        };
        Ok(Self { socket: Arc::new(socket), end: watch::channel(()).0, path })
    }

    /// Takes connections in, each served by a task of its own, until the listener is
    /// dropped. `busy` counts requests that are being answered.
    pub fn accept(&self, api: Api, busy: Busy) -> impl Future<Output = ()> + Send + 'static {
        let (socket, mut end) = (self.socket.clone(), self.end.subscribe());
        async move {
            loop {
                let accepted = tokio::select! {
                    _ = end.changed() => return,
                    accepted = socket.accept_one(&api, &busy) => accepted,
                };
                // Too many open files, mostly: some will be closed.
                if accepted.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Socket {
    async fn accept_one(&self, api: &Api, busy: &Busy) -> std::io::Result<()> {
        let (api, busy) = (api.clone(), busy.clone());
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(api::serve_connection(api, stream, Some(busy)));
            }
            Self::Tls(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                let handshake = tls.accept(stream);
                tokio::spawn(async move {
                    // Who has no certificate of ours is not worth a word.
                    if let Ok(stream) = handshake.await {
                        api::serve_connection(api, stream, Some(busy)).await;
                    }
                });
            }
        }
        Ok(())
    }
}

/// Listens on a path, in the place of a daemon that died there, but not of one that lives.
fn unix(path: &Path) -> Result<UnixListener> {
    let what = || format!("listen on {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| anyhow!("{}: it names no file", what()))?;
    fs::create_dir_all(folder).with_context(what)?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            bail!("{}: there is something else than a socket", what())
        }
        _ => {}
    }
    match socket::connect(folder, name) {
        Ok(_) => bail!("{}: another daemon listens there", what()),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
        Err(error) => return Err(error).with_context(what),
    }
    // Nobody but us may connect before the group is right.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = socket::bind(folder, name);
    nix::sys::stat::umask(before);
    let listener = listener.with_context(what)?;
    if let Some(group) = group_id() {
        chown(path, None, Some(group)).with_context(what)?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o660)).with_context(what)?;
    listener.set_nonblocking(true).with_context(what)?;
    UnixListener::from_std(listener).with_context(what)
}

/// The number of the group that may connect, for root's daemon.
fn group_id() -> Option<u32> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let groups = fs::read_to_string("/etc/group").ok()?;
    let mut fields = groups.lines().map(|line| line.split(':'));
    let mut group = fields.find_map(|mut line| (line.next() == Some(GROUP)).then_some(line))?;
    group.nth(1)?.parse().ok()
}
