//! What is said: results to standard output, everything else to standard error.
//!
//! The standard library's `println!` panics where nobody listens any more. `coracle
//! ps | head -1` is no error of ours: it ends us, quietly.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::Result;

/// Whoever read our standard output has gone.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct Closed;

/// What a shell sees of a program that SIGPIPE ended.
pub const CLOSED_EXIT_CODE: u8 = 128 + 13;

/// A result, as a line on standard output.
///
/// # Errors
/// [`Closed`], or what the disk behind a redirection said.
pub fn line(text: impl Display) -> Result<()> {
    to_stdout(writeln!(io::stdout(), "{text}"))
}

/// A result that has its ends of lines itself.
///
/// # Errors
/// As for [`line()`].
pub fn text(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    to_stdout(write!(out, "{text}").and_then(|()| out.flush()))
}

/// Tells a closed output from one that fails.
///
/// # Errors
/// As for [`line()`].
pub fn to_stdout(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("write to standard output")),
        Ok(()) => Ok(()),
    }
}

/// A line on standard error. That nobody reads it cannot be told to anybody.
pub fn tell(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
