//! What can go wrong with an image, by who can mend it.

use serde::{Deserialize, Serialize};

/// The result of everything that this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One sentence, and the kind that a caller needs to act on it (an HTTP status,
/// an exit code). Plain data: an ordinary user's pull runs in a child process and
/// its error comes back over a pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// A reference, digest or platform that cannot be read.
    #[error("{0}")]
    Input(String),
    /// No such image here, or none on the registry.
    #[error("{0}")]
    NotFound(String),
    /// A prefix of an id that fits several images.
    #[error("{0}")]
    Ambiguous(String),
    /// An image that something still needs.
    #[error("{0}")]
    InUse(String),
    /// The registry wants other credentials.
    #[error("{0}")]
    Denied(String),
    /// The registry does not answer, or not as the protocol says.
    #[error("{0}")]
    Registry(String),
    /// Bytes that are not what their digest, size or type says.
    #[error("{0}")]
    Corrupt(String),
    /// A store that a newer version wrote.
    #[error("{0}")]
    Newer(String),
    /// The kernel said no.
    #[error(transparent)]
    System(#[from] namespaces::Error),
}

impl From<Error> for namespaces::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::System(error) => error,
            other => namespaces::Error::new(other.to_string()),
        }
    }
}

/// The system's answer to an I/O request, with what was being done.
pub(crate) fn io(doing: impl Into<String>, error: std::io::Error) -> Error {
    Error::System(way_out(namespaces::Error::os(doing, error)))
}

/// Adds what to do about a full disk.
pub(crate) fn way_out(error: namespaces::Error) -> namespaces::Error {
    match error.is(nix::errno::Errno::ENOSPC) {
        true => error.hint("free some space, or pass --root on another disk"),
        false => error,
    }
}

/// Says what was being done when the system answered with an error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| io(what(), error))
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| io(what(), errno.into()))
    }
}
