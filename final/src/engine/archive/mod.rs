//! `cp`: files into a container and out of it, whether it runs or not.
//!
//! The work is done by a process of its own, a worker with a single thread, because it
//! enters namespaces, and because a tree that somebody else changes is hostile input:
//!
//! ```text
//!   engine                 worker
//!     ├─ what, where ───────▶ opens the container's root
//!     ◀─ a line of JSON ────┤ what is there; or why not
//!     ◀─ the archive ───────┤ get
//!     ├─ the archive ───────▶ put
//!     ◀─ a line of JSON ────┤ done; or why not
//! ```

mod work;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::Engine;
use super::containers::Container;
use super::error::{Error, Result};
use super::worker;
use crate::files::PathStat;
use crate::store::{ContainerDir, Events};

pub use work::work;

/// What a worker is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The container, by id.
    pub id: String,
    /// As people call it, for messages.
    pub called: String,
    /// The path in it.
    pub path: String,
    /// What is to be done there.
    pub act: Act,
}

/// What is to be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Tell what is there.
    Stat,
    /// Send it as an archive.
    Get,
    /// Unpack an archive there.
    Put {
        /// Refuse to put a file in the place of a folder, or a folder in that of a file.
        no_overwrite_dir_non_dir: bool,
        /// Everything belongs to the container's user.
        copy_uid_gid: bool,
    },
}

/// The word by which a worker knows that it is meant.
const WORD: &str = "archive";

/// What a worker says in a line.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// What is there.
    Stat(PathStat),
    /// It is unpacked.
    Done,
    /// It is not so.
    Refused(Error),
}

impl Job {
    /// A worker's arguments, if they are of this kind.
    pub fn parse(arguments: &[OsString]) -> Option<Self> {
        match arguments {
            [word, job] if word == WORD => serde_json::from_str(job.to_str()?).ok(),
            _ => None,
        }
    }
}

/// A worker that has begun.
struct Worker {
    /// Whose files it works on.
    container: ContainerDir,
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Drop for Worker {
    /// Nobody wants the rest.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn start(engine: &Engine, called: &str, path: &str, act: Act) -> Result<Self> {
        if path.is_empty() {
            return Err(Error::bad_parameter("bad parameter: path cannot be empty"));
        }
        let container = engine.containers.find(called)?;
        // What a dead shim left is put in order before the worker looks.
        container.state()?;
        Self::spawn(engine, &container, called, path, act)
    }

    fn spawn(
        engine: &Engine,
        container: &Container,
        called: &str,
        path: &str,
        act: Act,
    ) -> Result<Self> {
        let id = container.record.id.clone();
        let job = Job { id, called: called.into(), path: path.into(), act };
        let job = serde_json::to_string(&job).expect("plain data");
        let stdin = if matches!(act, Act::Put { .. }) { Stdio::piped() } else { Stdio::null() };
        let mut child = Command::new("/proc/self/exe")
            .arg(worker::SUBCOMMAND)
            .arg(engine.root.data())
            .args([WORD, &job])
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Error::system(format!("start a worker: {error}")))?;
        let out = BufReader::with_capacity(64 * 1024, child.stdout.take().expect("it is piped"));
        Ok(Self { container: container.dir.clone(), child, out })
    }

    /// Tells everyone what was done.
    fn tell(&self, action: &str) {
        Events::of(self.container.root()).tell_container(&self.container, action, &[]);
    }

    fn hear(&mut self) -> Result<Said> {
        let mut line = Vec::new();
        self.out.read_until(b'\n', &mut line)?;
        match serde_json::from_slice(&line) {
            Ok(Said::Refused(error)) => Err(error),
            Ok(said) => Ok(said),
            Err(_) => Err(Error::system("the worker ended before its work did")),
        }
    }

    fn hear_stat(&mut self) -> Result<PathStat> {
        match self.hear()? {
            Said::Stat(stat) => Ok(stat),
            _ => Err(Error::system("the worker's answer fits no question")),
        }
    }
}

/// What is at a path.
pub fn stat(engine: &Engine, id: &str, path: &str) -> Result<PathStat> {
    let mut worker = Worker::start(engine, id, path, Act::Stat)?;
    let stat = worker.hear_stat();
    worker.child.wait()?;
    stat
}

/// An archive that a worker sends.
pub struct Download(Worker);

/// What is at a path, and all that is below it.
pub fn get(engine: &Engine, id: &str, path: &str) -> Result<(PathStat, Download)> {
    let mut worker = Worker::start(engine, id, path, Act::Get)?;
    let stat = worker.hear_stat()?;
    worker.tell("archive-path");
    Ok((stat, Download(worker)))
}

impl Download {
    /// The next bytes; nothing at the end.
    ///
    /// # Errors
    /// The worker could not read all of it: what came so far is not an archive.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.0.out.read(buffer)?;
        if read == 0 && !self.0.child.wait()?.success() {
            return Err(Error::system("the copy broke off"));
        }
        Ok(read)
    }
}

/// An archive that a worker unpacks.
pub struct Upload {
    worker: Worker,
    input: Option<ChildStdin>,
}

/// Opens a folder of a container for an archive, and says if it cannot be.
pub fn put(engine: &Engine, id: &str, path: &str, act: Act) -> Result<Upload> {
    let mut worker = Worker::start(engine, id, path, act)?;
    worker.hear_stat()?;
    let input = worker.child.stdin.take();
    Ok(Upload { worker, input })
}

impl Upload {
    /// More of the archive. False if the worker wants no more: then it has something
    /// to say.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.input.as_mut().is_some_and(|input| input.write_all(bytes).is_ok())
    }

    /// That was all: what came of it.
    pub fn finish(mut self) -> Result<()> {
        self.input = None;
        let said = self.worker.hear();
        self.worker.child.wait()?;
        said.map(|_| self.worker.tell("extract-to-dir"))
    }
}
