//! A person at a terminal: types, reads, and resizes the window.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use namespaces::Size;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd;

use crate::who::Who;

pub struct Person {
    keyboard: File,
    /// Held open, so that the terminal outlives the command.
    screen: OwnedFd,
    pub command: Child,
    seen: String,
    found: Termios,
}

impl Person {
    /// Sits down at a terminal of 33 lines of 99 characters, and runs `run FLAGS` with `program` there.
    pub fn runs(who: Who, flags: &str, program: &[&str]) -> Self {
        let (master, slave) = open_pty();
        Size { rows: 33, columns: 99 }.set(&master).unwrap();
        // The sentinel opens it by name: it must be this user's, as a login makes it.
        if unistd::geteuid().is_root() {
            unistd::fchown(&slave, Some(who.uid().into()), None).unwrap();
        }
        let found = tcgetattr(&slave).unwrap();
        let end = || slave.try_clone().unwrap();
        let mut command: Command = who.command("setsid");
        command.arg("--ctty").arg(crate::who::binary()).arg("run");
        command.args(flags.split_whitespace()).args(program);
        let command = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { keyboard: master, screen: slave.into(), command, seen: String::new(), found }
    }

    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` is on the screen, after what was awaited before.
    #[track_caller]
    pub fn sees(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(n) = self.seen.find(text) {
                self.seen.drain(..n + text.len());
                return;
            }
            assert!(Instant::now() < end, "no {text:?} in {:?}", self.seen);
            self.read(100);
        }
    }

    fn read(&mut self, millis: u16) {
        let mut fds = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(millis)) == Ok(1) {
            let mut buffer = [0; 4096];
            let n = unistd::read(&self.keyboard, &mut buffer).unwrap_or(0);
            self.seen += &String::from_utf8_lossy(&buffer[..n]);
        }
    }

    /// Closes the window, with the command in it.
    pub fn walks_away(&mut self) {
        self.keyboard = File::open("/dev/null").unwrap();
    }

    pub fn resizes(&mut self, rows: u16, columns: u16) {
        Size { rows, columns }.set(&self.keyboard).unwrap();
    }

    /// True if the terminal is as it was found.
    pub fn finds_the_terminal_as_it_was(&self) -> bool {
        tcgetattr(&self.screen).unwrap() == self.found
    }

    /// Reads the rest, until the command ends; the screen must not be blocked by it.
    pub fn waits(&mut self) -> (ExitStatus, String) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.command.try_wait().unwrap() {
                self.read(20);
                return (status, std::mem::take(&mut self.seen));
            }
            assert!(Instant::now() < end, "the command does not end: {:?}", self.seen);
            self.read(20);
        }
    }
}

/// openpty(3), but close-on-exec: whoever held a master by accident would keep the
/// window open.
fn open_pty() -> (File, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let slave = options.open(ptsname_r(&master).unwrap()).unwrap();
    (File::from(OwnedFd::from(master)), slave)
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}
