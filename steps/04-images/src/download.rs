//! The bytes of one blob, from a registry, in spite of it.
//!
//! A download is a file in `ingest/` that grows. Whoever finds one that nobody has
//! locked reads what is there, hashes it, and asks the registry for the rest: after
//! a broken connection, and just so after a `kill -9` or a reboot.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::digest::{Hasher, verify};
use crate::error::{Doing, Error, Result};
use crate::layout::Ingest;
use crate::manifest::Descriptor;
use crate::pipeline::Source;
use crate::progress::{Event, Progress};
use crate::registry::Registry;
use crate::retry::Backoff;

/// So many bytes make up for a failure before them.
const WORTH_IT: u64 = 64 << 10;

/// A blob on its way.
pub(crate) struct Download<'a> {
    registry: &'a Registry,
    blob: &'a Descriptor,
    progress: &'a dyn Progress,
    /// Another layer has failed: this one need not go on.
    stop: &'a AtomicBool,
    ingest: Ingest,
    /// Bytes that an earlier download left, not read again yet.
    left: u64,
    /// True if there were such bytes, which may be wrong through no fault of the registry.
    pub(crate) resumed: bool,
    hasher: Hasher,
    body: Option<Box<dyn Read + Send>>,
    /// Bytes that came since the last failure.
    since: u64,
    backoff: Backoff,
    verified: bool,
}

impl<'a> Download<'a> {
    /// Goes on where the file ends.
    pub(crate) fn new(
        registry: &'a Registry,
        blob: &'a Descriptor,
        progress: &'a dyn Progress,
        stop: &'a AtomicBool,
        ingest: Ingest,
    ) -> Result<Self> {
        let doing = || format!("read {}", ingest.path.display());
        let mut left = ingest.file.metadata().doing(doing)?.len();
        if left > blob.size {
            ingest.file.set_len(0).doing(doing)?;
            left = 0;
        }
        Ok(Self {
            registry,
            blob,
            progress,
            stop,
            ingest,
            left,
            resumed: left > 0,
            hasher: Hasher::default(),
            body: None,
            since: 0,
            backoff: Backoff::default(),
            verified: false,
        })
    }

    /// The complete file; it has been read to its verified end.
    pub(crate) fn finish(self) -> Ingest {
        assert!(self.verified, "a download is finished when it is verified");
        self.ingest
    }

    /// Reads again what is on the disk.
    fn replay(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let doing = || format!("read {}", self.ingest.path.display());
        let count = (&*self.ingest.file).read(&mut buffer[..most]).doing(doing)?;
        self.left -= count as u64;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }

    /// Reads from the network, again and again where it fails.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            if self.stop.load(Relaxed) {
                return Err(Error::Registry("stopped, because another layer failed".into()));
            }
            let why = match self.body.as_mut().map(|body| body.read(buffer)) {
                None => {
                    let opened = self.open();
                    match opened {
                        // Nothing has come at all: the user should hear of it now.
                        Err(error) if self.hasher.length() == 0 => return Err(error),
                        Err(Error::Registry(why)) => why,
                        other => {
                            other?;
                            continue;
                        }
                    }
                }
                Some(Ok(0)) => "the connection ended early".into(),
                Some(Ok(count)) => return self.keep(&buffer[..count]),
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Some(Err(error)) => error.to_string(),
            };
            self.body = None;
            self.since = 0;
            self.pause(why)?;
        }
    }

    /// Asks for the bytes that are missing.
    fn open(&mut self) -> Result<()> {
        let (progress, digest, at) = (self.progress, &self.blob.digest, self.hasher.length());
        let mut waiting = |why, after| progress.layer(digest, Event::Retrying { why, after });
        let (mut body, starts) = self.registry.blob(digest, at, &mut waiting)?;
        // A server without ranges starts at the beginning: let pass what is here.
        let again = at - starts;
        let passed = std::io::copy(&mut body.by_ref().take(again), &mut std::io::sink());
        match passed {
            Ok(passed) if passed == again => self.body = Some(Box::new(body)),
            Ok(_) => return Err(Error::Registry("the connection ended early".into())),
            Err(error) => return Err(Error::Registry(error.to_string())),
        }
        Ok(())
    }

    fn pause(&mut self, why: String) -> Result<()> {
        let Some(after) = self.backoff.next(None) else {
            self.ingest.keep = true;
            let Descriptor { digest, size, .. } = self.blob;
            let have = self.hasher.length();
            return Err(Error::Registry(format!(
                "download {digest}: {why}, again and again, after {have} of {size} bytes"
            )));
        };
        self.progress.layer(&self.blob.digest, Event::Retrying { why, after });
        std::thread::sleep(after.min(Duration::from_secs(10)));
        Ok(())
    }

    /// Writes and hashes what came.
    fn keep(&mut self, bytes: &[u8]) -> Result<usize> {
        // A registry that sends a few bytes and breaks off is as good as silent.
        self.since += bytes.len() as u64;
        if self.since >= WORTH_IT {
            self.backoff.reset();
        }
        let doing = || format!("write {}", self.ingest.path.display());
        (&*self.ingest.file).write_all(bytes).doing(doing)?;
        self.hasher.update(bytes);
        let (done, total) = (self.hasher.length(), self.blob.size);
        if done > total {
            return Err(Error::Corrupt(format!(
                "wrong size: {} is {total} bytes, and the registry sends more",
                self.blob.digest
            )));
        }
        self.progress.layer(&self.blob.digest, Event::Downloading { done, total });
        Ok(bytes.len())
    }
}

impl Source for &mut Download<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.left > 0 {
            return self.replay(buffer);
        }
        if self.hasher.length() < self.blob.size {
            return self.receive(buffer);
        }
        if !self.verified {
            verify(self.hasher.clone(), self.blob.digest, self.blob.size)?;
            self.verified = true;
            self.progress.layer(&self.blob.digest, Event::Unpacking);
        }
        Ok(0)
    }
}
