//! Limits, and what containers use. Runs on cgroup v2, too: see `.ci/run`.

use std::io::Read;
use std::process::{Command, Stdio};

use testkit::Needs;

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

use engine::{Engine, finish};

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const USER: &[Needs] = &[Needs::User, Needs::UserNamespaces, Needs::Overlay];

fn main() {
    testkit::main(testkit::tests![
        ROOT limits_change_while_a_container_runs,
        ROOT what_containers_use_is_shown,
        ROOT a_container_that_has_filled_the_disk_is_listed_and_removed,
        ROOT a_full_disk_takes_no_exit_code_away,
        USER an_ordinary_users_container_says_what_it_uses,
    ])
}

fn a_container_that_has_filled_the_disk_is_listed_and_removed() {
    let engine = Engine::new();
    // In a mount namespace of its own, so that a test that is killed leaves no mount.
    let script = r#"mount -t tmpfs -o size=64m tmpfs "$CORACLE_ROOT" && "$0" pull -q host
        "$0" run --name full --network none host dd if=/dev/zero of=/fill bs=64k >/dev/null 2>&1
        "$0" ps -a --format '{{.Names}}' && "$0" rm -f full
        ls "$CORACLE_ROOT/containers" "$CORACLE_ROOT/names"
        "$0" run --rm --network none host echo again"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_coracle")]);
    let output = command.env("CORACLE_ROOT", engine.root.path()).output().unwrap();
    let (out, path) = (String::from_utf8_lossy(&output.stdout), engine.root.path().display());
    let expected = format!("full\nfull\n{path}/containers:\n\n{path}/names:\nagain\n");
    assert!(out.ends_with(&expected), "{output:?}");
    engine.leftovers.assert_none();
}

fn a_full_disk_takes_no_exit_code_away() {
    let engine = Engine::new();
    // What it says does not find room in the log, and is heard all the same.
    let script = r#"mount -t tmpfs -o size=64m tmpfs "$CORACLE_ROOT" && "$0" pull -q host
        fill='dd if=/dev/zero of=/fill bs=4k 2>/dev/null; echo dd $?
            seq 4000 >/dev/stderr; sleep 0.3; echo over; exit 7'
        for rm in --rm --label=kept; do
            "$0" run $rm --name full --network none host sh -c "$fill" 2>/dev/null; echo "code $?"
        done
        "$0" ps -a --format '{{.Names}} {{.Status}}' | sed 's/).*/)/'
        "$0" rm -f full
        "$0" run -d --name full --network none host sleep 1000 >/dev/null
        "$0" exec full sh -c "$fill" 2>/dev/null; echo "code $?"
        "$0" kill full; "$0" wait full; "$0" rm -f full"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_coracle")]);
    let output = command.env("CORACLE_ROOT", engine.root.path()).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let run = "dd 1\nover\ncode 7\n";
    let expected = format!("{run}{run}full Exited (7)\nfull\n{run}full\n137\nfull\n");
    assert!(out.ends_with(&expected), "{output:?}");
    engine.leftovers.assert_none();
}

fn limits_change_while_a_container_runs() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "box", "-m", "64m", "host", "sleep", "1000"]);
    engine.tell(&["update", "-m", "32m", "--pids-limit", "7", "--cpus", "0.5", "box"]);
    let shown = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}";
    assert_eq!(engine.tell(&["inspect", "-f", shown, "box"]), "33554432 7 500000000");
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done";
    let forks = engine.ask(&["exec", "box", "sh", "-c", script]);
    assert!(forks.err.contains("fork"), "{forks:?}");
    let refusals = [
        (&["update", "box"][..], "you must provide one or more flags"),
        (&["update", "-m", "1g", "box"], "update the memoryswap at the same time"),
        (&["update", "-m", "1m", "box"], "the minimum is 6 MiB"),
        (&["update", "--cpu-quota", "50000", "box"], "CPU Quota cannot be updated"),
        (&["update", "--restart", "bogus", "box"], "invalid restart policy 'bogus'"),
        (&["update", "--cpus", "10000", "box"], "ange of CPUs"),
    ];
    for (words, sentence) in refusals {
        let said = engine.ask(words);
        assert!(said.code == 1 && said.err.contains(sentence), "{words:?}: {said:?}");
    }
    // The limits stay for the next start.
    engine.tell(&["kill", "box"]);
    engine.tell(&["start", "box"]);
    let forks = engine.ask(&["exec", "box", "sh", "-c", script]);
    assert!(forks.err.contains("fork"), "{forks:?}");
    engine.tell(&["update", "--pids-limit", "-1", "box"]);
    let forks = engine.ask(&["exec", "box", "sh", "-c", script]);
    assert_eq!(forks.err, "");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn what_containers_use_is_shown() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "busy", "-m", "64m", "host", "sh", "-c", "while :; do :; done"]);
    engine.run(&["-d", "--name", "idle", "host", "sleep", "100"]);
    let table = engine.tell(&["stats", "--no-stream"]);
    let headings = "CONTAINER ID   NAME";
    assert!(table.starts_with(headings) && table.contains("/ 64MiB"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    let shown = engine.tell(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.CPUPerc}} {{.PIDs}}",
        "busy",
    ]);
    let words: Vec<_> = shown.split(' ').collect();
    let share: f64 = words[1].trim_end_matches('%').parse().unwrap();
    assert!((words[0], words[2]) == ("busy", "1") && share > 1.0, "{shown}");
    assert_eq!(engine.ask(&["stats", "--no-stream", "nosuch"]).code, 1);
    // Live, it goes on until nobody looks.
    let mut command = engine.command(&["stats"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 20];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first[..3], b"\x1b[H");
    drop(child.stdout.take());
    assert_eq!(finish(child).code, 141);
    engine.tell(&["rm", "-f", "busy", "idle"]);
    engine.assert_nothing_left();
}

fn an_ordinary_users_container_says_what_it_uses() {
    let user = testkit::user().unwrap();
    let program = testkit::reachable(env!("CARGO_BIN_EXE_coracle"));
    let root = user.home().join("root");
    let ask = |words: &[&str]| {
        let output = user.command(&program).arg("--root").arg(&root).args(words).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let script = "sleep 1000 & while :; do :; done";
    let run =
        ["run", "-q", "-d", "--network", "none", "--name", "busy", "host", "sh", "-c", script];
    assert!(ask(&run).0);
    // With a cgroup of its own or without: what is shown is what it uses.
    let format =
        ["stats", "--no-stream", "--format", "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}", "busy"];
    let (_, shown) = ask(&format);
    let words: Vec<_> = shown.split(' ').collect();
    let share: f64 = words[0].trim_end_matches('%').parse().unwrap();
    assert!(share > 1.0 && words[1] != "0B" && words.last() == Some(&"2"), "{shown}");
    assert!(ask(&["rm", "-f", "busy"]).0);
}
