//! From launch to removal.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use testkit::{Needs, wait_until};

use super::{Fixture, frames};
use crate::runtime::shim::{self, Shim};
use crate::runtime::{AutoRemove, Found, reconcile};
use crate::store::Status;

pub fn tests() -> Vec<Trial> {
    let needs = [Needs::Root, Needs::Overlay, Needs::Program("busybox")];
    let test = |name, act: fn()| testkit::test(name, &needs, act);
    vec![
        test("output_arrives_in_frames_and_the_exit_code_behind_it", output_and_code),
        test("the_log_is_dockers", log),
        test("input_reaches_the_program_and_ends_when_the_client_ends_it", input),
        test("a_terminal_has_a_size_and_no_frames", terminal),
        test("a_program_that_is_not_there_ends_the_creation_with_127", no_program),
        test("a_killed_shim_takes_its_container_along", killed_shim),
        test("nothing_stays_of_a_container_that_is_to_be_removed", auto_remove),
        test("a_paused_container_stands_still_and_can_be_killed", pause),
        test("memory_that_ran_out_is_told", oom),
        test("a_signal_is_an_exit_code", signal),
        test("a_client_that_vanishes_is_forgotten", vanished),
        test("a_container_is_a_bundle_for_runc_and_crun", bundle),
        test("an_idle_shim_is_small", small),
        test("many_bytes_come_through_whole", much),
    ]
}

fn output_and_code() {
    let ended = Fixture::new("echo out; echo err >&2; exit 7").run();
    assert_eq!((&*ended.stdout, &*ended.stderr), ("out\n", "err\n"));
    assert_eq!(ended.state.exit_code, Some(7));
    assert_eq!(ended.state.status, Status::Exited);
    assert!(ended.state.started_at < ended.state.finished_at);
}

fn log() {
    let fixture = Fixture::new("echo one; echo two >&2; printf three");
    fixture.run();
    let text = fs::read_to_string(fixture.dir.log()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut lines: Vec<_> = lines.iter().map(|line| (&line["stream"], &line["log"])).collect();
    lines.sort_by_key(|line| line.1.to_string());
    let (out, err) = (json!("stdout"), json!("stderr"));
    let (one, three, two) = (json!("one\n"), json!("three"), json!("two\n"));
    assert_eq!(lines, [(&out, &one), (&out, &three), (&err, &two)]);
    let birth = fs::read_to_string(fixture.dir.birth()).unwrap();
    assert!(birth.contains("pivot_root") && birth.contains("seccomp"), "{birth}");
}

fn input() {
    let mut fixture = Fixture::new("cat; echo done");
    fixture.instructions.session.open_stdin = true;
    fixture.instructions.session.stdin_once = true;
    fixture.launch().unwrap().start().unwrap();
    let mut stream = fixture.attach(true);
    stream.write_all(b"hello\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(stream).0, "hello\ndone\n");
}

fn terminal() {
    let mut fixture = Fixture::new("tty; stty size; read line; stty size; ls -l /dev/console");
    fixture.spec["process"]["terminal"] = json!(true);
    fixture.instructions.session.open_stdin = true;
    fixture.instructions.session.tty_size = Some((33, 77));
    fixture.launch().unwrap();
    let mut stream = fixture.attach(true);
    let mut control = fixture.connect();
    control.start().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("33 77") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    control.resize(44, 88).unwrap();
    stream.write_all(b"\n").unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("/dev/pts/0\r\n33 77\r\n"), "{text:?}");
    assert!(text.contains("44 88\r\n"), "{text:?}");
}

fn no_program() {
    let mut fixture = Fixture::new("");
    fixture.spec["process"]["args"] = json!(["no-such-program"]);
    let error = fixture.launch().unwrap_err();
    assert_eq!(error.exit_code, 127);
    assert_eq!(error.to_string(), "exec no-such-program: executable file not found in $PATH");
    assert_clean(&fixture);
}

fn killed_shim() {
    let fixture = Fixture::new("sleep 1000");
    fixture.launch().unwrap().start().unwrap();
    let pid = fixture.dir.state().unwrap().pid;
    assert_eq!(reconcile(&fixture.dir).unwrap(), Found::Owned);
    let shim = parent_of(pid);
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(wait_until(Duration::from_secs(5), || parent_exists(pid).is_none()));
    let mut found = Found::Owned;
    let found_out = wait_until(Duration::from_secs(2), || {
        found = reconcile(&fixture.dir).unwrap();
        found != Found::Owned
    });
    assert!(found_out);
    let Found::Dead(state) = found else { panic!("{found:?}") };
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Dead, Some(137), 0));
    assert_clean(&fixture);
    assert_eq!(reconcile(&fixture.dir).unwrap(), Found::Settled(state));
}

fn auto_remove() {
    let mut fixture = Fixture::new("touch /file");
    let names = fixture.dir.names();
    names.take("short", &fixture.dir.id()).unwrap().unwrap();
    fixture.instructions.auto_remove = Some(AutoRemove { name: "short".into() });
    fixture.instructions.volatile = true;
    fixture.run();
    assert!(!fixture.dir.path().exists());
    assert_eq!(names.get("short").unwrap(), None);
    assert_eq!(fs::read_dir(fixture.root.path().join("containers")).unwrap().count(), 0);
    assert_clean(&fixture);
}

fn pause() {
    let fixture = Fixture::new("sleep 1000");
    let mut shim = fixture.launch().unwrap();
    shim.start().unwrap();
    shim.pause().unwrap();
    assert_eq!(shim.status().unwrap().status, Status::Paused);
    shim.unpause().unwrap();
    shim.pause().unwrap();
    shim.kill(9).unwrap();
    assert_eq!(shim.wait().unwrap().exit_code, Some(137));
}

fn oom() {
    let mut fixture = Fixture::new("x=$(yes | head -c 100000000)");
    fixture.spec["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    let state = fixture.run().state;
    assert!(state.oom_killed, "{state:?}");
    assert_ne!(state.exit_code, Some(0));
}

fn signal() {
    let fixture = Fixture::new("trap 'exit 3' TERM; kill -s STOP 0 2>/dev/null; sleep 1000 & wait");
    let mut shim = fixture.launch().unwrap();
    shim.start().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    shim.kill(15).unwrap();
    assert_eq!(shim.wait().unwrap().exit_code, Some(3));
}

fn vanished() {
    let fixture =
        Fixture::new("for i in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/zero; done; exit 5");
    let mut shim = fixture.launch().unwrap();
    let streams: Vec<_> = (0..3).map(|_| fixture.attach(false)).collect();
    shim.start().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    drop(streams);
    assert_eq!(shim.wait().unwrap().exit_code, Some(5));
}

/// The folder of a container is an OCI bundle.
fn bundle() {
    let mut fixture = Fixture::new("echo inside; grep Seccomp: /proc/self/status");
    fixture.spec["root"]["path"] = json!(testkit::busybox_rootfs());
    // Other runtimes leave the groups above theirs behind.
    fixture.spec["linux"]["cgroupsPath"] = json!(format!("/coracle-{}", fixture.dir.id()));
    fs::write(fixture.dir.config(), fixture.spec.to_string()).unwrap();
    for runtime in ["runc", "crun"] {
        if let Err(reason) = Needs::Program(runtime).check() {
            eprintln!("{reason}");
            continue;
        }
        // crun refuses machines that have controllers in cgroup v1 and v2.
        let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", runtime, "--root"])
            .arg(fixture.root.path().join(runtime))
            .args(["run", "-b"])
            .arg(fixture.dir.path())
            .arg(format!("{runtime}-{}", fixture.dir.id()))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, "inside\nSeccomp:\t2\n", "{runtime}: {errors}");
    }
}

fn small() {
    let fixture = Fixture::new("sleep 1000");
    let mut shim = fixture.launch().unwrap();
    shim.start().unwrap();
    let pid = parent_of(fixture.dir.state().unwrap().pid);
    let mut rollup = String::new();
    let is_small = wait_until(Duration::from_secs(5), || {
        rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let pss = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
        pss.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() <= 1024
    });
    assert!(is_small, "{rollup}");
}

fn much() {
    let fixture = Fixture::new("head -c 67108864 /dev/zero | tr '\\0' 'x'");
    fixture.launch().unwrap();
    let mut stream = fixture.attach(false);
    fixture.connect().start().unwrap();
    let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            length => total += length,
        }
    }
    assert!(total > 64 << 20, "{total}");
}

pub fn parent_of(pid: i32) -> nix::unistd::Pid {
    parent_exists(pid).unwrap()
}

fn parent_exists(pid: i32) -> Option<nix::unistd::Pid> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("PPid:"))?;
    line.split_whitespace().nth(1)?.parse().ok().map(nix::unistd::Pid::from_raw)
}

/// No cgroup, no mount, no process of this container.
fn assert_clean(fixture: &Fixture) {
    let id = fixture.dir.id();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&id), "{mounts}");
    let gone = wait_until(Duration::from_secs(2), || {
        cgroups::Cgroup::open(&format!("coracle-test-shim/{id}")).is_err()
    });
    assert!(gone, "the cgroup of {id} is there");
}
