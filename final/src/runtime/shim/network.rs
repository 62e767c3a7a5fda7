//! The part of the loop that has to do with networks: the container's name server,
//! and networks that come and go.

use std::os::fd::{AsFd, BorrowedFd};

use namespaces::{Error, Result};
use networking::Place;

use super::life::Life;
use crate::runtime::dns;
use crate::runtime::network::Attachment;

/// The bridges of a container that runs, and its name server.
pub struct Network {
    attachment: Attachment,
    dns: Option<dns::Server>,
}

impl Network {
    /// At the brink of exec: the name server answers from here on.
    pub fn take(attachment: Attachment) -> Result<Self> {
        let dns = attachment.take_dns()?;
        Ok(Self { attachment, dns })
    }

    /// Readable when somebody asks for a name.
    pub fn questions(&self) -> Option<BorrowedFd<'_>> {
        self.dns.as_ref().map(AsFd::as_fd)
    }

    /// Answers them.
    pub fn answer(&mut self) {
        if let Some(dns) = &mut self.dns {
            dns.serve();
        }
    }

    /// Puts the container on one more network.
    pub fn connect(&mut self, place: &Place, life: &mut Life) -> Result<()> {
        let pid = running(life)?;
        self.attachment.connect(place, pid, &mut self.dns)?;
        self.note(life);
        Ok(())
    }

    /// Takes the container off a network.
    pub fn disconnect(&mut self, network: &str, life: &mut Life) -> Result<()> {
        let pid = running(life)?;
        self.attachment.disconnect(network, pid, &mut self.dns)?;
        self.note(life);
        Ok(())
    }

    /// The address and the ports are part of the record.
    fn note(&self, life: &mut Life) {
        life.state_mut().address = self.attachment.address();
        life.state_mut().ports = self.attachment.published();
        life.record();
    }
}

fn running(life: &Life) -> Result<nix::unistd::Pid> {
    let running = life.running().ok_or_else(|| Error::new("the container is not running"))?;
    Ok(running.pid())
}
