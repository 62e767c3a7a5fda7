//! One more process in a running container.

use libtest_mimic::Trial;
use serde_json::json;
use testkit::Needs;

use super::{Fixture, frames};
use crate::runtime::shim::{Attach, Shim, launch_exec};
use crate::runtime::{ExecInstructions, Session};
use crate::store::{ExecDir, State, write};

pub fn tests() -> Vec<Trial> {
    let needs = [Needs::Root, Needs::Overlay, Needs::Program("busybox")];
    let test = |name, act: fn()| testkit::test(name, &needs, act);
    vec![
        test("an_exec_is_inside_and_as_limited", inside),
        test("an_exec_has_a_user_and_a_terminal_of_its_own", user_and_terminal),
        test("an_exec_of_what_is_not_there_is_127", missing),
        test("an_exec_ends_with_its_container", ends),
    ]
}

fn exec(
    fixture: &Fixture,
    args: &[&str],
    session: Session,
    terminal: bool,
) -> (ExecDir, ExecInstructions) {
    let mut process = fixture.spec["process"].clone();
    process["args"] = json!(args);
    process["terminal"] = json!(terminal);
    let process = serde_json::from_value(process).unwrap();
    let dir = fixture.dir.exec(&format!("{:x}", super::next()));
    dir.create().unwrap();
    let instructions = ExecInstructions { process, privileged: false, session };
    write(&dir.instructions(), &instructions, false).unwrap();
    (dir, instructions)
}

fn run(fixture: &Fixture, dir: &ExecDir) -> (String, String, State) {
    let mut shim = launch_exec(&fixture.dir, dir).unwrap();
    let attach = Attach { stdout: true, stderr: true, stdin: false };
    let stream = Shim::connect(dir).unwrap().attach(attach).unwrap();
    shim.start().unwrap();
    let (stdout, stderr) = frames(stream);
    (stdout, stderr, shim.wait().unwrap())
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
    let (dir, _) = exec(&fixture, &["sh", "-c", script], Session::default(), false);
    let (stdout, stderr, state) = run(&fixture, &dir);
    let capabilities = "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n";
    assert_eq!(stdout, format!("/here\n1\n{capabilities}0\n"), "{stderr}");
    assert_eq!(state.exit_code, Some(9), "{stderr}");
}

fn user_and_terminal() {
    let fixture = running();
    let session = Session { user: "1000:10".into(), open_stdin: true, ..Session::default() };
    let (dir, _) = exec(&fixture, &["sh", "-c", "id; tty"], session, true);
    let mut shim = launch_exec(&fixture.dir, &dir).unwrap();
    let attach = Attach { stdout: true, stderr: true, stdin: true };
    let mut stream = Shim::connect(&dir).unwrap().attach(attach).unwrap();
    shim.start().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    assert!(text.starts_with("uid=1000(guest) gid=10(wheel)"), "{text}");
    assert!(text.contains("/dev/pts/0"), "{text}");
}

fn missing() {
    let fixture = running();
    let (dir, _) = exec(&fixture, &["/no/such"], Session::default(), false);
    let error = launch_exec(&fixture.dir, &dir).unwrap_err();
    assert_eq!(error.exit_code, 127, "{error}");
}

fn ends() {
    let fixture = running();
    let (dir, _) = exec(&fixture, &["sleep", "1000"], Session::default(), false);
    let mut shim = launch_exec(&fixture.dir, &dir).unwrap();
    shim.start().unwrap();
    fixture.connect().kill(9).unwrap();
    assert_eq!(shim.wait().unwrap().exit_code, Some(137));
}
