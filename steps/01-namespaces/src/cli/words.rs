//! What a command says, and to whom: its result to standard output, all else to standard
//! error. Either may be closed, on a full disk, or a pipe that nobody reads any more. The
//! standard library's macros would panic there.

use std::fmt;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::PathBuf;

use crate::error::{Context, Error, Result};

/// Prints a command's result.
///
/// # Errors
/// It cannot be written. That nobody reads on is none: `head` has seen enough.
pub fn print(result: &str) -> Result<()> {
    let mut stdout = stdout().lock();
    match stdout.write_all(result.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.doing(|| "write to standard output"),
    }
}

/// Says a line to whoever typed the command, if they can be told. A container must not end
/// because they cannot.
pub fn tell(line: impl fmt::Display) {
    let _ = writeln!(stderr(), "{line}");
}

/// Says the error, once, and gives the exit code that goes with it.
pub fn tell_error(error: &Error) -> u8 {
    let name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    tell(format_args!("{}: {error}", name.file_name().unwrap_or_default().display()));
    error.exit_code
}
