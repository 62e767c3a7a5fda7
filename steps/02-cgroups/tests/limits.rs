//! Limits hold, and are told when they are reached.

mod common;

use std::time::{Duration, Instant};

use cgroups::{Hierarchy, Mounts};
use common::{Lab, SOON};
use testkit::{Needs, test, wait_until};

fn main() {
    testkit::main(vec![
        test("a_memory_limit_kills_and_is_told", &[Needs::Root], memory_kills),
        test("a_killed_grandchild_is_told_too", &[Needs::Root], memory_kills_a_child),
        test("a_pids_limit_stops_a_fork_bomb", &[Needs::Root], fork_bomb),
        test("half_a_processor_is_half_a_processor", &[Needs::Root], cpu_quota),
        test("shares_arrive_at_the_kernel", &[Needs::Root], cpu_shares),
        test("a_cpuset_binds_to_its_processors", &[Needs::Root, Needs::CgroupV1], cpuset),
        test("an_unlisted_device_is_refused", &[Needs::Root], devices),
        test("a_rule_opens_a_device", &[Needs::Root], device_rule),
        test("a_slow_disk_is_slow", &[Needs::Root, Needs::CgroupV1], throttled_disk),
        test("limits_can_be_changed_while_it_runs", &[Needs::Root], update),
        test("a_wrong_limit_is_one_sentence", &[Needs::Root], wrong_limits),
    ])
}

fn memory_kills() {
    // dd fills one buffer of 64 MiB.
    let dd = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    let ran = Lab::new().run(&[&["-m", "16m", "--memory-swap", "16m"], &dd[..]].concat());
    assert_eq!(ran.code, 137, "{}", ran.err);
    assert!(ran.err.contains("killed: out of memory, limit 16 MiB"), "{}", ran.err);
}

fn memory_kills_a_child() {
    let script = "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 7";
    let ran = Lab::new().run(&["-m", "16m", "--memory-swap", "16m", "sh", "-c", script]);
    assert_eq!(ran.code, 7, "{}", ran.err);
    let told = "a process in the container was killed: out of memory, limit 16 MiB";
    assert!(ran.err.contains(told), "{}", ran.err);
}

fn fork_bomb() {
    let bomb = "echo; exec 2> /dev/null; bomb() { bomb | bomb & }; bomb; sleep 100";
    let lab = Lab::new();
    let mut running = lab.start(&["--pids-limit", "20", "sh", "-c", bomb]);
    assert!(wait_until(SOON, || lab.stats().pids.current >= 15), "the bomb goes off");
    assert!(lab.stats().pids.current <= 20);
    assert_eq!(lab.stats().pids.limit, Some(20));
    lab.ask("kill", &["box"]);
    assert_eq!(running.end(), 137);
}

fn cpu_quota() {
    let lab = Lab::new();
    let _running = lab.start(&["--cpus", "0.5", "sh", "-c", "echo; while :; do :; done"]);
    let (begin, used) = (Instant::now(), lab.stats().cpu.total);
    std::thread::sleep(Duration::from_secs(2));
    let (stats, elapsed) = (lab.stats().cpu, begin.elapsed());
    let share = (stats.total - used) as f64 / elapsed.as_nanos() as f64;
    // A busy machine can give less than the limit; a period can be counted twice.
    assert!((0.05..0.6).contains(&share), "it got {share} of a processor");
    assert!(stats.throttled_periods > 0 && stats.throttled > 0, "{stats:?}");
}

fn cpu_shares() {
    let lab = Lab::new();
    let _running = lab.start(&["--cpu-shares", "512", "sh", "-c", "echo; sleep 100"]);
    let trees = Mounts::of_this_process().expect("cgroups are mounted");
    let (mount, file, expected) = match trees.v1.iter().find(|t| t.controllers[0] == "cpu") {
        Some(tree) => (tree.mountpoint.clone(), "cpu.shares", "512"),
        None => (trees.v2.expect("v2").mountpoint, "cpu.weight", "59"),
    };
    let path = mount.join(&lab.parent).join("box").join(file);
    assert_eq!(std::fs::read_to_string(path).expect("read the share").trim(), expected);
}

fn cpuset() {
    let run = |set| {
        let ran = Lab::new().run(&[
            "--cpuset-cpus",
            set,
            "grep",
            "Cpus_allowed_list",
            "/proc/self/status",
        ]);
        ran.out.split_whitespace().last().map(String::from)
    };
    assert_eq!(run("0").as_deref(), Some("0"));
    if cgroups::Machine::this().cpus.contains(&1) {
        assert_eq!(run("1").as_deref(), Some("1"));
    }
}

/// A node of the kernel's log in a folder of the test: 1:11 is in no default.
fn with_kmsg(flags: &[&str], script: &str) -> common::Ran {
    let dir = testkit::temp_dir();
    let node = dir.path().join("node");
    let script = script.replace("NODE", &node.display().to_string());
    Lab::new().run(&[flags, &["sh", "-c", &script]].concat())
}

fn devices() {
    // Making the node is allowed, as Docker has it; it is opening that counts.
    let ran = with_kmsg(&[], "mknod NODE c 1 11 && : < NODE");
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("Operation not permitted"), "{}", ran.err);
    let ran = with_kmsg(&[], "mknod NODE c 1 3 && : < NODE && echo > NODE && head -c1 /dev/zero");
    assert_eq!(ran.code, 0, "{}", ran.err);
}

fn device_rule() {
    let allow_reading = ["--device-cgroup-rule", "c 1:11 r"];
    let ran = with_kmsg(&allow_reading, "mknod NODE c 1 11 && : < NODE");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = with_kmsg(&allow_reading, "mknod NODE c 1 11 && : >> NODE");
    assert!(ran.err.contains("Operation not permitted"), "{}", ran.err);
}

fn throttled_disk() {
    let dir = testkit::temp_dir();
    let Some(disk) = disk_of(dir.path()) else { return };
    let file = dir.path().join("file").display().to_string();
    let rate = format!("{disk}:1mb");
    let begin = Instant::now();
    let ran = Lab::new().run(&[
        "--device-write-bps",
        &rate,
        "dd",
        "if=/dev/zero",
        &format!("of={file}"),
        "bs=256k",
        "count=8",
        "oflag=direct",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(begin.elapsed() > Duration::from_millis(1500), "2 MiB took {:?}", begin.elapsed());
}

/// The whole disk on which a folder is, if it is on one.
fn disk_of(folder: &std::path::Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let dev = folder.metadata().ok()?.dev();
    let name = std::fs::read_to_string(format!(
        "/sys/dev/block/{}:{}/uevent",
        nix::sys::stat::major(dev),
        nix::sys::stat::minor(dev)
    ));
    let name = name.ok()?;
    let name = name.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(format!("/dev/{name}"))
}

fn update() {
    let lab = Lab::new();
    let script = "echo; trap 'dd if=/dev/zero of=/dev/null bs=64M count=1' USR1; sleep 100";
    let _running = lab.start(&["-m", "256m", "--pids-limit", "10", "sh", "-c", script]);
    lab.ask("update", &["-m", "32m", "--pids-limit", "20", "box"]);
    assert_eq!(lab.stats().memory.limit, Some(32 << 20));
    assert_eq!(lab.stats().pids.limit, Some(20));
    lab.ask("update", &["-m", "512m", "--cpus", "0.5", "box"]);
    assert_eq!(lab.stats().memory.limit, Some(512 << 20));
    assert_eq!(lab.stats().pids.limit, Some(20));
}

fn wrong_limits() {
    let refused = |args: &[&str]| {
        let ran = Lab::new().run(&[args, &["true"]].concat());
        assert_eq!(ran.code, 125, "{ran:?}");
        ran.err
    };
    assert!(refused(&["-m", "4m"]).contains("the minimum is 6 MiB"));
    assert!(refused(&["-m", "64m", "--memory-swap", "32m"]).contains("memory and swap together"));
    assert!(refused(&["--cpus", "10000"]).contains("which is what this machine has"));
    assert!(refused(&["--cpuset-cpus", "8000"]).contains("not available"));
    assert!(refused(&["-m", "lots"]).contains("is not a size"));
    assert!(refused(&["--device-read-bps", "/dev/null:1mb"]).contains("no block device"));
    if Hierarchy::detect() == Some(Hierarchy::V2) {
        assert!(refused(&["--memory-swappiness", "5"]).contains("only cgroup v1 has it"));
    }
}
