//! Be root inside, and yourself outside.
//!
//! A process in a new user namespace is nobody, until somebody writes down who its ids
//! are. Do that by hand, with the one row that the kernel lets everybody write: 0 inside
//! is you outside. It takes three files below `/proc/PID`, in an order that the kernel
//! insists on for whoever is not root. All of it is in user_namespaces(7), under "Defining
//! user and group ID mappings".
//!
//! Minutes: 20
//! Needs: namespaces
//! Observe: namespaces user, maps

use std::fs;

use libc::CLONE_NEWUSER;
use namespaces::cli::exit_with;
use namespaces::{Child, CloneArgs, Container, Context, Mechanism, Process, Result};
use nix::unistd::{Gid, Uid, getegid, geteuid, setresgid, setresuid};

/// A user namespace with one user and one group.
struct RootInside;

impl Mechanism for RootInside {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= CLONE_NEWUSER as u64;
        Ok(())
    }

    fn in_parent(&mut self, child: &Child) -> Result<()> {
        // YOURS: write the child's setgroups, uid_map and gid_map
        // SAYS: dropping them would be a way
        let (uid, gid) = (geteuid(), getegid());
        for (file, text) in [("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))] {
            let path = format!("/proc/{}/{file}", child.pid);
            fs::write(&path, text).doing(|| format!("write {path}"))?;
        }
        Ok(())
        // END
    }

    fn in_child(&self) -> Result<()> {
        // The map names root. To be it takes saying so.
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(gid, gid, gid).doing(|| "become group 0")?;
        setresuid(uid, uid, uid).doing(|| "become user 0")
    }
}

fn main() {
    exit_with(run())
}

/// Starts the container, which says who it is, and waits at `ready`.
fn run() -> Result<u8> {
    let script = "echo \"I am user $(id -u) and group $(id -g)\"; \
        echo \"setgroups: $(cat /proc/self/setgroups)\"; \
        echo ready; read _ || true";
    let container = Container::new(Process::new(["sh", "-c", script])).with(RootInside);
    Ok(container.start()?.wait()?.code())
}
