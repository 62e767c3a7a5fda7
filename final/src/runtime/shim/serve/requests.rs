//! What clients ask of a shim, and the answers.

use std::os::unix::net::UnixStream;

use namespaces::{Context, Error, Result};

use super::Server;
use crate::runtime::shim::life::Life;
use crate::runtime::shim::network::Network;
use crate::runtime::shim::peer::{Peer, Role};
use crate::runtime::shim::protocol::{Answer, Exec, Request};

impl Server {
    /// Answers every line that has arrived, until the connection becomes a stream.
    pub(super) fn answer_requests(&mut self, place: usize) {
        while self.peers[place].attached().is_none() {
            let Some(line) = self.peers[place].line() else { return };
            let answer = match serde_json::from_slice(&line) {
                Ok(request) => self.answer(place, request),
                Err(error) => Some(Answer::Error(Error::new(format!("read a request: {error}")))),
            };
            if let Some(answer) = answer {
                self.peers[place].answer(&answer);
            }
        }
        let rest = self.peers[place].take_rest();
        if self.peers[place].feeds_stdin() {
            self.streams.input(&rest);
        }
    }

    /// Does what is asked for; no answer means: later.
    fn answer(&mut self, place: usize, request: Request) -> Option<Answer> {
        let done = match request {
            Request::Start => self.life.start(),
            Request::Kill { signal } => self.life.kill_by_hand(signal),
            Request::Resize { height, width } => self.streams.resize(height, width),
            Request::Restart => self.life.restart_by_hand(),
            Request::Pause => self.life.pause(),
            Request::Unpause => self.life.unpause(),
            Request::Connect(place) => {
                self.change_network(|network, life| network.connect(&place, life))
            }
            Request::Disconnect { network: name } => {
                self.change_network(|network, life| network.disconnect(&name, life))
            }
            Request::Exec(exec) => match self.exec(place, &exec) {
                Ok(()) => return None,
                Err(error) => Err(error),
            },
            Request::Status => return Some(Answer::State(self.life.state().clone())),
            Request::Attach(attach) => {
                self.peers[place].role = Role::Attached(attach);
                Ok(())
            }
            Request::Wait => {
                self.peers[place].role = Role::Waiting;
                return None;
            }
        };
        Some(done.map_or_else(Answer::Error, |()| Answer::Done))
    }

    /// Forks a shim for an exec. The connection is that one's from here on.
    fn exec(&mut self, place: usize, exec: &Exec) -> Result<()> {
        let not_running = || Error::new("run a program in the container: it is not running");
        let pid = self.life.running().ok_or_else(not_running)?.pid();
        let execs = self.execs.as_mut().ok_or_else(not_running)?;
        let connection = self.peers[place].connection().doing(|| "hand over the connection")?;
        execs.start(exec, connection, pid)?;
        self.peers[place].vanished();
        Ok(())
    }

    /// Looks after the connections that there are from the beginning, and answers what
    /// has been asked on them, in their order.
    pub fn answer_first(&mut self, connections: Vec<UnixStream>) {
        self.take_buffer();
        for connection in connections {
            let Ok(peer) = Peer::new(connection) else { continue };
            let place = self.peers.len();
            self.adopt(peer);
            self.peers[place].read_line_part(&mut self.buffer);
            self.answer_requests(place);
        }
    }

    fn change_network(
        &mut self,
        act: impl FnOnce(&mut Network, &mut Life) -> Result<()>,
    ) -> Result<()> {
        let fixed = || Error::new("the container's network cannot be changed");
        act(self.network.as_mut().ok_or_else(fixed)?, &mut self.life)
    }
}
