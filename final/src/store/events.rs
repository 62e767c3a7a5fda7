//! What has happened: a line of JSON for each event, in the form that the API tells it.
//!
//! ```text
//!   ROOT/events/log        the newest, appended to by engines and shims alike
//!   ROOT/events/log.1      what came before, once the log had grown to its limit
//! ```
//!
//! Nobody owns the file. Whoever writes holds a shared lock on it for the time of one
//! write(2); whoever rotates it, an exclusive one. So no line is ever added to a file
//! that its readers have left.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Asked, ContainerDir};

/// How large the log grows before it is put aside.
const LIMIT: u64 = 2 << 20;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
}

/// Who an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// A container's, image's or network's id; a volume's name.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is told of it: its name, its labels, an exit code.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// One event, in Docker's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The same as `action`, for old clients; of containers and images only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The same as the actor's id, for old clients; of containers and images only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A container's image, for old clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is about.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// What happened: `start`, `exec_create: sh -c ls`, `health_status: healthy`.
    #[serde(rename = "Action")]
    pub action: String,
    /// Who it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// When: seconds since the epoch.
    pub time: i64,
    /// When: nanoseconds since the epoch.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// `exec_create: sh -c ls`: as Docker writes it, with a space behind the program even if
/// no arguments follow.
pub fn exec_action(what: &str, args: &[String]) -> String {
    let (program, rest) = args.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    format!("{what}: {program} {}", rest.join(" "))
}

impl Actor {
    /// An actor with nothing told of it yet.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), attributes: BTreeMap::new() }
    }

    /// With one more attribute.
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.attributes.insert(key.to_owned(), value.to_string());
        self
    }

    /// A container as its record has it now: its labels, its image, its name.
    pub fn container(dir: &ContainerDir) -> Self {
        let asked = Asked::of(dir);
        let Asked { name, config, .. } = &*asked;
        let attributes = config.labels.clone().unwrap_or_default();
        let actor = Self { id: dir.id(), attributes };
        actor.with("image", config.image.as_deref().unwrap_or_default()).with("name", name)
    }
}

impl Event {
    /// Something that happens now.
    pub fn now(kind: Kind, action: impl Into<String>, actor: Actor) -> Self {
        let (action, now) = (action.into(), jiff::Timestamp::now());
        let legacy = matches!(kind, Kind::Container | Kind::Image);
        let from = actor.attributes.get("image").filter(|_| kind == Kind::Container);
        Self {
            status: legacy.then(|| action.clone()),
            id: legacy.then(|| actor.id.clone()),
            from: from.cloned(),
            kind,
            action,
            actor,
            scope: "local".into(),
            time: now.as_second(),
            time_nano: now.as_nanosecond() as i64,
        }
    }
}

/// The events of one root.
#[derive(Debug, Clone)]
pub struct Events(PathBuf);

impl Events {
    /// Those kept under this root.
    pub fn of(root: &Path) -> Self {
        Self(root.join("events"))
    }

    /// Tells everyone who listens, now or later. What happened has happened: an event
    /// that cannot be written is lost, and nothing else.
    pub fn tell(&self, kind: Kind, action: impl Into<String>, actor: Actor) {
        let _ = self.append(&Event::now(kind, action, actor));
    }

    /// The same of a container, with these attributes beside its own.
    pub fn tell_container(&self, dir: &ContainerDir, action: &str, more: &[(&str, &str)]) {
        let actor =
            more.iter().fold(Actor::container(dir), |actor, (key, value)| actor.with(key, value));
        self.tell(Kind::Container, action, actor);
    }

    fn append(&self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        loop {
            let file = self.open()?;
            let file = Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno)?;
            if !self.is_current(&file) {
                continue;
            }
            (&*file).write_all(&line)?;
            let full = file.metadata()?.len() >= LIMIT;
            drop(file);
            if full {
                self.rotate()?;
            }
            return Ok(());
        }
    }

    fn open(&self) -> io::Result<File> {
        let open = || File::options().append(true).create(true).mode(0o600).open(self.log());
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.0)?;
                open()
            }
            result => result,
        }
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Whether this is still the file that readers read.
    fn is_current(&self, file: &File) -> bool {
        let inode = file.metadata().map(|metadata| metadata.ino());
        fs::metadata(self.log()).is_ok_and(|log| inode.is_ok_and(|inode| inode == log.ino()))
    }

    fn rotate(&self) -> io::Result<()> {
        let file =
            Flock::lock(self.open()?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        // Somebody else may have been quicker.
        if self.is_current(&file) && file.metadata()?.len() >= LIMIT {
            fs::rename(self.log(), self.0.join("log.1"))?;
        }
        Ok(())
    }

    /// Reads what is kept, the oldest first, and then what comes.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn read(&self) -> io::Result<EventReader> {
        let current = BufReader::new(read_only(self.open()?, &self.log())?);
        let older = File::open(self.0.join("log.1")).ok().map(BufReader::new);
        Ok(EventReader { events: self.clone(), older, current })
    }

    /// The end of what is kept, for who only wants what comes.
    ///
    /// # Errors
    /// As for [`Events::read`].
    pub fn read_from_now(&self) -> io::Result<EventReader> {
        use std::io::Seek;
        let mut reader = self.read()?;
        reader.older = None;
        reader.current.seek(io::SeekFrom::End(0))?;
        Ok(reader)
    }
}

/// The file was opened to append, for it may have had to be made.
fn read_only(made: File, path: &Path) -> io::Result<File> {
    drop(made);
    File::open(path)
}

/// Reads events, and goes on where it stood.
pub struct EventReader {
    events: Events,
    older: Option<BufReader<File>>,
    current: BufReader<File>,
}

impl EventReader {
    /// The next line, with its end; `None` if there is no more for now.
    ///
    /// # Errors
    /// What the disk says.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(older) = &mut self.older {
            match line(older)? {
                Some(line) => return Ok(Some(line)),
                None => self.older = None,
            }
        }
        loop {
            // The order matters: what is written before the rotation is read after it
            // was seen.
            let current = self.events.is_current(self.current.get_ref());
            if let Some(line) = line(&mut self.current)? {
                return Ok(Some(line));
            }
            if current {
                return Ok(None);
            }
            match File::open(self.events.log()) {
                Ok(next) => self.current = BufReader::new(next),
                Err(_) => return Ok(None),
            }
        }
    }
}

/// A whole line; a part of one is left for the next time.
fn line(file: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let length = file.read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        return Ok(Some(line));
    }
    file.seek_relative(-(length as i64))?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reader: &mut EventReader) -> Vec<String> {
        std::iter::from_fn(|| reader.next().unwrap())
            .map(|line| serde_json::from_slice::<Event>(&line).unwrap().action)
            .collect()
    }

    #[test]
    fn events_are_read_back_and_followed_through_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::of(folder.path());
        events.tell(Kind::Volume, "create", Actor::new("v"));
        let mut reader = events.read().unwrap();
        assert_eq!(told(&mut reader), ["create"]);
        let mut late = events.read_from_now().unwrap();
        let actor = Actor::new("v").with("long", "x".repeat(LIMIT as usize));
        events.tell(Kind::Volume, "mount", actor);
        events.tell(Kind::Volume, "unmount", Actor::new("v"));
        assert!(folder.path().join("events/log.1").exists());
        for reader in [&mut reader, &mut late] {
            assert_eq!(told(reader), ["mount", "unmount"]);
        }
        assert_eq!(told(&mut events.read().unwrap()), ["create", "mount", "unmount"]);
    }

    #[test]
    fn many_writers_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::of(folder.path());
        let mut reader = events.read().unwrap();
        let write = || {
            for _ in 0..100 {
                let actor = Actor::new("v").with("long", "x".repeat(16 << 10));
                events.tell(Kind::Volume, "create", actor);
            }
        };
        let mut read = 0;
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(write)));
            while read < 400 {
                read += told(&mut reader).len();
            }
        });
        assert_eq!(read, 400);
    }
}
