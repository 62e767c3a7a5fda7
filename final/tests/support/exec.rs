//! One more process in a running container.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use libtest_mimic::Trial;
use namespaces::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Needs, wait_until};

use super::life::parent_of;
use super::{Fixture, frames};
use crate::runtime::shim::{Attach, Exec, Shim};
use crate::runtime::{ExecInstructions, Session};
use crate::store::State;

pub fn tests() -> Vec<Trial> {
    let needs = [Needs::Root, Needs::Overlay, Needs::Program("busybox")];
    let test = |name, act: fn()| testkit::test(name, &needs, act);
    vec![
        test("an_exec_is_inside_and_as_limited", inside),
        test("an_exec_has_a_user_and_a_terminal_of_its_own", user_and_terminal),
        test("an_exec_of_what_is_not_there_is_127", missing),
        test("an_exec_ends_with_its_container", ends),
        test("after_an_exec_a_shim_waits_for_the_next_for_a_moment", waits),
    ]
}

/// One that is to be started.
fn exec(args: &[&str], session: Session, terminal: bool) -> Exec {
    let args = args.iter().map(|arg| arg.to_string()).collect();
    let env = vec!["PATH=/bin:/usr/bin:/sbin:/usr/sbin".into(), "TERM=xterm".into()];
    let cwd = "/".into();
    let instructions =
        ExecInstructions { args, env, cwd, terminal, session, ..ExecInstructions::default() };
    Exec { id: format!("{:x}", super::next()), attach: None, instructions }
}

fn start(fixture: &Fixture, mut exec: Exec, stdin: bool) -> Result<UnixStream> {
    exec.attach = Some(Attach { stdout: true, stderr: true, stdin });
    fixture.connect().exec(exec)
}

fn run(fixture: &Fixture, exec: Exec) -> (String, String, State) {
    let dir = fixture.dir.exec(&exec.id);
    let (stdout, stderr) = frames(start(fixture, exec, false).unwrap());
    (stdout, stderr, dir.state().unwrap())
}

fn running() -> Fixture {
    let fixture = Fixture::new("touch /here; sleep 1000");
    fixture.launch().unwrap().start().unwrap();
    fixture
}

fn inside() {
    let fixture = running();
    let script = "ls /here; ps -o args | grep -cx 'sleep 1000'; grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status;
        cat /proc/self/cgroup | grep -c coracle; cat /proc/1/cgroup > /tmp/1;
        cat /proc/self/cgroup | cmp - /tmp/1 && exit 9";
    let exec = exec(&["sh", "-c", script], Session::default(), false);
    let (stdout, stderr, state) = run(&fixture, exec);
    let capabilities = "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n";
    assert_eq!(stdout, format!("/here\n1\n{capabilities}0\n"), "{stderr}");
    assert_eq!(state.exit_code, Some(9), "{stderr}");
}

fn user_and_terminal() {
    let fixture = running();
    let session = Session { user: "1000:10".into(), open_stdin: true, ..Session::default() };
    let exec = exec(&["sh", "-c", "id; tty"], session, true);
    let mut stream = start(&fixture, exec, true).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    assert!(text.starts_with("uid=1000(guest) gid=10(wheel)"), "{text}");
    assert!(text.contains("/dev/pts/0"), "{text}");
}

fn missing() {
    let fixture = running();
    let exec = exec(&["/no/such"], Session::default(), false);
    let dir = fixture.dir.exec(&exec.id);
    let error = start(&fixture, exec, false).unwrap_err();
    assert_eq!(error.exit_code, 127, "{error}");
    // Who asks for it later hears that, too.
    assert_eq!(dir.state().unwrap().exit_code, Some(127));
}

fn ends() {
    let fixture = running();
    let exec = exec(&["sleep", "1000"], Session::default(), false);
    let dir = fixture.dir.exec(&exec.id);
    drop(fixture.connect().exec(exec).unwrap());
    let mut shim = Shim::connect(&dir).unwrap();
    fixture.connect().kill(9).unwrap();
    assert_eq!(shim.wait().unwrap().exit_code, Some(137));
}

/// The children of a shim that are shims.
fn forks(shim: Pid) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()));
    let name = |pid: &Pid| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    pids.filter(|pid| name(pid).is_ok_and(|name| name == "coracle-shim\n")).collect()
}

fn waits() {
    let fixture = running();
    let shim = parent_of(fixture.dir.state().unwrap().pid);
    let code =
        || run(&fixture, exec(&["sh", "-c", "exit 3"], Session::default(), false)).2.exit_code;
    assert_eq!(forks(shim), []);
    let soon = Duration::from_secs(5);
    // It is for the next exec, which does as well without, if it was killed. On a busy
    // machine the moment may be over before one looks.
    let strike = || {
        assert_eq!(code(), Some(3));
        forks(shim).into_iter().any(|fork| kill(fork, Signal::SIGKILL).is_ok())
    };
    assert!(wait_until(soon, strike), "no shim waits");
    assert_eq!(code(), Some(3));
    assert_eq!(code(), Some(3));
    assert!(wait_until(soon, || forks(shim).is_empty()), "{:?}", forks(shim));
}
