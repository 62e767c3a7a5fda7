//! Give the container its own host name.
//!
//! Every container starts with the host's name: `uname -n` inside prints what it prints
//! outside. Write the mechanism that changes it, and changes it for the container only.
//! A mechanism is called at the moments that `steps/01-namespaces/src/mechanism.rs`
//! draws; you need two of them. The man pages are uts_namespaces(7) and sethostname(2).
//!
//! Minutes: 10
//! Needs: namespaces
//! Observe: namespaces uts

use libc::CLONE_NEWUTS;
use namespaces::cli::exit_with;
use namespaces::{CloneArgs, Container, Context, Mechanism, Namespaces, Process, Result};
use namespaces::{IdMaps, userns};
use nix::unistd::sethostname;

/// The host name of the container.
struct Hostname(&'static str);

impl Mechanism for Hostname {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        todo!("ask clone3 for a namespace in which a name is the container's own")
    }

    fn in_child(&self) -> Result<()> {
        todo!("set the name")
    }
}

fn main() {
    exit_with(run())
}

/// Starts the container, which says its name, and waits at `ready` until its input ends.
fn run() -> Result<u8> {
    let program = ["sh", "-c", "echo \"my name is $(uname -n)\"; echo ready; read _ || true"];
    let mut namespaces = Namespaces::none();
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let container = Container::new(Process::new(program)).with(namespaces).with(Hostname("boat"));
    Ok(container.start()?.wait()?.code())
}
