//! The daemon, through docker's own command line; and what goes on without one:
//! restarts, health.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

#[path = "cli/daemon.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod served;

#[path = "daemon/tls.rs"]
mod tls;

use engine::Engine;
use served::{Daemon, SOON, actions, run};
use tls::a_daemon_on_tcp_serves_who_has_a_certificate_of_its_authority;

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const DOCKER: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Program("docker")];
const TERMINAL: &[Needs] =
    &[Needs::Root, Needs::Overlay, Needs::Program("docker"), Needs::Program("script")];
const TLS: &[Needs] =
    &[Needs::Root, Needs::Overlay, Needs::Program("docker"), Needs::Program("openssl")];

fn main() {
    testkit::main(testkit::tests![
        ROOT a_policy_starts_a_container_again_until_it_is_stopped,
        ROOT a_restart_by_hand_keeps_what_would_go_at_its_end,
        ROOT health_is_asked_for_and_told,
        ROOT a_wait_ends_with_a_killed_shim,
        ROOT the_exit_code_is_told_of_what_is_gone_at_once,
        ROOT only_one_daemon_serves_a_root,
        ROOT other_versions_are_refused_in_dockers_words,
        ROOT a_daemon_that_ends_lets_containers_go_on,
        ROOT a_daemon_starts_again_what_died_with_its_shim,
        ROOT a_container_that_is_started_twice_runs_once,
        ROOT a_daemon_that_goes_holds_up_nobody,
        DOCKER docker_runs_programs_as_with_its_own_daemon,
        DOCKER a_killed_daemon_takes_nothing_along,
        TLS a_daemon_on_tcp_serves_who_has_a_certificate_of_its_authority,
        TERMINAL a_terminal_is_left_by_its_keys,
    ]);
}

/// A field of a container, as `inspect` shows it.
fn field(engine: &Engine, name: &str, template: &str) -> String {
    engine.tell(&["inspect", "-f", template, name])
}

fn a_policy_starts_a_container_again_until_it_is_stopped() {
    let engine = Engine::new();
    let script = ["host", "sh", "-c", "echo once; exit 3"];
    let limited = ["-d", "--name", "limited", "--restart", "on-failure:2"];
    engine.run(&[&limited[..], &script].concat());
    let status =
        |name| field(&engine, name, "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}");
    assert!(wait_until(SOON, || status("limited") == "exited 2 3"), "{}", status("limited"));
    assert_eq!(engine.tell(&["logs", "limited"]), "once\nonce\nonce");
    assert_eq!(actions(&engine, "event=die").len(), 3);

    let always = ["-d", "--name", "always", "--restart", "always"];
    engine.run(&[&always[..], &script].concat());
    let count = || field(&engine, "always", "{{.RestartCount}}").parse::<u32>().unwrap();
    assert!(wait_until(SOON, || count() >= 3), "{}", count());
    assert_eq!(field(&engine, "always", "{{.State.Running}}"), "true");
    engine.tell(&["stop", "-t", "0", "always"]);
    assert_eq!(field(&engine, "always", "{{.State.Status}} {{.State.Running}}"), "exited false");
    let stopped = count();
    // Longer than the pause would be.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((count(), &*field(&engine, "always", "{{.State.Status}}")), (stopped, "exited"));

    let refused = engine.run(&["--rm", "--restart", "always", "host", "true"]);
    assert_eq!(refused.code, 125, "{refused:?}");
    engine.tell(&["rm", "limited", "always"]);
    engine.assert_nothing_left();
}

fn a_restart_by_hand_keeps_what_would_go_at_its_end() {
    let engine = Engine::new();
    engine.run(&["-d", "--rm", "--name", "kept", "host", "sh", "-c", "echo up; sleep 1000"]);
    let began = field(&engine, "kept", "{{.State.StartedAt}}");
    engine.tell(&["restart", "-s", "KILL", "kept"]);
    assert_ne!(field(&engine, "kept", "{{.State.StartedAt}}"), began);
    assert_eq!(field(&engine, "kept", "{{.State.Status}} {{.RestartCount}}"), "running 0");
    let again = || engine.tell(&["logs", "kept"]) == "up\nup";
    assert!(wait_until(SOON, again), "{}", engine.tell(&["logs", "kept"]));
    let lived = actions(&engine, "container=kept");
    assert_eq!(lived[2..], ["kill", "die", "stop", "start", "restart"], "{lived:?}");
    engine.tell(&["stop", "-t", "0", "kept"]);
    engine.assert_nothing_left();
}

fn health_is_asked_for_and_told() {
    let engine = Engine::new();
    let check = ["--health-cmd", "cat /well", "--health-interval", "100ms"];
    let more = ["-d", "--name", "asked", "--health-retries", "2", "host", "sleep", "1000"];
    engine.run(&[&check[..], &more].concat());
    let health = || field(&engine, "asked", "{{.State.Health.Status}}");
    assert!(wait_until(SOON, || health() == "unhealthy"), "{}", health());
    engine.tell(&["exec", "asked", "sh", "-c", "echo fine > /well"]);
    assert!(wait_until(SOON, || health() == "healthy"), "{}", health());
    assert!(engine.tell(&["ps"]).contains("(healthy)"));
    assert_eq!(engine.tell(&["ps", "--format", "{{.Names}}", "-f", "health=healthy"]), "asked");
    let last = || {
        let log: serde_json::Value =
            serde_json::from_str(&field(&engine, "asked", "{{json .State.Health.Log}}")).unwrap();
        let log = log.as_array().unwrap().clone();
        assert!(log.len() <= 5);
        log.last().map(|last| (last["ExitCode"].clone(), last["Output"].clone()))
    };
    assert_eq!(last(), Some((0.into(), "fine\n".into())));
    let told = actions(&engine, "event=health_status");
    assert_eq!(told, ["health_status: unhealthy", "health_status: healthy"]);
    engine.tell(&["kill", "asked"]);
    assert_eq!(health(), "unhealthy");
    engine.tell(&["rm", "asked"]);

    let slow = ["--health-cmd", "sleep 1000", "--health-timeout", "200ms", "--health-retries", "1"];
    let more = ["-d", "--name", "slow", "--health-interval", "100ms", "host", "sleep", "1000"];
    engine.run(&[&slow[..], &more].concat());
    let output = || field(&engine, "slow", "{{json .State.Health.Log}}");
    let late = || output().contains("Health check exceeded timeout (200ms)");
    assert!(wait_until(SOON, late), "{}", output());
    engine.tell(&["rm", "-f", "slow"]);
    engine.assert_nothing_left();
}

fn the_exit_code_is_told_of_what_is_gone_at_once() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    let codes = |engine: &Engine| {
        for _ in 0..8 {
            let said = engine.run(&["--rm", "host", "sh", "-c", "exit 42"]);
            assert_eq!((said.code, &*said.err), (42, ""));
        }
    };
    // More than the machine has processors, so that everyone is late now and then.
    let many =
        || std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| codes(&engine)))));
    many();
    let daemon = Daemon::start(&engine);
    many();
    drop(daemon);
    engine.assert_nothing_left();
}

fn a_wait_ends_with_a_killed_shim() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "victim", "host", "sleep", "1000"]);
    let mut wait = engine.command(&["wait", "victim"]);
    wait.stdout(Stdio::piped());
    let waiting = wait.spawn().unwrap();
    kill(engine.shim_of("victim"), Signal::SIGKILL).unwrap();
    let said = engine::finish(waiting);
    assert_eq!((said.code, said.out.trim()), (0, "137"), "{said:?}");
    assert!(field(&engine, "victim", "{{.State.Error}}").contains("its shim was killed"));
    assert_eq!(engine.tell(&["wait", "victim"]), "137");
    engine.tell(&["rm", "victim"]);
    engine.assert_nothing_left();
}

fn only_one_daemon_serves_a_root() {
    let engine = Engine::new();
    let daemon = Daemon::start(&engine);
    let mode = fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let second = engine.ask(&["daemon"]);
    assert_eq!((second.code, second.err.lines().count()), (1, 1), "{second:?}");
    assert!(second.err.contains("serves"), "{second:?}");
    // Killed, it leaves its socket behind, which is no hindrance.
    daemon.end(Signal::SIGKILL);
    let daemon = Daemon::start(&engine);
    daemon.end(Signal::SIGTERM);
    assert!(!engine.root.path().join("run/coracle.sock").exists());

    let open = engine.ask(&["daemon", "-H", "tcp://127.0.0.1:0"]);
    assert_eq!((open.code, open.err.lines().count()), (1, 1), "{open:?}");
    assert!(open.err.contains("--tlscacert"), "{open:?}");
    engine.assert_nothing_left();
}

fn other_versions_are_refused_in_dockers_words() {
    let engine = Engine::new();
    let daemon = Daemon::start(&engine);
    let old = daemon.get("/v1.40/containers/json");
    assert!(old.starts_with("HTTP/1.1 400 "), "{old}");
    assert!(old.contains(r#"{"message":"client version 1.40 is too old."#), "{old}");
    let new = daemon.get("/v1.99/containers/json");
    assert!(new.starts_with("HTTP/1.1 400 ") && new.contains("1.99 is too new."), "{new}");
    assert!(daemon.get("/v1.41/containers/json").starts_with("HTTP/1.1 200 "));
    let missing = daemon.get("/v1.41/containers/nope/json");
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    assert!(missing.ends_with(r#"{"message":"No such container: nope"}"#), "{missing}");
    let ping = daemon.get("/_ping");
    for header in ["Api-Version: 1.", "Ostype: linux", "Docker-Experimental: false", "Swarm: "] {
        assert!(ping.contains(header), "{ping}");
    }
}

fn a_daemon_that_ends_lets_containers_go_on() {
    let engine = Engine::new();
    let daemon = Daemon::start(&engine);
    engine.run(&["-d", "--name", "goes-on", "host", "sleep", "1000"]);
    let shim = engine.shim_of("goes-on");
    daemon.end(Signal::SIGTERM);
    assert_eq!(engine.tell(&["ps", "--format", "{{.Names}}"]), "goes-on");
    let daemon = Daemon::start(&engine);
    assert_eq!(engine.shim_of("goes-on"), shim);
    engine.run(&["-d", "--name", "child", "host", "true"]);
    assert_eq!(engine.tell(&["wait", "child"]), "0");
    // A shim that was started by this daemon is not left unwaited for.
    let children = format!("/proc/{0}/task/{0}/children", daemon.process.0.id());
    let none = || fs::read_to_string(&children).unwrap_or_default().trim().is_empty();
    assert!(wait_until(SOON, none), "{:?}", fs::read_to_string(&children));
    drop(daemon);
    engine.tell(&["rm", "-f", "goes-on", "child"]);
    engine.assert_nothing_left();
}

fn a_daemon_starts_again_what_died_with_its_shim() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    engine.run(&["-d", "--name", "before", "--restart", "always", "host", "sleep", "1000"]);
    let daemon = Daemon::start(&engine);
    for (name, policy) in [("failed", "on-failure:3"), ("unless", "unless-stopped"), ("no", "no")] {
        engine.run(&["-d", "--name", name, "--restart", policy, "host", "sleep", "1000"]);
    }
    engine.run(&["-d", "--name", "gone", "--rm", "host", "sleep", "1000"]);
    let state = |name| field(&engine, name, "{{.State.Status}} {{.RestartCount}}");
    let strike = |name| kill(engine.shim_of(name), Signal::SIGKILL).unwrap();
    for name in ["before", "failed", "unless"] {
        for count in 1..3 {
            strike(name);
            let again = format!("running {count}");
            assert!(wait_until(SOON, || state(name) == again), "{name}: {}", state(name));
        }
    }
    strike("no");
    strike("gone");
    let filter = ["no", "gone"].map(|name| format!("container={name}"));
    let died = |filter: &String| actions(&engine, filter).contains(&"die".to_owned());
    assert!(wait_until(SOON, || filter.iter().all(died)));
    assert_eq!(state("no"), "dead 0");
    assert!(wait_until(SOON, || !engine.tell(&["ps", "-a"]).contains("gone")));
    let lived = actions(&engine, "container=failed");
    assert_eq!(lived[1..], ["start", "die", "start", "die", "start"], "{lived:?}");
    assert!(engine.tell(&["ps"]).contains("unless"));
    assert_eq!(engine.tell(&["exec", "unless", "echo", "in"]), "in");

    // A start by hand counts from the beginning; what is stopped stays so.
    engine.tell(&["stop", "-t", "0", "unless"]);
    assert_eq!(state("unless"), "exited 2");
    engine.tell(&["start", "unless"]);
    assert_eq!(state("unless"), "running 0");
    drop(daemon);
    engine.tell(&["rm", "-f", "before", "failed", "unless", "no"]);
    engine.assert_nothing_left();
}

fn a_container_that_is_started_twice_runs_once() {
    let engine = Engine::new();
    let create = ["create", "--network", "none", "--cgroup-parent", &engine.word, "--name", "one"];
    engine.tell(&[&create[..], &["host", "sh", "-c", "echo once; sleep 1000"]].concat());
    let both = [(); 2].map(|()| {
        let mut start = engine.command(&["start", "one"]);
        start.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for start in both {
        let said = engine::finish(start);
        assert_eq!(said.code, 0, "{said:?}");
    }
    assert!(wait_until(SOON, || engine.tell(&["logs", "one"]) == "once"));
    engine.tell(&["rm", "-f", "one"]);
    engine.assert_nothing_left();
}

fn a_daemon_that_goes_holds_up_nobody() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "goes-on", "host", "sleep", "1000"]);
    for _ in 0..5 {
        let daemon = Daemon::start(&engine);
        // Clients with streams that do not end by themselves, and one that says nothing.
        let silent = daemon.connect().unwrap();
        let listeners = [&["events"][..], &["logs", "-f", "goes-on"], &["wait", "goes-on"]]
            .map(|words| engine.command(words).stdout(Stdio::null()).spawn().unwrap());
        let begin = Instant::now();
        kill(Pid::from_raw(daemon.process.0.id() as i32), Signal::SIGTERM).unwrap();
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(engine.tell(&["ps", "--format", "{{.Names}}"]), "goes-on");
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        }
        daemon.end(Signal::SIGTERM);
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        drop(silent);
        for mut listener in listeners {
            let _ = listener.kill();
            listener.wait().unwrap();
        }
    }
    engine.tell(&["rm", "-f", "goes-on"]);
    engine.assert_nothing_left();
}

fn docker_runs_programs_as_with_its_own_daemon() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    let daemon = Daemon::start(&engine);
    for words in [&["version"][..], &["info"]] {
        let output = daemon.ask(words);
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    }
    let code = |words: &[&str]| daemon.ask(&run(&engine, words)).status.code();
    assert_eq!(code(&["--rm", "host", "sh", "-c", "exit 42"]), Some(42));
    assert_eq!(code(&["--rm", "host", "no-such-program"]), Some(127));
    assert_eq!(code(&["--rm", "host", "/etc/passwd"]), Some(126));
    let both = daemon.ask(&run(&engine, &["--rm", "host", "sh", "-c", "echo out; echo err >&2"]));
    assert_eq!((&*both.stdout, &*both.stderr), (&b"out\n"[..], &b"err\n"[..]));

    // The end of the input is passed on, and output still comes after it.
    let script = "cat; sleep 0.2; echo end";
    let mut piped = daemon.docker(&run(&engine, &["--rm", "-i", "host", "sh", "-c", script]));
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    assert_eq!(piped.wait_with_output().unwrap().stdout, b"one\ntwo\nend\n");

    daemon.tell(&run(&engine, &["-d", "--name", "web", "host", "sleep", "1000"]));
    assert_eq!(daemon.tell(&["exec", "web", "echo", "inside"]), "inside");
    let mut exec = daemon.docker(&["exec", "-i", "web", "cat"]);
    let mut exec = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    exec.stdin.take().unwrap().write_all(b"for exec").unwrap();
    assert_eq!(exec.wait_with_output().unwrap().stdout, b"for exec");
    assert_eq!(daemon.ask(&["exec", "web", "sh", "-c", "exit 7"]).status.code(), Some(7));
    daemon.tell(&["restart", "-t", "0", "web"]);
    daemon.tell(&["pause", "web"]);
    daemon.tell(&["unpause", "web"]);
    assert_eq!(daemon.tell(&["ps", "--format", "{{.Names}} {{.State}}"]), "web running");
    daemon.tell(&["rm", "-f", "web"]);
    drop(daemon);
    engine.assert_nothing_left();
}

fn a_killed_daemon_takes_nothing_along() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    let daemon = Daemon::start(&engine);
    let sleeper = ["host", "sh", "-c", "echo said; sleep 1000"];
    for (name, policy) in [("plain", "no"), ("always", "always"), ("unless", "unless-stopped")] {
        let words = ["-d", "--name", name, "--restart", policy];
        daemon.tell(&run(&engine, &[&words[..], &sleeper].concat()));
    }
    let kept = engine.shim_of("plain");
    daemon.tell(&["stop", "-t", "0", "always", "unless"]);
    daemon.end(Signal::SIGKILL);

    let daemon = Daemon::start(&engine);
    assert_eq!(engine.shim_of("plain"), kept);
    assert_eq!(daemon.tell(&["logs", "plain"]), "said");
    assert_eq!(daemon.tell(&["exec", "plain", "echo", "in"]), "in");
    let state = |name| daemon.tell(&["inspect", "-f", "{{.State.Status}}", name]);
    assert!(wait_until(SOON, || state("always") == "running"), "{}", state("always"));
    assert_eq!(state("unless"), "exited");

    // A shim that dies while nobody looks is found by the next daemon.
    daemon.end(Signal::SIGKILL);
    kill(kept, Signal::SIGKILL).unwrap();
    kill(engine.shim_of("always"), Signal::SIGKILL).unwrap();
    let daemon = Daemon::start(&engine);
    let state =
        |name| daemon.tell(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name]);
    // The kernel takes its time with what is killed.
    assert!(wait_until(SOON, || state("plain") == "dead 137"), "{}", state("plain"));
    assert!(wait_until(SOON, || state("always") == "running 0"), "{}", state("always"));
    daemon.tell(&["rm", "-f", "plain", "always", "unless"]);
    drop(daemon);
    engine.assert_nothing_left();
}

fn a_terminal_is_left_by_its_keys() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    let daemon = Daemon::start(&engine);
    let words = run(&engine, &["-it", "--name", "left", "host", "sh"]).join(" ");
    let mut script = Command::new("script");
    script.args(["-qec", &format!("docker {words}"), "/dev/null"]);
    script.env("DOCKER_HOST", format!("unix://{}", daemon.socket().display()));
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = testkit::spawn(script).unwrap();
    let (mut keys, mut screen) = (script.0.stdin.take().unwrap(), script.0.stdout.take().unwrap());
    let mut seen = String::new();
    let mut until = |wanted: &str| {
        let mut buffer = [0; 1024];
        while !seen.contains(wanted) {
            match screen.read(&mut buffer).unwrap() {
                0 => panic!("{seen}"),
                length => seen.push_str(&String::from_utf8_lossy(&buffer[..length])),
            }
        }
    };
    until("# ");
    keys.write_all(b"echo $((6 * 7))\n").unwrap();
    until("42\r\n");
    keys.write_all(b"\x10\x11").unwrap();
    assert!(script.0.wait().unwrap().success());
    assert_eq!(daemon.tell(&["ps", "--format", "{{.Names}}"]), "left");
    daemon.tell(&["rm", "-f", "left"]);
    drop(daemon);
    engine.assert_nothing_left();
}
