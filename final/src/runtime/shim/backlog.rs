//! Output that a client has not taken yet.
//!
//! A client that reads as fast as the program writes has nothing here, or little, in
//! memory. One that does not must neither hold up the program nor fill the memory:
//! after a moment's patience its output goes to a file without a name, and comes back
//! from there when the client wants it.
//!
//! ```text
//!   program ─▶ memory, 1 MiB ─▶ client         while the client keeps up
//!   program ─▶ file ─▶ memory ─▶ client        until it has caught up
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is kept in memory.
const LIMIT: usize = 1 << 20;

/// What is taken back from the file at once.
const PORTION: usize = 256 * 1024;

/// How long a program waits for a client that has a full memory. One that reads at all
/// takes a megabyte in this time.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// Bytes on their way to one client, in the order in which they came.
#[derive(Default)]
pub struct Backlog {
    /// From `sent` on, what goes out next.
    memory: Vec<u8>,
    sent: usize,
    /// What comes after it.
    file: Option<Spill>,
    full_since: Option<Instant>,
}

struct Spill {
    file: File,
    read: u64,
    written: u64,
}

impl Backlog {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.sent == self.memory.len() && self.file.is_none()
    }

    /// Whether more would be too much for the memory: the program waits a moment.
    pub fn is_full(&self) -> bool {
        self.file.is_none() && self.memory.len() - self.sent >= LIMIT
    }

    /// Keeps what follows what is here. False if there is no more room anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if let Some(spill) = &mut self.file {
            return spill
                .file
                .write_all(bytes)
                .map(|()| spill.written += bytes.len() as u64)
                .is_ok();
        }
        self.memory.extend_from_slice(bytes);
        if self.is_full() && self.full_since.is_none() {
            self.full_since = Some(Instant::now());
        }
        true
    }

    /// For a client that has not taken a full memory in time: from here on into a file
    /// in `folder`, and the program goes on. False if there can be no such file.
    pub fn lose_patience(&mut self, folder: &Path) -> bool {
        let late = |since: Instant| since.elapsed() >= PATIENCE;
        if self.is_full() && self.full_since.is_some_and(late) {
            self.file = nameless(folder).ok().map(|file| Spill { file, read: 0, written: 0 });
            return self.file.is_some();
        }
        true
    }

    /// Hands everything to `write`, until that says that the client takes no more now.
    pub fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        loop {
            while self.sent < self.memory.len() {
                self.sent += write(&self.memory[self.sent..])?;
                if self.memory.len() - self.sent < LIMIT / 2 {
                    self.full_since = None;
                }
            }
            self.memory.clear();
            self.sent = 0;
            let Some(spill) = &mut self.file else {
                self.memory = Vec::new();
                return Ok(());
            };
            let length = (spill.written - spill.read).min(PORTION as u64) as usize;
            if length == 0 {
                self.file = None;
                continue;
            }
            self.memory.resize(length, 0);
            spill.file.read_exact_at(&mut self.memory, spill.read)?;
            spill.read += length as u64;
        }
    }
}

/// A file that only its descriptor leads to: O_TMPFILE of open(2), or a file whose name
/// is taken away at once, where the file system does not know that.
fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options.clone().custom_flags(libc::O_TMPFILE).open(folder).or_else(|_| {
        let path = folder.join(format!(".backlog.{}", std::process::id()));
        let file = options.create(true).truncate(true).open(&path)?;
        fs::remove_file(&path).map(|()| file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that takes `rate` bytes of each write, then none until asked again.
    fn take(backlog: &mut Backlog, taken: &mut Vec<u8>, mut most: usize) {
        let result = backlog.flush(|bytes| {
            let length = bytes.len().min(most);
            if length == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            taken.extend_from_slice(&bytes[..length]);
            most -= length;
            Ok(length)
        });
        assert!(result.is_ok() || result.unwrap_err().kind() == io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_slow_client_gets_everything_in_order_and_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (mut backlog, mut taken, mut sent) = (Backlog::default(), Vec::new(), Vec::new());
        for n in 0..100u32 {
            let chunk: Vec<u8> = n.to_le_bytes().repeat(16 * 1024);
            sent.extend_from_slice(&chunk);
            assert!(backlog.push(&chunk));
            if backlog.is_full() {
                std::thread::sleep(PATIENCE);
                assert!(backlog.lose_patience(folder.path()));
            }
            assert!(!backlog.is_full());
            take(&mut backlog, &mut taken, 1000);
        }
        assert!(backlog.file.is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file has a name");
        take(&mut backlog, &mut taken, usize::MAX);
        assert!(taken == sent);
        assert!(backlog.is_empty() && backlog.file.is_none());
    }

    #[test]
    fn a_client_that_keeps_up_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (mut backlog, mut taken) = (Backlog::default(), Vec::new());
        for _ in 0..64 {
            assert!(backlog.push(&[7; 64 * 1024]));
            assert!(backlog.lose_patience(folder.path()));
            take(&mut backlog, &mut taken, 64 * 1024);
        }
        assert!(backlog.file.is_none() && backlog.is_empty());
    }
}
