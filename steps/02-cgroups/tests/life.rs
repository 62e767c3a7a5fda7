//! A container is in its group from first to last, and the group goes with it.

mod common;

use std::process::Stdio;
use std::time::Duration;

use cgroups::{Group, Mounts};
use common::{Lab, Ran, SOON};
use testkit::{Needs, test, wait_until};

fn main() {
    testkit::main(vec![
        test("it_is_inside_from_the_first_moment", &[Needs::Root], inside),
        test("it_sees_its_group_as_the_root", &[Needs::Root], sees_the_root),
        test("one_more_process_shares_the_limits", &[Needs::Root], exec),
        test("a_frozen_container_stands_still", &[Needs::Root], freeze),
        test("kill_gets_every_process", &[Needs::Root], kill),
        test("v1_kills_without_cgroup_kill", &[Needs::Root, Needs::CgroupV1], kill_v1),
        test("stats_count_what_is_used", &[Needs::Root], stats),
        test("nothing_is_left_where_the_hosts_pids_are_shared", &[Needs::Root], shared_pids),
        test("nothing_is_left_after_a_failed_start", &[Needs::Root], failed_start),
        test("nothing_is_left_after_kill_9", &[Needs::Root], kill_9),
        test("nothing_is_left_whenever_it_is_killed", &[Needs::Root], kill_9_early),
        test("a_name_is_one_containers", &[Needs::Root], one_name),
        test("nothing_is_left_when_a_frozen_one_is_killed", &[Needs::Root], kill_9_frozen),
        test("groups_made_inside_go_too", &[Needs::Root, Needs::CgroupV2], nested),
        test("a_name_cannot_lead_out", &[Needs::Root], names),
        test("many_at_once_do_not_take_each_others_parent", &[Needs::Root], many),
    ])
}

fn inside() {
    let lab = Lab::new();
    let _running = lab.start(&["sh", "-c", "echo; sleep 100"]);
    let pids = lab.group().pids().expect("read the pids");
    assert!(!pids.is_empty());
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pids[0])).expect("its groups");
    let name = format!("/{}/box", lab.parent);
    // Not in systemd's own tree, and in that of cpusets only when one was asked for.
    let other = |line: &&str| line.contains("name=") || line.contains(":cpuset:");
    let outside: Vec<_> =
        groups.lines().filter(|line| !other(line) && !line.ends_with(&name)).collect();
    assert_eq!(outside, Vec::<&str>::new(), "trees in which it is not in its group");
    let found = Group::of_process(pids[0]).expect("its group").pids().expect("pids");
    assert!(found.contains(&pids[0]), "the group of its process is its group");
}

fn sees_the_root() {
    let ran = Lab::new().run(&["cat", "/proc/self/cgroup"]);
    let not_root: Vec<_> = ran.out.lines().filter(|line| !line.ends_with(":/")).collect();
    // Trees that we leave alone keep the caller's place, seen from there: also /.
    assert_eq!(not_root, Vec::<&str>::new(), "{}", ran.out);
}

fn exec() {
    let lab = Lab::new();
    let _running = lab.start(&["--pids-limit", "7", "sh", "-c", "echo; sleep 100"]);
    let groups = lab.ask("exec", &["box", "cat", "/proc/self/cgroup"]);
    assert!(groups.lines().all(|line| line.ends_with(":/")), "{groups}");
    let script = "for n in 1 2 3 4 5 6 7; do sleep 1 & done";
    let ran = Ran::from(lab.command("exec", &["box", "sh", "-c", script]).output().expect("run"));
    assert!(ran.err.contains("Cannot fork"), "{ran:?}");
}

fn freeze() {
    let lab = Lab::new();
    let running = lab.start(&["sh", "-c", "echo; while :; do :; done"]);
    let used = || lab.stats().cpu.total;
    lab.ask("pause", &["box"]);
    let before = used();
    let ran = Ran::from(lab.command("exec", &["box", "true"]).output().expect("exec"));
    assert_eq!(ran.code, 125, "it would wait for ever");
    assert!(ran.err.contains("the container box is paused"), "{}", ran.err);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(used(), before, "it used processor time while frozen");
    lab.ask("unpause", &["box"]);
    assert!(wait_until(SOON, || used() > before), "it goes on");
    drop(running);
}

fn kill() {
    let lab = Lab::new();
    let script = "echo; trap '' TERM; sleep 100 & sleep 100 & wait";
    let mut running = lab.start(&["sh", "-c", script]);
    lab.ask("kill", &["box"]);
    assert_eq!(running.end(), 137);
}

fn kill_v1() {
    let lab = Lab::new();
    let script = "echo; while :; do sleep 0.01 & sleep 0.01; done";
    let mut running = lab.start(&["sh", "-c", script]);
    let mounts = Mounts::of_this_process().expect("the trees").v1_only();
    let group = Group::open_in(&mounts, &format!("{}/box", lab.parent)).expect("its v1 folders");
    group.kill().expect("kill by the freezer");
    assert_eq!(running.end(), 137);
}

fn stats() {
    let lab = Lab::new();
    let work = "n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; echo; sleep 100";
    let _running = lab.start(&["-m", "64m", "--pids-limit", "9", "sh", "-c", work]);
    let stats = lab.stats();
    assert!(stats.cpu.total > 1_000_000, "{:?}", stats.cpu);
    assert!(stats.memory.usage > 0 && stats.memory.usage < 64 << 20, "{:?}", stats.memory);
    assert_eq!(stats.memory.limit, Some(64 << 20));
    assert!(wait_until(SOON, || lab.stats().pids.current == 2), "sh and sleep");
    assert_eq!(stats.pids.limit, Some(9));
    let told = lab.ask("stats", &["box"]);
    assert!(told.contains("of 64 MiB") && told.contains("pids    2 of 9"), "{told}");
}

fn shared_pids() {
    let lab = Lab::new();
    let script = "sleep 4711 & (sleep 4711 & sleep 4711) & exit 3";
    for _ in 0..5 {
        let ran = lab.run(&["--pid", "host", "sh", "-c", script]);
        assert_eq!((ran.code, ran.err.as_str()), (3, ""));
    }
}

fn failed_start() {
    let ran = Lab::new().run(&["-m", "64m", "/no/such/program"]);
    assert_eq!(ran.code, 127, "{}", ran.err);
    let ran = Lab::new().run(&["--pids-limit", "5", "/etc/passwd"]);
    assert_eq!(ran.code, 126, "{}", ran.err);
}

fn kill_9() {
    let lab = Lab::new();
    let mut running = lab.start(&["-m", "64m", "sh", "-c", "echo; sleep 100 & sleep 100"]);
    running.child.kill().expect("kill -9");
    running.end();
}

fn kill_9_early() {
    let lab = Lab::new();
    for step in 0..24 {
        let mut command = lab.command("run", &["-m", "64m", "sleep", "100"]);
        let mut child = command.stderr(Stdio::null()).spawn().expect("start");
        std::thread::sleep(Duration::from_micros(500 * step));
        child.kill().expect("kill -9");
        child.wait().expect("wait");
        lab.assert_nothing_left();
    }
}

fn one_name() {
    let lab = Lab::new();
    let start = |_| {
        let mut command = lab.command("run", &["--name", "box", "sleep", "3"]);
        command.stderr(Stdio::piped()).spawn().expect("start")
    };
    let children: Vec<_> = (0..8).map(start).collect();
    let ended = children.into_iter().map(|child| child.wait_with_output().expect("wait"));
    let (good, refused): (Vec<_>, Vec<_>) = ended.partition(|output| output.status.success());
    let told: Vec<_> =
        refused.iter().map(|output| String::from_utf8_lossy(&output.stderr)).collect();
    assert_eq!(good.len(), 1, "{told:?}");
    assert!(told.iter().all(|told| told.trim_end().ends_with("box is in use")), "{told:?}");
    lab.assert_nothing_left();
}

fn kill_9_frozen() {
    let lab = Lab::new();
    let mut running = lab.start(&["sh", "-c", "echo; sleep 100 & sleep 100"]);
    lab.ask("pause", &["box"]);
    running.child.kill().expect("kill -9");
    running.end();
}

fn nested() {
    // A container that sees its group's folder can make groups in it.
    let script = "mkdir -p MOUNT && mount -t cgroup2 none MOUNT && mkdir MOUNT/a MOUNT/a/b";
    let dir = testkit::temp_dir();
    let mount = dir.path().join("mount").display().to_string();
    let ran = Lab::new().run(&["sh", "-c", &script.replace("MOUNT", &mount)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

fn names() {
    for name in ["..", ".", "../../elsewhere", "a/../../b", "a/./b", "a//b"] {
        let ran = Lab::new().run(&["--name", name, "true"]);
        assert_eq!(ran.code, 125, "{name}");
        assert!(ran.err.contains("is no name for a cgroup"), "{}", ran.err);
    }
    let lab = Lab::new();
    let mut running = lab.start(&["sh", "-c", "echo; sleep 100"]);
    // As a script says it whose variable is not set: not all containers.
    for verb in ["kill", "pause", "stats"] {
        let ran = Ran::from(lab.command(verb, &[""]).output().expect("run"));
        assert_eq!(ran.code, 125, "{verb}");
        assert!(ran.err.contains("a value is required for '<NAME>'"), "{}", ran.err);
    }
    assert!(running.child.try_wait().expect("wait").is_none(), "it was not meant");
    lab.ask("kill", &["box"]);
    running.end();
}

fn many() {
    let lab = Lab::new();
    let start = |_| lab.command("run", &["true"]).stderr(Stdio::piped()).spawn().expect("start");
    let children: Vec<_> = (0..12).map(start).collect();
    for child in children {
        let output = child.wait_with_output().expect("wait");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}");
    }
    lab.assert_nothing_left();
}
