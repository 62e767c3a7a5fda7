//! `cp`.

mod rules;

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::{Method, Response};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use tokio::sync::mpsc;

use super::human::size;
use super::out;
use crate::api::archive::STAT;
use crate::client::{Client, encode};
use crate::files::{self, Everything, PathStat};
use rules::End;

/// `cp`
#[derive(Debug, Args)]
pub struct CpArgs {
    /// Give everything in the container to the container's user and group.
    #[arg(short, long)]
    archive: bool,
    /// Follow a symbolic link that the source is.
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not tell how much was copied.
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path here, or - for an archive from standard input.
    source: String,
    /// CONTAINER:PATH, a path here, or - for an archive to standard output.
    destination: String,
}

/// As many links as are followed at the end of a destination.
const MAX_LINKS: usize = 10;

/// `coracle cp`
pub async fn cp(client: &Client, args: CpArgs) -> Result<ExitCode> {
    if args.source.is_empty() {
        bail!("source can not be empty");
    }
    if args.destination.is_empty() {
        bail!("destination can not be empty");
    }
    let (from, source) = rules::split(&args.source);
    let (to, destination) = rules::split(&args.destination);
    let (copied, to) = match (from, to) {
        (Some(_), Some(_)) => bail!("copying between containers is not supported"),
        (None, None) => bail!("must specify at least one container source"),
        (Some(container), None) => {
            (download(client, &args, container, source, destination).await?, destination.to_owned())
        }
        (None, Some(container)) => (
            upload(client, &args, container, source, destination).await?,
            format!("{container}:{destination}"),
        ),
    };
    if let Some(bytes) = copied
        && !args.quiet
        && io::stdout().is_terminal()
    {
        out::tell(format!("Successfully copied {} to {to}", size(bytes as i64)));
    }
    Ok(ExitCode::SUCCESS)
}

fn address(container: &str, path: &str) -> String {
    format!("/containers/{}/archive?path={}", encode(container), encode(path))
}

fn stat_in(response: &Response<Body>) -> Result<PathStat> {
    let header = response.headers().get(STAT).context("the engine did not tell what is there")?;
    let json = STANDARD.decode(header).context("understand the engine's answer")?;
    serde_json::from_slice(&json).context("understand the engine's answer")
}

async fn stat(client: &Client, container: &str, path: &str) -> Result<PathStat> {
    stat_in(&client.send(Method::HEAD, &address(container, path), None).await?)
}

/// Where a link leads: from the folder that it is in.
fn link_target(stat: &PathStat, path: &str) -> String {
    match stat.link_target.starts_with('/') {
        true => stat.link_target.clone(),
        false => {
            let (parent, _) = rules::parent_and_name(path);
            rules::clean(&format!("{parent}/{}", stat.link_target))
        }
    }
}

/// Out of a container. How many bytes came, unless they went to standard output.
async fn download(
    client: &Client,
    args: &CpArgs,
    container: &str,
    source: &str,
    destination: &str,
) -> Result<Option<u64>> {
    let to_stdout = destination == "-";
    let destination =
        if to_stdout { destination.to_owned() } else { rules::absolute(destination)? };
    if !to_stdout {
        check_output(&destination)?;
    }
    let mut path = source.to_owned();
    let mut renamed = None;
    if args.follow_link
        && let Ok(stat) = stat(client, container, source).await
        && stat.is_symlink()
    {
        path = link_target(&stat, source);
        let (_, name) = rules::parent_and_name(source);
        renamed = (rules::parent_and_name(&path).1 != name).then_some(name);
    }
    let response = client.send(Method::GET, &address(container, &path), None).await?;
    let stat = stat_in(&response)?;
    let mut body = response.into_body();
    if to_stdout {
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame.context("read the engine's answer")?.into_data() {
                out::to_stdout(io::stdout().write_all(&bytes))?;
            }
        }
        return out::to_stdout(io::stdout().flush()).map(|()| None);
    }
    let source = End { path: path.clone(), exists: true, is_dir: stat.is_dir() };
    let plan = rules::plan(&source, &destination_here(&destination)?)?;
    let (_, own) = rules::parent_and_name(&path);
    let own = if own == "/" { String::new() } else { own };
    let rebase = plan.name.or(renamed).map(|name| (own.into_bytes(), name.into_bytes()));
    let options = files::Options {
        no_overwrite_dir_non_dir: true,
        keep_owner: true,
        rebase,
        ..files::Options::default()
    };
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let unpacked = tokio::task::spawn_blocking(move || {
        let root = rootfs::Root::open(&plan.into).map_err(|errno| {
            namespaces::Error::os(format!("open the folder {}", plan.into), errno)
        })?;
        files::unpack(Chunks { receiver, rest: Bytes::new() }, &root, Path::new("/"), &options)
    });
    let mut copied = 0;
    while let Some(frame) = body.frame().await {
        let chunk = match frame.map(|frame| frame.into_data()) {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => continue,
            Err(error) => Err(io::Error::other(format!("the copy broke off: {error}"))),
        };
        copied += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    unpacked.await.context("unpack the archive")??;
    Ok(Some(copied))
}

/// An archive that arrives in pieces, as something to read from.
struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// Refuses what cannot become a file or a folder, before anything is asked for.
fn check_output(path: &str) -> Result<()> {
    let (parent, _) = rules::parent_and_name(path);
    if !Path::new(&parent).exists() {
        bail!("invalid output path: directory \"{parent}\" does not exist");
    }
    match fs::metadata(path) {
        Ok(metadata)
            if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() =>
        {
            bail!(
                "invalid output path: \"{path}\" must be a directory or a regular file: got a device"
            )
        }
        _ => Ok(()),
    }
}

/// What is at a destination here; links at its end are followed.
fn destination_here(path: &str) -> Result<End> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, _) = rules::parent_and_name(&path);
                let parent = fs::metadata(&parent).with_context(|| format!("look at {parent}"))?;
                if !parent.is_dir() {
                    bail!("not a directory");
                }
                return Ok(End { path, exists: false, is_dir: false });
            }
            Err(error) => return Err(error).with_context(|| format!("look at {path}")),
        };
        if !metadata.is_symlink() {
            return Ok(End { path, exists: true, is_dir: metadata.is_dir() });
        }
        let target = fs::read_link(&path).with_context(|| format!("read the link {path}"))?;
        let (parent, _) = rules::parent_and_name(&path);
        path = rules::clean(&Path::new(&parent).join(target).to_string_lossy());
    }
    bail!("too many symbolic links: {path}")
}

/// Into a container. How many bytes went, unless they came from standard input.
async fn upload(
    client: &Client,
    args: &CpArgs,
    container: &str,
    source: &str,
    destination: &str,
) -> Result<Option<u64>> {
    let there = destination_there(client, container, destination).await?;
    let from_stdin = source == "-";
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let into = if from_stdin {
        if !there.is_dir {
            bail!("destination \"{container}:{destination}\" must be a directory");
        }
        std::thread::spawn(move || send(io::stdin().lock(), &sender));
        there.path
    } else {
        let (item, source, name) = source_here(source, args.follow_link)?;
        let plan = rules::plan(&source, &there)?;
        let name = plan.name.unwrap_or(name).into_bytes();
        std::thread::spawn(move || {
            let out = Sender(sender.clone());
            let out = io::BufWriter::with_capacity(64 * 1024, out);
            if let Err(error) = files::pack(item, &name, &Everything, out) {
                let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            }
        });
        plan.into
    };
    let flags = format!("&noOverwriteDirNonDir=true&copyUIDGID={}", args.archive);
    let (counted, count) = counted(receiver);
    client.upload(&format!("{}{flags}", address(container, &into)), counted).await?;
    Ok((!from_stdin).then(|| count.load(std::sync::atomic::Ordering::Relaxed)))
}

type Received = mpsc::Receiver<io::Result<Bytes>>;

/// The same channel, and how much came through it.
fn counted(mut receiver: Received) -> (Received, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    let (sender, counted) = mpsc::channel(1);
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let sum = count.clone();
    tokio::spawn(async move {
        while let Some(chunk) = receiver.recv().await {
            let length = chunk.as_ref().map_or(0, Bytes::len) as u64;
            sum.fetch_add(length, std::sync::atomic::Ordering::Relaxed);
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
    });
    (counted, count)
}

/// Sends everything that there is to read.
fn send(mut from: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let chunk = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => Ok(Bytes::copy_from_slice(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let broken = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || broken {
            return;
        }
    }
}

/// A channel as something to write to.
struct Sender(mpsc::Sender<io::Result<Bytes>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is copied, as a descriptor that cannot be redirected, and its own name.
fn source_here(given: &str, follow: bool) -> Result<(OwnedFd, End, String)> {
    let path = rules::absolute(given)?;
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    flags.set(OFlag::O_NOFOLLOW, !follow);
    let item = nix::fcntl::open(path.as_str(), flags, Mode::empty())
        .map_err(|errno| namespaces::Error::os(format!("lstat {path}"), errno))?;
    let stat = nix::sys::stat::fstat(&item).with_context(|| format!("look at {path}"))?;
    let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let (_, name) = rules::parent_and_name(&path);
    let name = if name == "/" { String::new() } else { name };
    Ok((item, End { path, exists: true, is_dir }, name))
}

/// What is at a destination in the container; a link at its end is followed. What
/// cannot be told may still be made: the engine will say.
async fn destination_there(client: &Client, container: &str, path: &str) -> Result<End> {
    let mut end = End { path: path.to_owned(), ..End::default() };
    let Ok(mut found) = stat(client, container, path).await else { return Ok(end) };
    if found.is_symlink() {
        end.path = link_target(&found, path);
        match stat(client, container, &end.path).await {
            Ok(stat) => found = stat,
            Err(_) => return Ok(end),
        }
    }
    if found.is_device() {
        bail!(
            "destination \"{container}:{path}\" must be a directory or a regular file: got a device"
        );
    }
    (end.exists, end.is_dir) = (true, found.is_dir());
    Ok(end)
}
