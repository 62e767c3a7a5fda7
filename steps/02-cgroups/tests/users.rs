//! What an ordinary user can have.

mod common;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cgroups::Mounts;
use common::Ran;
use testkit::{Leftovers, Needs, User, test};

fn main() {
    let needs = [Needs::Root, Needs::User, Needs::UserNamespaces];
    let v2 = [&needs[..], &[Needs::CgroupV2]].concat();
    testkit::main(vec![
        test("without_limits_a_container_runs_for_everyone", &needs, without_limits),
        test("a_limit_that_cannot_be_set_is_an_error", &needs, refused),
        test("limits_hold_in_a_delegated_group", &v2, delegated),
        test("the_users_processes_make_room_once", &v2, delegated_twice),
    ])
}

fn user() -> User {
    testkit::user().expect("the test needs one")
}

/// `cgroups run …` as the ordinary user.
fn command(user: &User, args: &[&str]) -> Command {
    let binary = testkit::reachable(env!("CARGO_BIN_EXE_cgroups"));
    // The shell waits until it has been put where it belongs.
    let mut command = user.command("sh");
    command.args(["-c", "read go; exec \"$0\" run \"$@\""]).arg(binary).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(mut command: Command, group: Option<&Delegated>) -> Ran {
    let mut child = command.spawn().expect("start the binary");
    if let Some(group) = group {
        // Once the group has groups with limits below it, its processes are one step down.
        let leaf = group.0.join("coracle-leaf");
        let place = if leaf.exists() { &leaf } else { &group.0 };
        std::fs::write(place.join("cgroup.procs"), child.id().to_string()).expect("move the shell");
    }
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(b"go\n").expect("let the shell go");
    drop(stdin);
    child.wait_with_output().expect("wait for the binary").into()
}

/// A group that belongs to the user, as systemd delegates one.
struct Delegated(PathBuf);

impl Delegated {
    fn to(user: &User) -> Self {
        let v2 = Mounts::of_this_process().expect("the trees").v2.expect("v2");
        let path = v2.mountpoint.join(format!("delegated-{}", std::process::id()));
        std::fs::create_dir(&path).expect("make the group");
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            std::os::unix::fs::chown(path.join(file), Some(user.uid), Some(user.gid))
                .expect("chown it");
        }
        Self(path)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // The group of the processes that made room has none left by now.
        let _ = std::fs::remove_dir(self.0.join("coracle-leaf"));
        std::fs::remove_dir(&self.0).expect("nothing is left in the delegated group");
    }
}

fn without_limits() {
    let user = user();
    let leftovers = Leftovers::matching(&["coracle-user-test"]);
    let ran = run(command(&user, &["--cgroup-parent", "coracle-user-test", "id", "-u"]), None);
    assert_eq!((ran.code, ran.out.trim()), (0, "0"), "{}", ran.err);
    leftovers.assert_none();
}

fn refused() {
    let ran = run(command(&user(), &["-m", "64m", "true"]), None);
    assert_eq!(ran.code, 125, "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "one sentence: {}", ran.err);
    assert!(ran.err.contains("limit the container"), "{}", ran.err);
}

fn delegated() {
    let user = user();
    let group = Delegated::to(&user);
    let dd = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    let limits = ["-m", "16m", "--memory-swap", "16m", "--pids-limit", "10"];
    let ran = run(command(&user, &[&limits[..], &dd].concat()), Some(&group));
    assert_eq!(ran.code, 137, "{}", ran.err);
    assert!(ran.err.contains("killed: out of memory, limit 16 MiB"), "{}", ran.err);
}

fn delegated_twice() {
    let user = user();
    let group = Delegated::to(&user);
    for _ in 0..2 {
        let ran = run(command(&user, &["--pids-limit", "10", "true"]), Some(&group));
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
}
