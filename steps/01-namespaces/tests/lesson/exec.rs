//! `exec`: a second process in a container.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use testkit::wait_until;

use crate::who::{Answer, Who, for_all, for_one};

pub fn tests() -> Vec<Trial> {
    [
        for_all("exec_joins_every_namespace_of_the_container", joins),
        for_all("exec_is_a_process_like_the_first_one", like_the_first),
        for_all("exec_says_what_it_cannot_join", cannot_join),
        vec![for_one("exec_joins_an_ordinary_users_container", Who::Root, joins_anothers)],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A container that lives as long as this does.
struct Sleeper {
    run: Child,
    pid: String,
}

impl Sleeper {
    fn start(who: Who) -> Self {
        let mut command = who.namespaces("run -h sleeper sh -c");
        let mut run =
            command.arg("echo ready; exec sleep 60").stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        // The shell becomes sleep after it has said so; the other child is the sentinel.
        let mut pid = None;
        let found = wait_until(Duration::from_secs(5), || {
            pid = child_called(run.id(), "sleep");
            pid.is_some()
        });
        assert!(found, "no container");
        let pid = pid.unwrap();
        Self { run, pid }
    }

    fn exec(&self, who: Who, flags: &str, script: &str) -> Answer {
        Answer::of(who.namespaces(&format!("exec {flags} {} sh -c", self.pid)).arg(script))
    }
}

fn child_called(parent: u32, name: &str) -> Option<String> {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let children = read(format!("/proc/{parent}/task/{parent}/children"));
    let is_it = |pid: &&str| read(format!("/proc/{pid}/comm")).trim() == name;
    children.split_whitespace().find(is_it).map(str::to_owned)
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.run.kill();
        let _ = self.run.wait();
    }
}

fn joins(who: Who) {
    let sleeper = Sleeper::start(who);
    let script = "for kind in user mnt pid uts ipc net cgroup; do \
        [ $(readlink /proc/self/ns/$kind) = $(readlink /proc/1/ns/$kind) ] || echo $kind; done; \
        cat /proc/1/comm; uname -n; id -u; id -g";
    assert_eq!(sleeper.exec(who, "", script).ok(), "sleep\nsleeper\n0\n0\n");
    assert_eq!(sleeper.exec(who, "", "exit 42").code, 42);
    assert_eq!(sleeper.exec(who, "", "kill -9 $$").code, 137);
    // The process that joins is born twice, what it did is told once.
    let timeline = sleeper.exec(who, "--explain", "true").err;
    assert_eq!(timeline.matches("setns(").count(), 1, "{timeline}");
}

fn joins_anothers(_: Who) {
    for owner in [Who::User, Who::Nobody] {
        let sleeper = Sleeper::start(owner);
        let out = sleeper.exec(Who::Root, "", "id -u; id -G; cat /proc/1/comm").ok();
        assert_eq!(out, "0\n0\nsleep\n");
    }
}

fn like_the_first(who: Who) {
    let sleeper = Sleeper::start(who);
    let script = "echo $A; pwd; umask; ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status";
    let out = sleeper.exec(who, "-e A=b -w /usr", script).ok();
    insta::allow_duplicates! { insta::assert_snapshot!(out, @r"
    b
    /usr
    0022
    0
    1
    2
    3
    SigBlk:	0000000000000000
    SigIgn:	0000000000000000
    ") }
    if who != Who::Nobody {
        assert_eq!(sleeper.exec(who, "-u 12:34", "id -u; id -g").ok(), "12\n34\n");
    }
    let told = Answer::of(&mut who.namespaces(&format!("exec {} nope", sleeper.pid))).refused(127);
    assert_eq!(told, "exec nope: executable file not found in $PATH");
}

fn cannot_join(who: Who) {
    let own = std::process::id();
    match who {
        Who::Root => {
            let told = Answer::of(&mut who.namespaces(&format!("exec {own} true"))).refused(125);
            assert_eq!(
                told,
                format!("process {own} is in no container: it shares all our namespaces")
            );
        }
        _ => {
            let told = Answer::of(&mut who.namespaces("exec 1 true")).refused(125);
            assert_eq!(
                told,
                "look at /proc/1/ns/user: Permission denied: only its owner or root may join the namespaces of a process"
            );
        }
    }
    let told = Answer::of(&mut who.namespaces("exec 999999999 true")).refused(125);
    assert_eq!(told, "find process 999999999: No such process");
}
