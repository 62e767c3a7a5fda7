//! `run` without a terminal.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use namespaces::DEFAULT_PATH;
use nix::sys::signal::Signal;
use testkit::{Leftovers, temp_dir, wait_until};

use crate::who::{Answer, Who, binary, for_all, for_one};

pub fn tests() -> Vec<Trial> {
    [
        for_all("the_program_is_pid_1_and_sees_only_its_own_processes", pid_1),
        for_all("the_container_has_a_name_of_its_own", hostname),
        for_all("every_namespace_is_another_one", every_namespace_is_another_one),
        for_all("what_is_to_be_shared_is_shared", shared),
        for_all("the_exit_code_is_the_programs", exit_codes),
        for_all("a_caller_that_ignores_its_children_gets_the_code", careless_caller),
        for_all("a_program_that_cannot_run_is_one_sentence_and_dockers_code", cannot_run),
        for_all("nothing_is_inherited_by_accident", nothing_is_inherited),
        for_all("standard_input_is_empty_without_i", stdin),
        for_all("signals_are_passed_on", signals),
        for_all("what_cannot_be_told_ends_nothing", nobody_listens),
        for_all("the_third_request_to_end_is_none", third_request),
        for_all("init_reaps_zombies_and_forwards_signals", init),
        for_all("a_killed_run_leaves_nothing", killed_run),
        for_all("variables_come_from_flags_and_files", variables),
        for_all("the_working_directory_is_the_one_asked_for", workdir),
        for_all("the_timeline_tells_how_the_container_was_made", timeline),
        for_all("bad_input_is_one_sentence", bad_input),
        vec![
            for_one("the_program_runs_as_who_it_should", Who::Root, users),
            for_one("the_program_runs_as_who_it_should", Who::User, users),
            for_one("root_without_its_rights_is_told_so", Who::Root, powerless_root),
            for_one("a_covered_proc_is_not_uncovered", Who::Nobody, covered_proc),
            for_one("there_is_nobody_but_root", Who::Nobody, nobody_but_root),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn pid_1(who: Who) {
    let out = who.sh("", "echo $$; cd /proc; echo [0-9]*").ok();
    assert_eq!(out, "1\n1\n");
}

fn hostname(who: Who) {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let out = who
        .sh(
            "-h box --domainname harbour",
            "uname -n; echo $HOSTNAME; cat /proc/sys/kernel/domainname",
        )
        .ok();
    assert_eq!(out, "box\nbox\nharbour\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    let told = who.sh("--uts host --hostname box", "true").refused(125);
    assert_eq!(told, "--hostname and --domainname would rename the host, which --uts host shares");
}

const KINDS: [&str; 6] = ["pid", "mnt", "uts", "ipc", "net", "cgroup"];

/// `pid:[4026531836]` and so on, of this test's own process.
fn own(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

fn every_namespace_is_another_one(who: Who) {
    for kind in KINDS {
        let theirs = who.sh("", &format!("readlink /proc/self/ns/{kind}")).ok();
        assert!(theirs.starts_with(kind) && theirs.trim() != own(kind), "{theirs}");
    }
    let user = who.sh("", "readlink /proc/self/ns/user").ok();
    assert_eq!(user.trim() == own("user"), who == Who::Root);
}

fn shared(who: Who) {
    let flags = "--pid host --ipc host --uts host --cgroupns host";
    for kind in ["pid", "uts", "ipc", "cgroup"] {
        let theirs = who.sh(flags, &format!("readlink /proc/self/ns/{kind}")).ok();
        assert_eq!(theirs.trim(), own(kind));
    }
    let answer = who.sh("--userns host", "readlink /proc/self/ns/user");
    match who {
        Who::Root => assert_eq!(answer.ok().trim(), own("user")),
        _ => assert_eq!(
            answer.refused(125),
            "clone3(CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWNET|CLONE_NEWCGROUP): \
             Operation not permitted: only root, or root of a user namespace, may make these"
        ),
    }
}

fn exit_codes(who: Who) {
    for code in [0, 1, 7, 125, 126, 127, 128, 137, 200, 255] {
        assert_eq!(who.sh("", &format!("exit {code}")).code, code);
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        assert_eq!(who.sh("--init", &format!("kill -{signal} $$")).code, code);
    }
    // Pid 1 gets only the signals that it handles.
    assert_eq!(who.sh("", "kill -TERM $$; exit 3").code, 3);
}

fn careless_caller(who: Who) {
    let script = "trap '' CHLD; exec \"$@\"";
    for flags in ["", "--init"] {
        let mut command = who.command("sh");
        command.args(["-c", script, "sh"]).arg(binary()).arg("run");
        command.args(flags.split_whitespace()).args(["sh", "-c", "exit 7"]);
        let answer = Answer::of(&mut command);
        assert_eq!((answer.code, answer.err.as_str()), (7, ""));
    }
}

fn cannot_run(who: Who) {
    let dir = temp_dir();
    let file = |name: &str, text: &[u8], mode| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let plain = file("plain", b"#!/bin/sh\n", 0o644);
    let foreign = file("foreign", b"\x7fELF of another machine", 0o755);
    let orphan = file("orphan", b"#!/no/such/interpreter\n", 0o755);
    let folder = dir.path().display().to_string();
    let cases = [
        ("nope", 127, "exec nope: executable file not found in $PATH"),
        ("/no/such/file", 127, "exec /no/such/file: No such file or directory"),
        (&plain, 126, "exec FILE: Permission denied"),
        (&folder, 126, "exec FILE: Is a directory"),
        (
            &foreign,
            126,
            "exec FILE: Exec format error: it is not built for this machine, or has no #! line",
        ),
        (
            &orphan,
            127,
            "exec FILE: No such file or directory: the file is there, but the interpreter it asks for \
             (its loader, or what follows #!) is not",
        ),
    ];
    for init in ["", "--init"] {
        for (program, code, sentence) in cases {
            let told =
                Answer::of(&mut who.namespaces(&format!("run {init} {program}"))).refused(code);
            assert_eq!(told, sentence.replace("FILE", program));
        }
    }
}

fn nothing_is_inherited(who: Who) {
    let outside = "exec 7</etc/passwd 8>&1 9</; umask 077; \
        trap '' INT TERM PIPE USR1 HUP; exec \"$@\"";
    let cases = [
        // Descriptor 3 is the folder that ls is reading.
        ("ls /proc/self/fd", "0\n1\n2\n3\n"),
        ("grep SigBlk /proc/self/status", "SigBlk:\t0000000000000000\n"),
        ("grep SigIgn /proc/self/status", "SigIgn:\t0000000000000000\n"),
        ("grep Umask /proc/self/status", "Umask:\t0022\n"),
        ("env", "PATH=DEFAULT\nHOSTNAME=container\nHOME=/root\n"),
    ];
    for (inside, seen) in cases {
        for init in [None, Some("--init")] {
            let mut command = who.command("sh");
            command.env("SECRET", "1").args(["-c", outside, "sh"]).arg(binary()).arg("run");
            let out = Answer::of(command.args(init).args(inside.split(' '))).ok();
            assert_eq!(out.replace(DEFAULT_PATH, "DEFAULT"), seen);
        }
    }
}

fn stdin(who: Who) {
    let ask = |flags: &str| {
        let mut command = who.namespaces(&format!("run {flags} cat"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"hello");
        let output = child.wait_with_output().unwrap();
        (output.status.code(), output.stdout)
    };
    assert_eq!(ask("-i"), (Some(0), b"hello".to_vec()));
    assert_eq!(ask(""), (Some(0), b"".to_vec()));
}

fn nobody_listens(who: Who) {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let code = |command: &mut Command| command.status().unwrap().code();
    let explained = &mut who.namespaces("run --explain sh -c");
    assert_eq!(code(explained.arg("exit 7").stderr(full())), Some(7));
    assert_eq!(code(who.namespaces("run nope").stderr(full())), Some(127));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(code(who.namespaces("run --explain true").stderr(writer)), Some(0));
    // A result that cannot be printed is an error; one that nobody wants is none.
    let told = Answer::of(who.namespaces("doctor").stdout(full())).refused(125);
    assert_eq!(told, "write to standard output: No space left on device");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let doctor = Answer::of(who.namespaces("doctor").stdout(writer));
    assert_eq!((doctor.err.as_str(), doctor.out.as_str()), ("", ""));
}

/// Starts a container whose script says `ready` when it is.
fn start(who: Who, flags: &str, script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = who.namespaces(&format!("run {flags} sh -c"));
    let mut child = command.arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn send(child: &Child, signal: Signal) {
    send_number(child, signal as i32);
}

/// Realtime signals have only numbers.
fn send_number(child: &Child, signal: i32) {
    let (signal, pid) = (format!("-{signal}"), child.id().to_string());
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

fn rest(mut out: impl Read) -> String {
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    text
}

fn signals(who: Who) {
    use Signal::*;
    let named = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGQUIT, SIGWINCH, SIGPWR, SIGIO];
    // SIGRTMIN+3, by which systemd is told to halt, and the highest one.
    for signal in named.map(|signal| signal as i32).into_iter().chain([37, 64]) {
        let script = format!(
            "trap 'echo got {signal}; exit 5' {signal}; echo ready; while :; do sleep 0.02; done"
        );
        for flags in ["", "--init"] {
            let (mut child, out) = start(who, flags, &script);
            send_number(&child, signal);
            assert_eq!(rest(out), format!("got {signal}\n"));
            assert_eq!(child.wait().unwrap().code(), Some(5));
        }
    }
}

fn third_request(who: Who) {
    let (mut child, out) = start(who, "", "trap '' INT TERM; echo ready; exec sleep 60");
    for _ in 0..2 {
        send(&child, Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(child.try_wait().unwrap(), None, "it may ignore two");
    }
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert_eq!(rest(out), "");
}

fn init(who: Who) {
    // The shell in the middle leaves two orphans, which end later: nobody's but init's.
    let script = "sh -c 'sleep 0.02 & sleep 0.02 &'; sleep 0.3; grep -l '^State:.Z' /proc/[0-9]*/status; \
        trap 'echo got; exit 6' TERM; echo ready; while :; do sleep 0.02; done";
    let (mut child, out) = start(who, "--init", script);
    send(&child, Signal::SIGTERM);
    assert_eq!(rest(out), "got\n");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    // With pids shared, init is not pid 1, and still does its work.
    let out = who
        .sh("--init --pid host", "sh -c 'sleep 0.02 &'; sleep 0.2; ps -o stat= --ppid $PPID")
        .ok();
    assert!(!out.contains('Z') && !out.is_empty(), "{out}");
}

fn killed_run(who: Who) {
    for flags in ["", "--init", "--pid host", "--init --pid host"] {
        let mark = format!("MARK={:?}-{}-{}", who, std::process::id(), flags.replace(' ', ""));
        let leftovers = Leftovers::matching(&[&mark]);
        let (mut child, out) =
            start(who, &format!("{flags} -e {mark}"), "echo ready; exec sleep 60");
        assert!(!leftovers.found().is_empty(), "the container is there");
        child.kill().unwrap();
        child.wait().unwrap();
        // The end of the pipe: neither the container nor the sentinel hold it.
        assert_eq!(rest(out), "");
        assert!(
            wait_until(Duration::from_secs(3), || leftovers.found().is_empty()),
            "{:?}",
            leftovers.found()
        );
    }
}

fn variables(who: Who) {
    let dir = temp_dir();
    let file = dir.path().join("env");
    fs::write(&file, "# a comment\nA=from file\nB=two words \nCALLER\nGONE\n").unwrap();
    let mut command = who.namespaces("run -e A=flag -e CALLER -e GONE -e EMPTY= --env-file");
    command.arg(&file).args(["sh", "-c", "env | sort | grep -vE '^(PATH|PWD|HOME)='"]);
    let out = Answer::of(command.env("CALLER", "calls").env_remove("GONE")).ok();
    assert_eq!(out, "A=flag\nB=two words \nCALLER=calls\nEMPTY=\nHOSTNAME=container\n");
}

fn workdir(who: Who) {
    assert_eq!(who.sh("-w /usr/bin", "pwd").ok(), "/usr/bin\n");
    assert_eq!(who.sh("-w / --init -w /usr --init", "pwd").ok(), "/usr\n");
    let told = who.sh("-w /no/such/folder", "true").refused(127);
    assert_eq!(told, "change to the working directory /no/such/folder: No such file or directory");
    let told = who.sh("-w relative", "true").refused(125);
    assert_eq!(told, "the working directory relative is not an absolute path");
}

fn users(who: Who) {
    assert_eq!(who.sh("-u 12:34", "id -u; id -g; id -G").ok(), "12\n34\n34\n");
    assert_eq!(who.sh("-u 1234", "id -u; id -g; echo $HOME").ok(), "1234\n0\n/\n");
    assert_eq!(who.sh("-u daemon", "id -un; id -gn; [ $HOME = ~daemon ]").ok(), "daemon\ndaemon\n");
    assert_eq!(who.sh("-u daemon:mail", "id -gn; id -Gn").ok(), "mail\nmail\n");
    // Standard output is a pipe that the new user may open again.
    let script = "\"$0\" run -u 12 sh -c 'echo again >/dev/stdout' | cat";
    let mut piped = who.command("sh");
    assert_eq!(Answer::of(piped.args(["-c", script]).arg(binary())).ok(), "again\n");
    // Nothing of root is left.
    let capabilities = who.sh("-u 12", "grep -E 'Cap(Prm|Eff)' /proc/self/status").ok();
    assert!(
        !capabilities.contains(|c: char| "123456789abcdef".contains(c) && !"CapPrmEff".contains(c)),
        "{capabilities}"
    );
}

fn nobody_but_root(who: Who) {
    assert_eq!(who.sh("", "id -u; cat /proc/self/setgroups").ok(), "0\ndeny\n");
    assert_eq!(who.sh("-u root", "id -u").ok(), "0\n");
    assert_eq!(
        who.sh("-u 12", "true").refused(125),
        "become user 12: Invalid argument: this id is not mapped into the container's user namespace; \
         more ids take a range in /etc/subuid and /etc/subgid, and newuidmap"
    );
}

/// As inside Docker.
fn powerless_root(who: Who) {
    let mut command = who.command("setpriv");
    command.args(["--inh-caps=-sys_admin", "--bounding-set=-sys_admin"]).arg(binary());
    assert_eq!(
        Answer::of(command.args(["run", "true"])).refused(125),
        "clone3(CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWNET|CLONE_NEWCGROUP): \
         Operation not permitted: root here lacks CAP_SYS_ADMIN, as inside Docker; `doctor` says more"
    );
}

/// As inside Docker, which covers parts of /proc. Only root can set the stage.
fn covered_proc(_: Who) {
    let script = "mount -t tmpfs none /proc/bus && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" run true";
    let mut command = Command::new("unshare");
    let told = Answer::of(command.args(["--mount", "sh", "-c", script]).arg(binary())).refused(125);
    assert_eq!(
        told,
        "mount proc on /proc: Operation not permitted: the kernel gives a new /proc only to who sees the \
         old one whole, and here parts of it are covered, as inside Docker; run it there with \
         --security-opt systempaths=unconfined"
    );
}

/// Times, pids and ids differ, and where a shell is; nothing else may.
fn timeline(who: Who) {
    let answer = who.sh("--explain --init", "exit 0");
    assert_eq!(answer.code, 0);
    let filters = [
        (r" +\d+ µs   ch\. 1\n", "\n"),
        (r"/proc/\d+/", "/proc/PID/"),
        (r"_map  0 \d+ 1", "_map  0 OWN 1"),
        (r"(new.idmap) \d+ 0 \d+ 1 1 .*", "$1 PID 0 OWN 1 1 RANGE"),
        (r#"execve\(".*/sh"\)"#, r#"execve("sh")"#),
    ];
    insta::with_settings!({ filters => filters }, {
        match who {
            Who::Root => insta::assert_snapshot!(answer.err, @r#"
            parent  clone3(CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWNET|CLONE_NEWCGROUP)
             child  mount("/", MS_REC|MS_PRIVATE)
             child  sethostname("container")
             child  mount("proc", "/proc", "proc")
             child  fork()  pid 1 stays as init
             child  execve("sh")
            "#),
            Who::User => insta::assert_snapshot!(answer.err, @r#"
            parent  clone3(CLONE_NEWUSER|CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWNET|CLONE_NEWCGROUP)
            parent  newuidmap PID 0 OWN 1 1 RANGE
            parent  newgidmap PID 0 OWN 1 1 RANGE
             child  setgroups([])
             child  setresgid(0), setresuid(0)
             child  mount("/", MS_REC|MS_PRIVATE)
             child  sethostname("container")
             child  mount("proc", "/proc", "proc")
             child  fork()  pid 1 stays as init
             child  execve("sh")
            "#),
            Who::Nobody => insta::assert_snapshot!(answer.err, @r#"
            parent  clone3(CLONE_NEWUSER|CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWNET|CLONE_NEWCGROUP)
            parent  write /proc/PID/setgroups  deny
            parent  write /proc/PID/uid_map  0 OWN 1
            parent  write /proc/PID/gid_map  0 OWN 1
             child  setgroups([])
             child  setresgid(0), setresuid(0)
             child  mount("/", MS_REC|MS_PRIVATE)
             child  sethostname("container")
             child  mount("proc", "/proc", "proc")
             child  fork()  pid 1 stays as init
             child  execve("sh")
            "#),
        }
    });
}

fn bad_input(who: Who) {
    let cases = [
        ("-e =x", "invalid environment variable: =x"),
        (
            "--env-file /no/such/file",
            "read the environment file /no/such/file: No such file or directory",
        ),
        (
            "-u no-such-user",
            "find the user no-such-user: the container's /etc/passwd has no such name",
        ),
        (
            "-u 0:no-such-group",
            "find the group no-such-group: the container's /etc/group has no such name",
        ),
        ("-t -i", "the input device is not a TTY: leave out -t"),
        (
            "-h 12345678901234567890123456789012345678901234567890123456789012345",
            "\"12345678901234567890123456789012345678901234567890123456789012345\" is no host name: \
             it takes 1 to 64 characters",
        ),
    ];
    for (flags, sentence) in cases {
        assert_eq!(who.sh(flags, "true").refused(125), sentence);
    }
    // What the command line's grammar refuses is said by its parser, with Docker's code.
    for flags in [
        "run",
        "run --no-such-flag true",
        "run --pid elsewhere true",
        "run -u 4294967295 true",
        "nonsense",
    ] {
        let answer = Answer::of(&mut who.namespaces(flags));
        assert_eq!((answer.code, answer.out.as_str()), (125, ""));
        assert!(
            answer.err.starts_with("error: ") || answer.err.contains("Usage"),
            "{}",
            answer.err
        );
    }
}
