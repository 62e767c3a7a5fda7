//! Limits hold, and are told when they are reached.

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cgroups::{Group, Hierarchy, Limits, Mounts};
use common::{Lab, SOON};
use testkit::{Needs, test, wait_until};

fn main() {
    testkit::main(vec![
        test("a_memory_limit_kills_and_is_told", &[Needs::Root], memory_kills),
        test("a_killed_grandchild_is_told_too", &[Needs::Root], memory_kills_a_child),
        test("a_pids_limit_stops_a_fork_bomb", &[Needs::Root], fork_bomb),
        test("a_tenth_of_a_processor_is_no_more", &[Needs::Root], cpu_quota),
        test("shares_arrive_at_the_kernel", &[Needs::Root], cpu_shares),
        test("a_cpuset_binds_to_its_processors", &[Needs::Root, Needs::CgroupV1], cpuset),
        test("a_cpuset_can_be_asked_for_later", &[Needs::Root, Needs::CgroupV1], late_cpuset),
        test("an_unlisted_device_is_refused", &[Needs::Root], devices),
        test("a_rule_opens_a_device", &[Needs::Root], device_rule),
        test(
            "a_slow_disk_is_slow",
            &[Needs::Root, Needs::CgroupV1, Needs::Program("losetup")],
            throttled_disk,
        ),
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
    // Shells that cannot fork die. The first one forks once, while it still can, and
    // then waits in a built-in.
    let bomb = "bomb() { bomb | bomb & }; bomb & read nothing";
    let lab = Lab::new();
    let mut command =
        lab.command("run", &["-i", "--pids-limit", "20", "--name", "box", "sh", "-c", bomb]);
    let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start the binary");
    let name = format!("{}/box", lab.parent);
    assert!(wait_until(SOON, || Group::open(&name).is_ok()), "it starts");
    std::thread::sleep(Duration::from_secs(1));
    let pids = lab.stats().pids;
    assert!(pids.current <= 20 && pids.limit == Some(20), "{pids:?}");
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("wait for the binary");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("Cannot fork"), "the bomb went off and was stopped: {err}");
    lab.assert_nothing_left();
}

fn cpu_quota() {
    let lab = Lab::new();
    let _running = lab.start(&["--cpus", "0.1", "sh", "-c", "echo; while :; do :; done"]);
    let (begin, used) = (Instant::now(), lab.stats().cpu.total);
    std::thread::sleep(Duration::from_secs(2));
    let (stats, elapsed) = (lab.stats().cpu, begin.elapsed());
    let share = (stats.total - used) as f64 / elapsed.as_nanos() as f64;
    // A busy machine can give less than the limit; a period more can be counted.
    assert!(share < 0.15, "it got {share} of a processor");
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

fn late_cpuset() {
    let lab = Lab::new();
    let mut running = lab.start(&["sh", "-c", "echo; exec sleep 100"]);
    let limits = Limits { cpuset_cpus: Some("0".into()), ..Limits::default() };
    lab.group().update(&limits).expect("a processor that is there");
    let sleep = lab.group().pids().expect("list them")[0];
    let status = std::fs::read_to_string(format!("/proc/{sleep}/status")).expect("it lives");
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    lab.ask("kill", &["box"]);
    assert_eq!(running.end(), 137);
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
    let disk = LoopDevice::new();
    let (rate, source) = (format!("{}:1mb", disk.0), format!("if={}", disk.0));
    let read = ["dd", &source, "of=/dev/null", "bs=256k", "count=8", "iflag=direct"];
    let flags = ["--device-read-bps", &rate, "--device-cgroup-rule", "b 7:* r"];
    let begin = Instant::now();
    let ran = Lab::new().run(&[&flags[..], &read].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(begin.elapsed() > Duration::from_millis(1500), "2 MiB took {:?}", begin.elapsed());
}

/// A disk of our own: 4 MiB in a temporary file.
struct LoopDevice(String, #[allow(dead_code, reason = "the file goes with it")] tempfile::TempDir);

impl LoopDevice {
    fn new() -> Self {
        let dir = testkit::temp_dir();
        let file = dir.path().join("disk");
        std::fs::write(&file, vec![0; 4 << 20]).expect("write the disk");
        let losetup = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let name = String::from_utf8(losetup.expect("run losetup").stdout).expect("its name");
        assert!(name.starts_with("/dev/loop"), "losetup says {name:?}");
        Self(name.trim().into(), dir)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
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
