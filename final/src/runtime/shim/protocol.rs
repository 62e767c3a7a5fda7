//! What the engine and a shim say to each other.
//!
//! ```text
//!   engine                          shim.sock                          shim
//!     {"do":"start"}                 ──▶
//!                                    ◀──  "done"  or  {"error":{…}}
//!     {"do":"wait"}                  ──▶
//!                                    ◀──  {"state":{…}}     when it has ended
//!                                    ◀──  end of file       when all is tidied up
//!     {"do":"attach","stdin":true,…} ──▶
//!                                    ◀──  "done"
//!     bytes for standard input       ──▶
//!                                    ◀──  output: raw from a terminal, or else frames
//!     {"do":"exec","id":"…",…}       ──▶                                 forks
//!                                    ◀──  "done", when its program runs  the fork
//!     bytes for standard input       ──▶                                 and goes on
//!                                    ◀──  output                         as above
//! ```
//!
//! A line is a JSON value. One connection may carry several requests, until it
//! becomes a stream. Many may be open at once.
//!
//! Some are there from the beginning. A new shim's standard input is a socket on which it
//! is told once what it is for, and with that gets the connections of those who have asked
//! before there was anybody to ask:
//!
//! ```text
//!     "s" DIR, and descriptors       ──▶     "c": to the brink of exec, "s": until it runs
//!                                    ◀──  "done"  or  {"error":{…}}
//! ```

use namespaces::Error;
use networking::Place;
use serde::{Deserialize, Serialize};

use crate::runtime::ExecInstructions;
use crate::store::State;

/// What the engine asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// Let the program go.
    Start,
    /// Turn this connection into a stream of what is asked for here.
    Attach(Attach),
    /// Send a signal to the first process.
    Kill {
        /// Its number, signal(7).
        signal: i32,
    },
    /// Tell the terminal its size.
    Resize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// Answer when the program has ended; close when the container is tidied up.
    Wait,
    /// Start it again at once when it has ended, whatever the policy is.
    Restart,
    /// Put the running container on one more network.
    Connect(Place),
    /// Take it off a network.
    Disconnect {
        /// The network's id.
        network: String,
    },
    /// Freeze all processes.
    Pause,
    /// Let them go on.
    Unpause,
    /// Answer with the state, at once.
    Status,
    /// Run one more program in the container, with a shim of its own that takes over
    /// this connection.
    Exec(Box<Exec>),
}

/// An exec that is to be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// Its id.
    pub id: String,
    /// What the connection becomes a stream of; nothing: it ends with the answer.
    pub attach: Option<Attach>,
    /// What to run: its shim writes it down.
    pub instructions: ExecInstructions,
}

/// Which streams an attached client takes part in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// What it sends is the program's input.
    pub stdin: bool,
    /// It gets the program's output.
    pub stdout: bool,
    /// It gets the program's error output. With a terminal there is only one output.
    pub stderr: bool,
}

impl Attach {
    /// Whether output of this stream is for this client.
    pub(super) fn wants(self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// What the shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is so.
    Done,
    /// How the container is, or has ended.
    State(State),
    /// It is not so, and why.
    Error(Error),
}

impl Answer {
    /// The line.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an answer is plain data");
        line.push(b'\n');
        line
    }
}

/// Where output comes from. The numbers are those of Docker's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

impl Stream {
    /// As the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// Docker's frame: the stream, three zeroes, the length with its high byte first.
    pub fn frame_header(self, length: usize) -> [u8; 8] {
        let [a, b, c, d] = (length as u32).to_be_bytes();
        [self as u8, 0, 0, 0, a, b, c, d]
    }
}
