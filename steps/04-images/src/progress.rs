//! How a pull tells what it does.

use std::time::Duration;

use crate::digest::Digest;

/// Who listens to a pull. Layers report from several threads.
pub trait Progress: Sync {
    /// Something happened to a layer, named by the digest of its blob.
    fn layer(&self, layer: &Digest, event: Event);

    /// Something happened to the whole: a sentence.
    fn note(&self, _sentence: &str) {}
}

/// What happened to a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is here already.
    Exists,
    /// It waits for its turn, or for another process that pulls it.
    Waiting,
    /// So many of its bytes are here.
    Downloading {
        /// Bytes.
        done: u64,
        /// Bytes.
        total: u64,
    },
    /// The registry or the way to it failed; it goes on from here after a pause.
    Retrying {
        /// Why.
        why: String,
        /// The pause.
        after: Duration,
    },
    /// All bytes are here and are right; what remains is to unpack them.
    Unpacking,
    /// It is here, unpacked.
    Done,
}

/// Nobody listens.
pub struct Silent;

impl Progress for Silent {
    fn layer(&self, _: &Digest, _: Event) {}
}
