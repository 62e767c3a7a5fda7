//! The verbs of a container's life, asked through the command line.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

use engine::{Engine, finish};

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const NETWORK: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Network];

fn main() {
    testkit::main(testkit::tests![
        ROOT processes_are_shown_as_the_hosts_ps_sees_them,
        ROOT a_container_takes_another_name,
        ROOT the_name_of_one_that_is_stopped_and_goes_is_free_at_once,
        NETWORK published_ports_are_shown,
        ROOT a_terminal_is_left_by_keys_and_joined_again,
        ROOT an_attached_client_sees_the_output_and_the_end,
        ROOT logs_are_read_from_and_until_a_time,
        ROOT an_exec_that_cannot_run_says_why,
        ROOT what_asks_no_engine_needs_no_store,
        ROOT a_result_that_finds_no_room_is_told,
    ])
}

fn processes_are_shown_as_the_hosts_ps_sees_them() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "box", "host", "sh", "-c", "sleep 1001 & exec sleep 1002"]);
    let both = || engine.tell(&["top", "box"]).matches("sleep 100").count() == 2;
    assert!(wait_until(Duration::from_secs(5), both), "{}", engine.tell(&["top", "box"]));
    assert!(
        engine.tell(&["top", "box"]).starts_with("UID                 PID                 PPID")
    );
    let shown = engine.tell(&["top", "box", "-o", "pid,comm"]);
    assert!(shown.starts_with("PID                 COMMAND\n"), "{shown}");
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let refusals = [
        (&["top", "box", "-o", "comm"][..], "Couldn't find PID field in ps output"),
        (&["top", "box", "--bogus"], "ps: error: unknown gnu long option"),
        (&["top", "nosuch"], "No such container: nosuch"),
    ];
    for (words, sentence) in refusals {
        let said = engine.ask(words);
        assert!(said.code == 1 && said.err.contains(sentence), "{words:?}: {said:?}");
    }
    engine.tell(&["kill", "box"]);
    assert!(engine.ask(&["top", "box"]).err.contains("is not running"));
    engine.tell(&["rm", "box"]);
    engine.assert_nothing_left();
}

fn a_container_takes_another_name() {
    let engine = Engine::new();
    engine.run(&["-d", "--rm", "--name", "old", "host", "sleep", "1000"]);
    engine.run(&["-d", "--name", "other", "host", "sleep", "1000"]);
    let taken = engine.ask(&["rename", "old", "other"]);
    assert!(taken.code == 1 && taken.err.contains("is already in use by container"), "{taken:?}");
    let same = engine.ask(&["rename", "old", "old"]);
    assert!(same.err.contains("with the same name as its current name"), "{same:?}");
    assert!(engine.ask(&["rename", "old", "a b"]).err.contains("Invalid container name (a b)"));
    engine.tell(&["rename", "old", "new"]);
    assert_eq!(engine.tell(&["inspect", "-f", "{{.Name}}", "new"]), "/new");
    assert_eq!(engine.ask(&["inspect", "--type", "container", "old"]).code, 1);
    // The old name is free, and the new one goes with the container.
    engine.tell(&["rename", "other", "old"]);
    engine.tell(&["kill", "new"]);
    engine.tell(&["rm", "-f", "old"]);
    engine.assert_nothing_left();
}

fn the_name_of_one_that_is_stopped_and_goes_is_free_at_once() {
    let engine = Engine::new();
    for end in [["stop", "-t", "0", "box"], ["kill", "-s", "KILL", "box"]] {
        for _ in 0..10 {
            let run = engine.run(&["-d", "--rm", "--name", "box", "host", "sleep", "1000"]);
            assert_eq!(run.code, 0, "{run:?}");
            engine.tell(&end);
            assert_eq!(engine.tell(&["ps", "-aq"]), "");
        }
    }
    engine.assert_nothing_left();
}

fn published_ports_are_shown() {
    let engine = Engine::with_network();
    let ports = ["-p", "127.0.0.1:8080:80", "-p", "9000:9/udp", "--expose", "10"];
    engine.run(&[&["-d", "--name", "box"], &ports[..], &["host", "sleep", "1000"]].concat());
    let all = engine.tell(&["port", "box"]);
    assert!(
        all.starts_with("9/udp -> 0.0.0.0:9000") && all.ends_with("80/tcp -> 127.0.0.1:8080"),
        "{all}"
    );
    assert_eq!(engine.tell(&["port", "box", "80"]), "127.0.0.1:8080");
    let none = engine.ask(&["port", "box", "10"]);
    assert!(
        none.code == 1 && none.err.contains("No public port '10' published for box"),
        "{none:?}"
    );
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

/// What a command says in a terminal when it is given these keys, and its exit code.
fn in_terminal(engine: &Engine, words: &[&str], until: &str, keys: &[u8]) -> (String, i32) {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let end = || Stdio::from(slave.try_clone().unwrap());
    let mut command = engine.command(words);
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    drop(command);
    nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
        .unwrap();
    let mut terminal = fs::File::from(master);
    let (mut seen, mut typed, mut code) = (String::new(), false, None);
    let done = wait_until(Duration::from_secs(20), || {
        code = child.try_wait().unwrap();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = terminal.read(&mut buffer) {
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        // Before that the terminal would take ^U and the like for itself.
        let is_raw = || !tcgetattr(&terminal).unwrap().local_flags.contains(LocalFlags::ICANON);
        if !typed && seen.contains(until) && is_raw() {
            typed = true;
            terminal.write_all(keys).unwrap();
        }
        code.is_some()
    });
    if !done {
        child.kill().unwrap();
        panic!("{words:?} does not end: {seen:?}");
    }
    (seen, code.and_then(|code| code.code()).unwrap_or(-1))
}

const LEAVE: &[u8] = b"\x10\x11";

fn a_terminal_is_left_by_keys_and_joined_again() {
    let engine = Engine::new();
    engine.ask(&["pull", "-q", "host"]);
    let words =
        engine.words(&["-it", "--name", "box", "host", "sh", "-c", "PS1='READY> ' exec sh"]);
    let (_, code) = in_terminal(&engine, &words, "READY> ", LEAVE);
    assert_eq!(code, 0, "who leaves run has done nothing wrong");
    assert_eq!(engine.tell(&["inspect", "-f", "{{.State.Running}}", "box"]), "true");
    let (seen, code) = in_terminal(&engine, &["attach", "--detach-keys", "a,b", "box"], "", b"xab");
    assert!(code == 1 && seen.contains("read escape sequence"), "{seen:?} {code}");
    let exec =
        ["exec", "-it", "--detach-keys", "ctrl-a", "box", "sh", "-c", "echo in; exec sleep 100"];
    let (seen, code) = in_terminal(&engine, &exec, "in", b"\x01");
    assert!(code == 1 && seen.contains("read escape sequence"), "{seen:?} {code}");
    // ^U takes back the x that was typed before.
    let (seen, code) = in_terminal(&engine, &["attach", "box"], "", b"\x15exit 4\r");
    assert_eq!(code, 4, "{seen:?}");
    let refused = engine.ask(&["attach", "--detach-keys", "bogus", "box"]);
    assert!(refused.err.contains("cannot attach to a stopped container"), "{refused:?}");
    let (_, code) = in_terminal(&engine, &["start", "-ai", "box"], "READY> ", LEAVE);
    assert_eq!(code, 0);
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn an_attached_client_sees_the_output_and_the_end() {
    let engine = Engine::new();
    engine.run(&["-di", "--name", "box", "host", "sh", "-c", "read line; echo got $line; exit 6"]);
    let mut command = engine.command(&["attach", "box"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"it\n").unwrap();
    let said = finish(child);
    assert_eq!((said.code, said.out.as_str()), (6, "got it\n"), "{said:?}");
    // Started again, with what it says; and with its input.
    let mut command = engine.command(&["start", "-i", "box"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"more\n").unwrap();
    assert_eq!(finish(child).out, "got more\n");
    let several = engine.ask(&["start", "-a", "box", "box"]);
    assert!(several.err.contains("multiple containers at once"), "{several:?}");
    engine.tell(&["rm", "box"]);
    engine.assert_nothing_left();
}

fn logs_are_read_from_and_until_a_time() {
    let engine = Engine::new();
    engine.run(&["--name", "box", "host", "sh", "-c", "echo one; sleep 0.2; echo two"]);
    let stamped = engine.tell(&["logs", "-t", "box"]);
    let times: Vec<_> = stamped.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    let logs = |words: &[&str]| engine.tell(&[&["logs"], words, &["box"]].concat());
    assert_eq!(logs(&["--since", times[1]]), "two");
    assert_eq!(logs(&["--until", times[0]]), "one");
    for all in [
        ["--since", "1h"],
        ["--since", "1.5h"],
        ["--tail", "-1"],
        ["--tail", "all"],
        ["--until", "-1h"],
    ] {
        assert_eq!(logs(&all), "one\ntwo", "{all:?}");
    }
    assert_eq!(logs(&["--details", "-n", "1"]), "two");
    let refused = engine.ask(&["logs", "--since", "bogus", "box"]);
    let sentence =
        "invalid value for \"since\": failed to parse value as time or duration: \"bogus\"";
    assert!(refused.code == 1 && refused.err.contains(sentence), "{refused:?}");
    engine.tell(&["rm", "box"]);
    engine.assert_nothing_left();
}

fn an_exec_that_cannot_run_says_why() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "box", "host", "sleep", "100"]);
    let cases = [
        (&["exec", "-w", "/nosuch", "box", "true"][..], 127, "working directory /nosuch"),
        (&["exec", "box", "nosuch"], 127, "executable file not found in $PATH"),
        (&["exec", "box", "/etc"], 126, "/etc"),
        (&["exec", "box", "--", "true"], 127, "--"),
        (&["exec", "-d", "box", "nosuch"], 1, "executable file not found in $PATH"),
        (&["exec", "-it", "box", "true"], 1, "the input device is not a TTY"),
        (&["exec", "-u", "nosuch", "box", "true"], 126, "has no such name"),
        (&["exec", "nosuch", "true"], 1, "No such container"),
    ];
    for (words, code, sentence) in cases {
        let said = engine.ask(words);
        assert_eq!((said.code, said.err.lines().count()), (code, 1), "{words:?}: {said:?}");
        assert!(said.err.contains(sentence), "{words:?}: {said:?}");
    }
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn what_asks_no_engine_needs_no_store() {
    let engine = Engine::new();
    engine.tell(&["completion", "bash"]);
    assert_eq!(fs::read_dir(engine.root.path()).unwrap().count(), 0, "something was made");
    // Even if it could not be used.
    fs::write(engine.root.path().join("version"), r#"{"version":99}"#).unwrap();
    engine.tell(&["completion", "bash"]);
    engine.tell(&["doctor"]);
    let unset = engine.command(&["completion", "bash"]).env("CORACLE_ROOT", "").output().unwrap();
    assert!(unset.status.success(), "{unset:?}");
}

fn a_result_that_finds_no_room_is_told() {
    let engine = Engine::new();
    for words in [&["--help"][..], &["run", "--help"], &["--version"], &["ps"], &["version"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let said = engine.command(words).stdout(full).output().unwrap();
        let why = "coracle: write to standard output: No space left on device (os error 28)\n";
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!((said.status.code(), &*err), (Some(1), why), "{words:?}");
        // Nobody there is no error, and no sentence.
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let said = engine.command(words).stdout(writer).output().unwrap();
        assert_eq!((said.status.code(), said.stderr.len()), (Some(141), 0), "{words:?}");
    }
}
