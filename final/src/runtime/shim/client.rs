//! The engine's end of a shim's socket. Blocking, and simple for it.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use namespaces::{Context, Error, Result};
use networking::Place;
use nix::sys::socket::{MsgFlags, recv};

use super::SOCKET;
use super::protocol::{Answer, Attach, Exec, Request};
use crate::store::{ShimDir, State, Status, socket};

/// A connection to a shim.
#[derive(Debug)]
pub struct Shim {
    dir: ShimDir,
    stream: UnixStream,
}

#[allow(dead_code, reason = "its tests speak to a shim in all the ways that there are")]
impl Shim {
    /// Connects to the shim that lives in this folder.
    ///
    /// # Errors
    /// There is none: the container does not run.
    pub fn connect(dir: &ShimDir) -> Result<Self> {
        let stream = socket::connect(dir.path(), SOCKET)
            .doing(|| format!("reach the shim of {}", dir.id()))
            .map_err(|error| error.hint("it is not running"))?;
        Ok(Self { dir: dir.clone(), stream })
    }

    /// A connection that the shim of this folder has been given.
    pub(super) fn over(dir: &ShimDir, stream: UnixStream) -> Self {
        Self { dir: dir.clone(), stream }
    }

    /// The connection itself, for who has nothing to ask. Its end is the shim's.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Asks for something, and does not wait for the answer.
    pub fn ask(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request).expect("a request is plain data");
        line.push(b'\n');
        // Broken: it has just ended. The silence that follows is told better.
        self.stream.write_all(&line).or_else(ended).doing(|| "speak to the shim")
    }

    /// Waits until what was asked for is done.
    ///
    /// # Errors
    /// Why it was not.
    pub fn until_done(&mut self) -> Result<()> {
        match self.hear()? {
            Some(Answer::Done) => Ok(()),
            Some(Answer::Error(error)) => Err(error),
            Some(Answer::State(_)) => Err(Error::new("the shim's answer fits no question")),
            None => Err(Error::new(format!("{} has just ended", self.dir.id()))),
        }
    }

    /// Lets the program go.
    ///
    /// # Errors
    /// What execve(2) answers, with exit code 126 or 127; then the container is over.
    pub fn start(&mut self) -> Result<()> {
        self.request(&Request::Start)
    }

    /// Sends a signal to the first process.
    pub fn kill(&mut self, signal: i32) -> Result<()> {
        self.request(&Request::Kill { signal })
    }

    /// Tells the terminal its size.
    pub fn resize(&mut self, height: u16, width: u16) -> Result<()> {
        self.request(&Request::Resize { height, width })
    }

    /// Makes the next end the beginning of another life, whatever the policy is.
    pub fn restart(&mut self) -> Result<()> {
        self.request(&Request::Restart)
    }

    /// Freezes all processes.
    pub fn pause(&mut self) -> Result<()> {
        self.request(&Request::Pause)
    }

    /// Lets them go on.
    pub fn unpause(&mut self) -> Result<()> {
        self.request(&Request::Unpause)
    }

    /// Puts the running container on one more network.
    pub fn connect_network(&mut self, place: &Place) -> Result<()> {
        self.request(&Request::Connect(place.clone()))
    }

    /// Takes it off a network, which is known by its id.
    pub fn disconnect_network(&mut self, network: &str) -> Result<()> {
        self.request(&Request::Disconnect { network: network.into() })
    }

    /// The state at this moment.
    pub fn status(&mut self) -> Result<State> {
        self.ask(&Request::Status)?;
        self.hear_state()
    }

    /// Waits for the end of the program. The container is still being tidied up then;
    /// see [`Shim::wait_until_gone`].
    pub fn wait(&mut self) -> Result<State> {
        self.ask(&Request::Wait)?;
        self.hear_state()
    }

    /// Becomes a line that comes when the program has ended, an [`Answer::State`], and
    /// an end of file that comes when everything is tidied up.
    pub fn watch(mut self) -> Result<UnixStream> {
        self.ask(&Request::Wait)?;
        Ok(self.stream)
    }

    /// After [`Shim::wait`]: waits until everything is tidied up, and removed if it
    /// was to be.
    pub fn wait_until_gone(mut self) -> Result<()> {
        let gone = io::copy(&mut self.stream, &mut io::sink());
        gone.map(drop).or_else(ended).doing(|| "wait until the container is tidied up")
    }

    /// Becomes a stream: what is written to it is the program's input; what is read
    /// from it is its output, raw from a terminal, or else in Docker's frames. The
    /// end of file is the program's end.
    pub fn attach(mut self, attach: Attach) -> Result<UnixStream> {
        self.request(&Request::Attach(attach))?;
        Ok(self.stream)
    }

    /// Starts an exec. With `attach` the connection becomes a stream of it, as by
    /// [`Shim::attach`].
    ///
    /// # Errors
    /// What execve(2) answers, with exit code 126 or 127, or why it got not that far.
    pub fn exec(mut self, exec: Exec) -> Result<UnixStream> {
        self.request(&Request::Exec(exec.into()))?;
        Ok(self.stream)
    }

    fn request(&mut self, request: &Request) -> Result<()> {
        self.ask(request)?;
        self.until_done()
    }

    /// A state; from the record, if the shim has just ended.
    fn hear_state(&mut self) -> Result<State> {
        match self.hear()? {
            Some(Answer::State(state)) => Ok(state),
            Some(Answer::Error(error)) => Err(error),
            Some(Answer::Done) => Err(Error::new("the shim's answer fits no question")),
            None => match self.dir.state()? {
                state if state.is_alive() || state.status == Status::Created => {
                    Err(Error::new(format!("the shim of {} was killed", self.dir.id())))
                }
                state => Ok(state),
            },
        }
    }

    /// One line and no byte more: what follows may be a stream already.
    fn hear(&mut self) -> Result<Option<Answer>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let more = self.peek().or_else(|error| ended(error).map(|()| 0));
            match more.doing(|| "listen to the shim")? {
                0 => return Ok(None),
                length => {
                    let begin = line.len();
                    line.resize(begin + length, 0);
                    self.stream.read_exact(&mut line[begin..]).doing(|| "listen to the shim")?;
                }
            }
        }
        let broken = |error| Error::new(format!("understand the shim: {error}"));
        serde_json::from_slice(&line).map(Some).map_err(broken)
    }

    /// How many bytes of the line are there.
    fn peek(&self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let length = loop {
            match recv(self.stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK) {
                Err(nix::errno::Errno::EINTR) => {}
                result => break result?,
            }
        };
        let end = buffer[..length].iter().position(|byte| *byte == b'\n');
        Ok(end.map_or(length, |end| end + 1))
    }
}

/// A connection that the other side has closed over unread bytes has ended too.
fn ended(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(error),
    }
}
