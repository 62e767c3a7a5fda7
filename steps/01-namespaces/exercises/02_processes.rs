//! Show the container its own processes.
//!
//! In a new pid namespace the first process is number 1, and still finds all the
//! processes of the machine in `/proc`. Write the mechanism that gives the container a
//! pid namespace *and* a picture of it, and keeps that picture off the host. The chapter's
//! page "Six worlds" has the reasons; the man pages are pid_namespaces(7),
//! mount_namespaces(7) and proc(5).
//!
//! Minutes: 15
//! Needs: namespaces
//! Observe: namespaces pid mnt, processes

use libc::{CLONE_NEWNS, CLONE_NEWPID};
use namespaces::cli::exit_with;
use namespaces::{CloneArgs, Container, Context, Mechanism, Namespaces, Process, Result};
use namespaces::{IdMaps, userns};
use nix::mount::{MsFlags, mount};

/// A pid namespace, and the `/proc` that belongs to it.
struct Processes;

impl Mechanism for Processes {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        todo!("ask clone3 for both namespaces that this takes")
    }

    fn in_child(&self) -> Result<()> {
        todo!("cut the mounts' ties to the host, then mount proc on /proc")
    }
}

fn main() {
    exit_with(run())
}

/// Starts the container, which looks into its `/proc`, and waits at `ready`.
fn run() -> Result<u8> {
    let script = "echo \"I am process $$, and process 1 is called $(cat /proc/1/comm)\"; \
        set -- /proc/[0-9]*; echo \"I see $# of us\"; \
        grep -q ' / / .* shared:' /proc/self/mountinfo && echo 'my mounts are shared'; \
        echo ready; read _ || true";
    let mut namespaces = Namespaces::none();
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let process = Process::new(["sh", "-c", script]);
    let container = Container::new(process).with(namespaces).with(Processes);
    Ok(container.start()?.wait()?.code())
}
