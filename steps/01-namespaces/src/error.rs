//! What went wrong, said once, in a sentence.

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// The result of everything that asks the kernel for something.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, why the kernel refused, and the way out.
///
/// It is plain data, because half of all errors happen in the child, between
/// `clone3` and `execve`, and must cross a socket to be told to anyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What was being done, in lower case, with its object: `mount proc on /proc`.
    pub doing: String,
    /// The kernel's answer, where the kernel was asked.
    pub errno: Option<i32>,
    /// The way out, where the cause is known.
    pub hint: Option<String>,
    /// The exit code of a command that ends with this error: 125 for the engine's
    /// own failures, 126 for a program that cannot be run, 127 for one that is not there.
    pub exit_code: u8,
}

impl Error {
    /// An error that the kernel has no number for: bad input, a broken promise.
    pub fn new(doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), errno: None, hint: None, exit_code: 125 }
    }

    /// An error with the kernel's answer.
    pub fn os(doing: impl Into<String>, errno: impl Into<Answer>) -> Self {
        match errno.into() {
            Answer::Errno(errno) => Self { errno: Some(errno), ..Self::new(doing) },
            Answer::Words(words) => Self::new(format!("{}: {words}", doing.into())),
        }
    }

    /// Adds the way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the exit code of a command that ends with this error.
    pub fn exit_code(mut self, code: u8) -> Self {
        self.exit_code = code;
        self
    }

    /// True if the kernel's answer was `errno`.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == Some(errno as i32)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", Errno::from_raw(errno).desc())?;
        }
        match &self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// The kernel's answer, as `nix` or as the standard library hands it over.
pub enum Answer {
    /// An errno.
    Errno(i32),
    /// An I/O error of the standard library's own making.
    Words(String),
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Self {
        Answer::Errno(errno as i32)
    }
}

impl From<std::io::Error> for Answer {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Answer::Errno(errno),
            None => Answer::Words(error.to_string()),
        }
    }
}

/// Says what was being done when the kernel answered with an error.
pub trait Context<T> {
    /// `mount(..).doing(|| format!("mount proc on {path}"))?`
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Answer>> Context<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|answer| Error::os(what(), answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_one_sentence() {
        let error =
            Error::os("mount overlay on /x", Errno::EINVAL).hint("pass --root on a real disk");
        assert_eq!(
            error.to_string(),
            "mount overlay on /x: Invalid argument: pass --root on a real disk"
        );
    }
}
