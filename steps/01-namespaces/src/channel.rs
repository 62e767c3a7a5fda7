//! What parent and child say to each other between `clone3` and `execve`.
//!
// ANCHOR: protocol
//! They share one Unix socket pair, closed by exec:
//!
//! ```text
//!   parent → child    one byte: GO, when every in_parent is done
//!                     one byte: START, when the program may run
//!   child → parent    JSON lines, a Message each
//!                     end of file: exec happened, or the child was killed;
//!                     only wait(2) can tell which
//! ```
// ANCHOR_END: protocol

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::error::Context;
use crate::explain::{self, Step};
use crate::{Error, Result};

/// What the child tells the parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Message {
    /// A request to the kernel was made.
    Step(Step),
    /// The way to exec ends here.
    Error(Error),
    /// A process that joined another's namespaces had to be born twice: this is
    /// the pid of the second one (see [`crate::Join`]).
    Joined(i32),
    /// Everything but the exec is done.
    Ready,
    /// The work in a user namespace is done, with this answer (see [`crate::userns`]).
    Done(serde_json::Value),
}

const GO: u8 = b'g';
const START: u8 = b's';

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ParentEnd(BufReader<UnixStream>);

/// The child's end.
#[derive(Debug)]
pub(crate) struct ChildEnd {
    stream: Rc<UnixStream>,
    kept: Rc<RefCell<Kept>>,
}

/// Steps that were made and not yet told. Each write would wake the parent, which on a
/// machine with few processors costs more than the step itself: so they go together,
/// with the next word that is not a step. After [`Message::Ready`] there may be none.
#[derive(Debug, Default)]
struct Kept {
    lines: Vec<u8>,
    at_once: bool,
}

/// So much is told even before the next word, in bytes.
const ENOUGH: usize = 16 << 10;

/// A connected pair, close-on-exec.
pub(crate) fn pair() -> Result<(ParentEnd, ChildEnd)> {
    let (parent, child) = UnixStream::pair().doing(|| "create the socket pair to the child")?;
    Ok((
        ParentEnd(BufReader::new(parent)),
        ChildEnd { stream: Rc::new(child), kept: Rc::default() },
    ))
}

impl ParentEnd {
    /// Tells the child that the parent's part is done.
    pub fn go(&mut self) -> Result<()> {
        self.say(GO)
    }

    /// Tells the child to exec.
    pub fn start(&mut self) -> Result<()> {
        self.say(START)
    }

    fn say(&mut self, byte: u8) -> Result<()> {
        match self.0.get_mut().write_all(&[byte]) {
            // The child is gone: what it said, or how it died, is the better error.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result.doing(|| "speak to the container's first process"),
        }
    }

    /// The child's next word that is not a step (steps go to the listener);
    /// `None` at the end of file.
    pub fn hear(&mut self) -> Result<Option<Message>> {
        loop {
            let mut line = String::new();
            let read = match self.0.read_line(&mut line) {
                // Killed before it has read all that we said: an end like any other.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
                read => read.doing(|| "listen to the container's first process")?,
            };
            if read == 0 {
                return Ok(None);
            }
            let message = serde_json::from_str(&line).map_err(|error| {
                Error::new(format!("understand the container's first process: {error}"))
            })?;
            match message {
                Message::Step(step) => explain::relay(&step),
                other => return Ok(Some(other)),
            }
        }
    }
}

impl ChildEnd {
    /// Says one thing to the parent. A parent that is gone cannot be told.
    pub fn say(&self, message: &Message) {
        let mut kept = self.kept.borrow_mut();
        let Kept { lines, at_once } = &mut *kept;
        serde_json::to_writer(&mut *lines, message).expect("a message is plain data");
        lines.push(b'\n');
        *at_once |= matches!(message, Message::Ready);
        if *at_once || lines.len() >= ENOUGH || !matches!(message, Message::Step(_)) {
            let _ = (&*self.stream).write_all(lines);
            lines.clear();
        }
    }

    /// Says what is still kept: before a clone, which would copy it and say it twice.
    pub fn flush(&self) {
        let mut kept = self.kept.borrow_mut();
        let _ = (&*self.stream).write_all(&kept.lines);
        kept.lines.clear();
    }

    /// Waits until the parent's part is done.
    pub fn wait_for_go(&self) -> Result<()> {
        self.wait_for(GO)
    }

    /// Waits until the program may run.
    pub fn wait_for_start(&self) -> Result<()> {
        self.wait_for(START)
    }

    // ANCHOR: wait_for
    /// The end of file means that the parent died: then there is no one to run for.
    fn wait_for(&self, word: u8) -> Result<()> {
        let mut byte = [0];
        match (&*self.stream).read_exact(&mut byte) {
            Ok(()) if byte[0] == word => Ok(()),
            _ => Err(Error::new("wait for the parent: it is gone")),
        }
    }
    // ANCHOR_END: wait_for

    /// Another handle on the same socket, for the recorder of steps.
    pub fn again(&self) -> Self {
        Self { stream: self.stream.clone(), kept: self.kept.clone() }
    }
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn a_child_that_is_killed_with_a_word_unread_is_an_end() {
        let (mut parent, child) = pair().expect("make a pair");
        parent.go().expect("speak");
        drop(child);
        let heard = parent.hear().expect("listen");
        assert!(heard.is_none(), "nothing was said");
    }
}
