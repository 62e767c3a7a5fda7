//! Write the process 1 that forwards signals and buries the dead.
//!
//! This program starts itself again as process 1 of a container (`init`), and there it
//! starts the real program, a shell. Yours is what process 1 does from then on: it hands
//! every signal that it gets to the program, waits for every process that ends, its own
//! child or an orphan, and ends when the program has ended, with its code. The man pages
//! are pid_namespaces(7), sigwaitinfo(2) and wait(2).
//!
//! Minutes: 30
//! Needs: namespaces
//! Observe: processes

use namespaces::cli::exit_with;
use namespaces::{Container, Context, IdMaps, Namespaces, Proc, Process, Result, userns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What process 1 does, with all signals blocked, until `program` has ended; its code.
fn serve(program: Pid) -> Result<u8> {
    // YOURS: wait for a signal; forward it, or if it is SIGCHLD reap all that has ended
    // SAYS: the program hears SIGTERM
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => return Ok(code as u8),
            Ok(_) => {}
            Err(errno) => return Err(errno).doing(|| "wait for a child"),
        }
    }
    // END
}

/// Process 1. The signals are blocked before there is a program, so that none is missed;
/// the program starts with none blocked, as every container's does.
fn init(script: &str) -> Result<u8> {
    prctl::set_name(c"init").doing(|| "prctl(PR_SET_NAME)")?;
    SigSet::all().thread_block().doing(|| "block the signals")?;
    let program = Container::new(Process::new(["sh", "-c", script])).start()?;
    serve(program.pid())
}

/// Sends process 1 a SIGTERM, makes an orphan that ends, and counts the zombies.
const SCRIPT: &str = "trap 'echo \"the program hears SIGTERM\"' TERM; \
    kill -TERM 1; sleep 0.3; \
    sh -c 'sleep 0.1 & sleep 0.1 & sleep 0.1 &'; sleep 0.5; \
    echo \"zombies: $(cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z')\"; \
    echo ready; read _; exit 7";

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("init") => exit_with(init(SCRIPT)),
        _ => exit_with(run()),
    }
}

/// Starts the container with this very program as its process 1.
fn run() -> Result<u8> {
    let mut namespaces = Namespaces::none().and(libc::CLONE_NEWPID).and(libc::CLONE_NEWNS);
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let process = Process::new(["/proc/self/exe", "init"]);
    let mut running = Container::new(process).with(namespaces).with(Proc).start()?;
    println!("the container ends with code {}", running.wait()?.code());
    Ok(0)
}
