//! Children that live no longer than the test process.
//!
//! The kernel's parent-death signal is about the *thread* that forked. Tests run
//! in threads that end, so one thread that lives as long as the process starts
//! all the helpers.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

use crate::sys;

type Order = (Command, SyncSender<io::Result<Child>>);

/// A child that is killed and waited for on drop, and dies with this process.
#[derive(Debug)]
pub struct Tended(pub Child);

impl Drop for Tended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a helper that dies with this process, also when that is killed.
pub fn spawn(mut command: Command) -> io::Result<Tended> {
    static NURSE: OnceLock<Sender<Order>> = OnceLock::new();
    sys::die_with_parent(&mut command);
    let nurse = NURSE.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = sync_channel(1);
    nurse.send((command, answer)).map_err(|_| io::Error::other("the nursery thread is gone"))?;
    child.recv().map_err(|_| io::Error::other("the nursery thread is gone"))?.map(Tended)
}
