//! What the engine refuses, in the kinds that the Docker API tells apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The engine's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the engine did not do it. The API maps the kind to an HTTP status, the
/// CLI to an exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Which family of refusals this is.
    pub kind: Kind,
    /// One sentence: what, why, and the way out.
    pub message: String,
    /// The exit code of a command that ends with this error.
    pub exit_code: u8,
}

/// The families of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The request makes no sense: 400.
    BadParameter,
    /// It is not known who asks: 401.
    Unauthorized,
    /// It is not to be done, whoever asks: 403.
    Forbidden,
    /// There is no such thing: 404.
    NotFound,
    /// It is taken, in use, or not in a state for this: 409.
    Conflict,
    /// What it belongs to is not there at all: 503.
    Unavailable,
    /// It already is as asked: 304, and no error for whoever asked.
    NotModified,
    /// The kernel, the disk or the network refused: 500.
    System,
}

impl Error {
    /// A request that makes no sense.
    pub fn bad_parameter(message: impl Into<String>) -> Self {
        Self { kind: Kind::BadParameter, message: message.into(), exit_code: 125 }
    }

    /// Somebody who is not known.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unauthorized, message: message.into(), exit_code: 125 }
    }

    /// Something that is not to be done.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { kind: Kind::Forbidden, message: message.into(), exit_code: 125 }
    }

    /// Something that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { kind: Kind::NotFound, message: message.into(), exit_code: 125 }
    }

    /// Something that is taken, in use, or in another state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { kind: Kind::Conflict, message: message.into(), exit_code: 125 }
    }

    /// Something that belongs to what this engine has not.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, message: message.into(), exit_code: 125 }
    }

    /// It already is as asked.
    pub fn not_modified(message: impl Into<String>) -> Self {
        Self { kind: Kind::NotModified, message: message.into(), exit_code: 0 }
    }

    /// A failure of what lies below.
    pub fn system(message: impl Into<String>) -> Self {
        Self { kind: Kind::System, message: message.into(), exit_code: 125 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<namespaces::Error> for Error {
    fn from(error: namespaces::Error) -> Self {
        let mut message = error.to_string();
        let mut kind = Kind::System;
        // Who asked for a program that cannot be run made the mistake. Docker's clients
        // look for the errno in Go's words, which begin small.
        if matches!(error.exit_code, 126 | 127) {
            kind = Kind::BadParameter;
            if let Some(errno) = error.errno {
                let words = nix::errno::Errno::from_raw(errno).desc();
                message = message.replacen(words, &words.to_lowercase(), 1);
            }
        }
        Self { kind, exit_code: error.exit_code, message }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::system(error.to_string())
    }
}
