//! What happens is told, to whoever listens, with a daemon and without.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

#[path = "cli/daemon.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod served;

use engine::Engine;
use served::{Daemon, SOON, actions, run};

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const DOCKER: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Program("docker")];
const TERMINAL: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Program("script")];

fn main() {
    testkit::main(testkit::tests![
        ROOT events_are_heard_without_a_daemon,
        ROOT events_are_followed_as_they_happen,
        ROOT images_tell_of_their_names_and_of_their_end,
        DOCKER docker_hears_events_and_waits,
        DOCKER what_is_done_to_a_container_is_told_in_dockers_words,
        TERMINAL an_exec_that_is_left_by_its_keys_is_told,
    ]);
}

fn events_are_heard_without_a_daemon() {
    let engine = Engine::new();
    engine.run(&["--rm", "--name", "told", "-l", "tier=web", "host", "sh", "-c", "exit 3"]);
    let lived = ["create", "attach", "start", "die", "destroy"];
    assert_eq!(actions(&engine, "container=told"), lived);
    assert_eq!(actions(&engine, "label=tier=web"), lived);
    assert_eq!(actions(&engine, "event=die"), ["die"]);
    assert_eq!(actions(&engine, "type=volume"), [""; 0]);
    assert_eq!(actions(&engine, "type=image"), ["pull"]);
    let words = ["events", "--since", "1h", "--until", "0s", "-f", "event=die"];
    let line = engine.tell(&words);
    for part in [" container die ", "exitCode=3", "image=host", "name=told", "tier=web"] {
        assert!(line.contains(part), "{line}");
    }
    let json = engine.tell(&[&words[..], &["--format", "json"]].concat());
    let event: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(event["status"], "die");
    assert_eq!(event["id"], event["Actor"]["ID"]);
    assert_eq!((&event["from"], &event["scope"]), (&"host".into(), &"local".into()));
    assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
    assert_eq!(
        event["timeNano"].as_i64().unwrap() / 1_000_000_000,
        event["time"].as_i64().unwrap()
    );
    engine.tell(&["volume", "create", "data"]);
    engine.run(&["--rm", "-v", "data:/data", "host", "true"]);
    engine.tell(&["volume", "rm", "data"]);
    assert_eq!(actions(&engine, "volume=data"), ["create", "mount", "unmount", "destroy"]);
    engine.assert_nothing_left();
}

fn events_are_followed_as_they_happen() {
    let engine = Engine::new();
    engine.run(&["--name", "before", "host", "true"]);
    let mut command = engine.command(&["events", "-f", "event=die", "--format", "{{.Actor.ID}}"]);
    command.stdout(Stdio::piped());
    let mut listener = testkit::spawn(command).unwrap();
    let mut lines = BufReader::new(listener.0.stdout.take().unwrap()).lines();
    // It listens when it hears of one; what was before it is not heard.
    let mut ids = Vec::new();
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if let Some(Ok(line)) = lines.next() {
            let _ = sender.send(line);
        }
    });
    let first = || {
        let run = engine.words(&["-d", "host", "true"]);
        ids.push(engine.tell(&run));
        heard.recv_timeout(Duration::from_millis(300)).ok()
    };
    let first = std::iter::repeat_with(first).take(50).flatten().next();
    assert!(ids.contains(&first.expect("an event is heard")));
}

fn docker_hears_events_and_waits() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    let daemon = Daemon::start(&engine);
    daemon.tell(&run(
        &engine,
        &["-d", "--rm", "--name", "short", "host", "sh", "-c", "sleep 1; exit 5"],
    ));
    assert_eq!(daemon.tell(&["wait", "short"]), "5");
    let gone = || daemon.tell(&["ps", "-aq"]).is_empty();
    assert!(wait_until(SOON, gone));
    let words = ["events", "--since", "1h", "--until", "0s", "-f", "type=container"];
    // Docker's command line counts time in seconds.
    let told = || daemon.tell(&[&words[..], &["--format", "{{.Action}}"]].concat());
    let all = "create\nstart\ndie\ndestroy";
    assert!(wait_until(SOON, || told() == all), "{}", told());
    // The same words mean the same to both.
    assert_eq!(daemon.tell(&words), engine.tell(&words));
    drop(daemon);
    engine.assert_nothing_left();
}

fn what_is_done_to_a_container_is_told_in_dockers_words() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    let daemon = Daemon::start(&engine);
    daemon.tell(&run(&engine, &["-d", "--name", "busy", "host", "sleep", "1000"]));
    let file = engine.root.path().join("file");
    fs::write(&file, "text").unwrap();
    let file = file.display().to_string();
    daemon.tell(&["cp", &file, "busy:/tmp/"]);
    daemon.tell(&["cp", "busy:/tmp/file", &format!("{file}.out")]);
    daemon.tell(&["top", "busy"]);
    daemon.tell(&["exec", "busy", "echo", "a", "b"]);
    assert_eq!(daemon.ask(&["exec", "busy", "/no/such"]).status.code(), Some(127));
    daemon.tell(&["exec", "-d", "busy", "sleep", "0.1"]);
    let died = || actions(&engine, "event=exec_die").len() == 2;
    assert!(wait_until(SOON, died), "{:?}", actions(&engine, "event=exec_die"));
    let lived = actions(&engine, "container=busy");
    let told = [
        "create",
        "start",
        "extract-to-dir",
        "archive-path",
        "top",
        "exec_create: echo a b",
        "exec_start: echo a b",
        "exec_die",
        "exec_create: /no/such ",
        "exec_start: /no/such ",
        "exec_create: sleep 0.1",
        "exec_start: sleep 0.1",
        "exec_die",
    ];
    assert_eq!(lived, told);
    let words = ["events", "--since", "1h", "--until", "0s", "-f", "event=exec_die"];
    // Docker's command line counts time in seconds.
    assert!(wait_until(SOON, || daemon.tell(&words).lines().count() == 2));
    let line = daemon.tell(&words);
    assert!(line.contains("execID=") && line.contains("exitCode="), "{line}");
    assert_eq!(line, engine.tell(&words));
    daemon.tell(&["rm", "-f", "busy"]);
    drop(daemon);
    engine.assert_nothing_left();
}

fn an_exec_that_is_left_by_its_keys_is_told() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "left", "host", "sleep", "1000"]);
    let program = env!("CARGO_BIN_EXE_coracle");
    let words = "exec -it --detach-keys ctrl-x left sh -c 'echo up; sleep 1000'";
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{program} {words}"), "/dev/null"]);
    script.env("CORACLE_ROOT", engine.root.path());
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = testkit::spawn(script).unwrap();
    let mut screen = BufReader::new(script.0.stdout.take().unwrap());
    let mut line = String::new();
    screen.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "up");
    script.0.stdin.take().unwrap().write_all(b"\x18").unwrap();
    script.0.wait().unwrap();
    let lived = actions(&engine, "container=left");
    assert_eq!(lived.last().map(String::as_str), Some("exec_detach"), "{lived:?}");
    engine.tell(&["rm", "-f", "left"]);
    engine.assert_nothing_left();
}

fn images_tell_of_their_names_and_of_their_end() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    engine.tell(&["tag", "host", "other:1"]);
    let id = engine.tell(&["images", "-q", "--no-trunc", "host"]);
    engine.tell(&["rmi", "other:1"]);
    engine.tell(&["rmi", "host"]);
    let words = ["events", "--since", "1h", "--until", "0s", "-f", "type=image", "--format"];
    let told = engine.tell(&[&words[..], &["{{.Action}} {{.Actor.Attributes.name}}"]].concat());
    let all = format!("pull host\ntag other:1\nuntag {id}\nuntag {id}\ndelete {id}");
    assert_eq!(told, all);
    engine.assert_nothing_left();
}
