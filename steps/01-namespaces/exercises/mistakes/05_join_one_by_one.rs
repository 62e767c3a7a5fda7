//! Join a running container's namespaces from its pid alone.
//!
//! A container runs, and all that you know of it is the pid of its first process. Bring
//! one more process into it, which finds the container's host name, processes and
//! network, as `docker exec` does. This program starts itself again to do so (`join`):
//! first it finds out which namespaces the two do not have in common, then it enters
//! them, and then the shell must be born in there. The man pages are setns(2),
//! namespaces(7) and pid_namespaces(7).
//!
//! Minutes: 45
//! Needs: namespaces
//! Observe: namespaces uts pid mnt ipc net cgroup

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use namespaces::cli::exit_with;
use namespaces::{Container, Context, IdMaps, Namespaces, Proc, Process, Result, userns};
use nix::sched::{CloneFlags, setns};

/// All kinds, as `/proc/PID/ns` calls them. The user namespace is first: from then on one
/// has the rights that the others take.
const KINDS: [&str; 7] = ["user", "mnt", "pid", "uts", "ipc", "net", "cgroup"];

/// The kinds of namespaces in which process `pid` lives and we do not.
fn foreign_kinds(pid: i32) -> Result<Vec<&'static str>> {
    // YOURS: compare /proc/PID/ns/KIND with /proc/self/ns/KIND for all kinds
    let mut foreign = Vec::new();
    for kind in KINDS {
        let path = |process: &str| format!("/proc/{process}/ns/{kind}");
        let own = fs::read_link(path("self")).doing(|| "look at ourselves")?;
        let other = fs::read_link(path(&pid.to_string())).doing(|| "look at the container")?;
        if own != other {
            foreign.push(kind);
        }
    }
    Ok(foreign)
    // END
}

/// Takes this process into those namespaces of process `pid`.
fn enter(pid: i32, kinds: &[&str]) -> Result<()> {
    // YOURS: open what is in /proc/PID/ns, then setns to one after the other
    // SAYS: Open all the files before you enter the first namespace
    for kind in kinds {
        let path = format!("/proc/{pid}/ns/{kind}");
        let file = File::open(&path).doing(|| format!("open {path}"))?;
        setns(file, CloneFlags::empty()).doing(|| format!("enter the {kind} namespace"))?;
    }
    Ok(())
    // END
}

/// Runs a program in there; its exit code.
fn run_inside(program: &[&str]) -> Result<u8> {
    // YOURS: start the program such that it is in the new pid namespace, too, and wait for it
    let status = Command::new(program[0]).args(&program[1..]).status();
    let status = status.doing(|| format!("run {}", program[0]))?;
    Ok(status.code().unwrap_or(1) as u8)
    // END
}

/// What the second process finds.
const SCRIPT: &str = "echo \"I am process $$ of $(uname -n), and process 1 is $(cat /proc/1/comm)\"; \
    for kind in mnt pid uts ipc net cgroup; do \
    [ $(readlink /proc/self/ns/$kind) = $(readlink /proc/1/ns/$kind) ] || echo \"another $kind namespace\"; \
    done; echo ready; read _ || true";

fn join(pid: &str) -> Result<u8> {
    let pid = pid.parse().expect("a pid");
    enter(pid, &foreign_kinds(pid)?)?;
    run_inside(&["sh", "-c", SCRIPT])
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("join") => exit_with(join(&args[2])),
        _ => exit_with(run()),
    }
}

/// Starts the container, and then `join` with its pid. At the end the container is killed.
fn run() -> Result<u8> {
    let mut namespaces = Namespaces::container().hostname("boat");
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let first = Process::new(["sleep", "60"]);
    let running = Container::new(first).with(namespaces).with(Proc).start()?;
    let mut join = Command::new("/proc/self/exe");
    let status = join.args(["join", &running.pid().to_string()]).status();
    Ok(status.doing(|| "start this program again")?.code().unwrap_or(1) as u8)
}
