//! The whole engine, asked as people and scripts ask it: through its command line.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Leftovers, Needs, wait_until};

#[path = "cli/engine.rs"]
mod engine;
#[path = "cli/registry.rs"]
mod registry;

use engine::{Engine, finish};
use registry::{an_image_with_another_digest_is_refused, images_come_from_a_registry};

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const NETWORK: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Network];
const SERVER: &[Needs] = &[
    Needs::Root,
    Needs::Overlay,
    Needs::Network,
    Needs::Program("busybox"),
    Needs::Program("curl"),
];
const REGISTRY: &[Needs] = &[
    Needs::Root,
    Needs::Overlay,
    Needs::Program("docker-registry"),
    Needs::Program("skopeo"),
    Needs::Program("busybox"),
];

fn main() {
    testkit::main(testkit::tests![
        ROOT the_exit_code_is_the_programs,
        ROOT output_errors_and_input_are_kept_apart,
        ROOT user_folder_environment_and_entrypoint_are_as_asked,
        ROOT a_signal_to_the_command_reaches_the_program,
        ROOT memory_that_runs_out_is_told,
        ROOT limits_and_hardening_do_what_they_say,
        ROOT a_container_in_the_background_is_listed_stopped_and_removed,
        ROOT exec_joins_a_running_container,
        ROOT logs_are_kept_in_order_and_followed,
        ROOT volumes_outlive_containers_until_they_are_removed,
        ROOT a_killed_command_leaves_its_container_to_the_shim,
        ROOT a_shim_shows_whose_it_is,
        ROOT whoever_is_with_a_container_hears_that_its_shim_was_killed,
        NETWORK a_killed_shim_leaves_nothing,
        NETWORK networks_are_joined_and_ports_are_taken_once,
        SERVER a_published_port_answers_on_both_loopbacks,
        ROOT bad_input_is_refused_in_a_sentence_and_leaves_nothing,
        ROOT wrong_usage_ends_with_dockers_exit_codes,
        ROOT a_full_disk_is_told_and_leaves_nothing,
        ROOT a_store_of_a_newer_version_is_left_alone,
        ROOT a_closed_output_ends_us_quietly,
        ROOT a_container_can_be_explained,
        REGISTRY images_come_from_a_registry,
        REGISTRY an_image_with_another_digest_is_refused,
    ]);
}

fn the_exit_code_is_the_programs() {
    let engine = Engine::new();
    for code in [0, 1, 125, 255] {
        let script = format!("exit {code}");
        assert_eq!(engine.run(&["--rm", "host", "sh", "-c", &script]).code, code);
    }
    assert_eq!(engine.run(&["--rm", "--init", "host", "sh", "-c", "kill -TERM $$"]).code, 143);
    let missing = engine.run(&["--rm", "host", "nosuch"]);
    assert_eq!((missing.code, missing.out.as_str()), (127, ""));
    assert!(missing.err.contains("executable file not found in $PATH"), "{missing:?}");
    assert_eq!(engine.run(&["--rm", "host", "/etc"]).code, 126);
    engine.assert_nothing_left();
}

fn output_errors_and_input_are_kept_apart() {
    let engine = Engine::new();
    let mut child = engine.start(&["--rm", "-i", "host", "sh", "-c", "cat; echo oops >&2"]);
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let said = finish(child);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("one\ntwo\n", "oops\n"));
    engine.assert_nothing_left();
}

fn user_folder_environment_and_entrypoint_are_as_asked() {
    let engine = Engine::new();
    let script = "pwd; id -u; id -g; echo $A";
    let said = engine
        .run(&["--rm", "-w", "/new/dir", "-u", "12:34", "-e", "A=b c", "host", "sh", "-c", script]);
    assert_eq!(said.out, "/new/dir\n12\n34\nb c\n", "{said:?}");
    assert_eq!(engine.run(&["--rm", "--entrypoint", "echo", "host", "hi"]).out, "hi\n");
    engine.assert_nothing_left();
}

fn a_signal_to_the_command_reaches_the_program() {
    let engine = Engine::new();
    let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.02; done";
    for init in [&["--init"][..], &[]] {
        let words = [&["--rm"], init, &["host", "sh", "-c", script]].concat();
        let mut child = engine.start(&words);
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let said = finish(child);
        assert_eq!((said.code, said.out.as_str()), (9, "caught\n"), "{said:?}");
    }
    engine.assert_nothing_left();
}

fn memory_that_runs_out_is_told() {
    let engine = Engine::new();
    let said = engine.run(&["--name", "big", "-m", "32m", "host", "tail", "/dev/zero"]);
    assert_eq!(said.code, 137);
    assert_eq!(said.err, "coracle: killed: out of memory, limit 32 MiB\n");
    let template = "{{.State.OOMKilled}} {{.State.ExitCode}}";
    assert_eq!(engine.tell(&["inspect", "-f", template, "big"]), "true 137");
    engine.tell(&["rm", "big"]);
    engine.assert_nothing_left();
}

fn limits_and_hardening_do_what_they_say() {
    let engine = Engine::new();
    let forks = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; echo all";
    let said = engine.run(&["--rm", "--pids-limit", "5", "host", "sh", "-c", forks]);
    assert!(said.err.contains("fork") && !said.out.contains("all"), "{said:?}");
    let status = ["host", "grep", "-E", "CapBnd|NoNewPrivs|Seccomp:", "/proc/self/status"];
    let flags = ["--rm", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    let said = engine.run(&[&flags[..], &status].concat());
    assert_eq!(said.out, "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n", "{said:?}");
    let said = engine.run(&[
        "--rm",
        "--read-only",
        "--tmpfs",
        "/t",
        "host",
        "sh",
        "-c",
        "echo >/t/x && echo >/x",
    ]);
    assert!(said.err.contains("/x: Read-only file system"), "{said:?}");
    engine.assert_nothing_left();
}

fn a_container_in_the_background_is_listed_stopped_and_removed() {
    let engine = Engine::new();
    let id = engine.run(&["-d", "--name", "web", "host", "sleep", "100"]).out.trim().to_owned();
    assert_eq!(id.len(), 64);
    assert_eq!(engine.tell(&["ps", "-q", "--no-trunc"]), id);
    assert_eq!(engine.tell(&["ps", "-lq"]), id[..12]);
    let format = "{{.Names}} {{.Image}} {{.State}}";
    assert_eq!(
        engine.tell(&["ps", "--filter", "name=web", "--format", format]),
        "web host running"
    );
    assert_eq!(engine.tell(&["ps", "-q", "--filter", "name=other"]), "");
    engine.tell(&["pause", "web"]);
    assert!(engine.tell(&["ps"]).contains("(Paused)"));
    assert_eq!(engine.ask(&["exec", "web", "true"]).code, 1);
    engine.tell(&["unpause", "web"]);
    let refused = engine.ask(&["rm", "web"]);
    assert!(refused.code == 1 && refused.err.contains("container is running"), "{refused:?}");
    let taken = engine.run(&["--name", "web", "host", "true"]);
    assert!(taken.code == 125 && taken.err.contains("is already in use by"), "{taken:?}");
    engine.tell(&["stop", "-t", "0", "web"]);
    assert_eq!(engine.tell(&["ps", "-q"]), "");
    assert_eq!(engine.tell(&["wait", "web"]), "137");
    engine.tell(&["start", "web"]);
    engine.tell(&["kill", "-s", "KILL", "web"]);
    engine.tell(&["start", "web"]);
    engine.tell(&["rm", "-f", "web"]);
    let gone = engine.ask(&["rm", "-f", "web"]);
    assert!(gone.code == 0 && gone.err.contains("No such container"), "{gone:?}");
    engine.assert_nothing_left();
}

fn exec_joins_a_running_container() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "box", "host", "sleep", "100"]);
    assert_eq!(engine.ask(&["exec", "box", "sh", "-c", "exit 5"]).code, 5);
    assert_eq!(engine.ask(&["exec", "box", "nosuch"]).code, 127);
    assert_eq!(engine.ask(&["exec", "box", "/etc"]).code, 126);
    let script = "pwd; id -u; echo $A; cat";
    let flags = ["exec", "-i", "-w", "/tmp", "-u", "7", "-e", "A=1", "box", "sh", "-c", script];
    let mut command = engine.command(&flags);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"in\n").unwrap();
    assert_eq!(finish(child).out, "/tmp\n7\n1\nin\n");
    engine.tell(&["exec", "-d", "box", "sh", "-c", "echo > /made; exec sleep 100"]);
    let made = || engine.ask(&["exec", "box", "test", "-e", "/made"]).code == 0;
    assert!(wait_until(Duration::from_secs(5), made));
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn logs_are_kept_in_order_and_followed() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "many", "host", "seq", "30000"]);
    let followed = engine.tell(&["logs", "-f", "many"]);
    assert!(followed.lines().map(str::to_owned).eq((1..=30000).map(|n| n.to_string())));
    assert_eq!(engine.tell(&["logs", "--tail", "2", "many"]), "29999\n30000");
    assert_eq!(engine.tell(&["logs", "--since", "0s", "many"]), "");
    let stamped = engine.tell(&["logs", "-t", "-n", "1", "--since", "2020-01-01", "many"]);
    assert!(stamped.starts_with("20") && stamped.ends_with("Z 30000"), "{stamped}");
    engine.run(&["--name", "two", "host", "sh", "-c", "echo out; echo err >&2"]);
    let said = engine.ask(&["logs", "two"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    engine.tell(&["rm", "many", "two"]);
    engine.assert_nothing_left();
}

fn volumes_outlive_containers_until_they_are_removed() {
    let engine = Engine::new();
    engine.run(&["--rm", "-v", "data:/data", "host", "sh", "-c", "echo kept > /data/file"]);
    assert_eq!(engine.tell(&["volume", "ls", "-q"]), "data");
    let said =
        engine.run(&["--rm", "-v", "data:/d:ro", "host", "sh", "-c", "cat /d/file; echo > /d/x"]);
    assert!(said.out == "kept\n" && said.err.contains("Read-only"), "{said:?}");
    engine.run(&["--rm", "-v", "/anonymous", "host", "true"]);
    assert_eq!(engine.tell(&["volume", "create", "other"]), "other");
    engine.tell(&["volume", "rm", "data"]);
    engine.tell(&["volume", "prune", "-af"]);
    assert_eq!(engine.tell(&["volume", "ls", "-q"]), "");
    engine.assert_nothing_left();
}

fn a_killed_command_leaves_its_container_to_the_shim() {
    let engine = Engine::new();
    engine.ask(&["pull", "-q", "host"]);
    let mut child =
        engine.start(&["--rm", "--name", "orphan", "host", "sh", "-c", "echo up; sleep 0.5"]);
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(engine.tell(&["logs", "orphan"]), "up");
    let gone = || engine.tell(&["ps", "-aq"]).is_empty();
    assert!(wait_until(Duration::from_secs(5), gone), "--rm was forgotten");
    engine.assert_nothing_left();
}

fn a_shim_shows_whose_it_is() {
    let engine = Engine::new();
    // Called ahead, and told its folder; and started with it.
    let id = engine.run(&["-d", "--name", "seen", "host", "sleep", "1000"]).out.trim().to_owned();
    let folder = engine.root.path().join("containers").join(&id);
    let words = format!("coracle\0shim\0{}\0", folder.display());
    let shown = || fs::read_to_string(format!("/proc/{}/cmdline", engine.shim_of("seen"))).unwrap();
    assert_eq!(shown(), words);
    engine.tell(&["kill", "seen"]);
    engine.tell(&["start", "seen"]);
    assert_eq!(shown(), words);
    engine.tell(&["rm", "-f", "seen"]);
    // One that was called for nothing goes with the command.
    let failed = engine.run(&["--rm", "--workdir", "nowhere", "host", "true"]);
    assert_eq!(failed.code, 125, "{failed:?}");
    engine.assert_nothing_left();
}

fn whoever_is_with_a_container_hears_that_its_shim_was_killed() {
    let engine = Engine::new();
    engine.tell(&["pull", "-q", "host"]);
    for removed in [&["--rm"][..], &[]] {
        let words = ["--name", "left", "host", "sh", "-c", "echo up; sleep 1000"];
        let mut child = engine.start(&[removed, &words].concat());
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        nix::sys::signal::kill(engine.shim_of("left"), nix::sys::signal::Signal::SIGKILL).unwrap();
        let said = finish(child);
        let why = "coracle: its shim was killed, and the container with it\n";
        assert_eq!((said.code, &*said.err), (137, why), "{removed:?}");
        let left = engine.tell(&["ps", "-aq"]);
        assert_eq!(left.is_empty(), !removed.is_empty());
        engine.ask(&["rm", "left"]);
    }
    engine.assert_nothing_left();
}

fn a_killed_shim_leaves_nothing() {
    let engine = Engine::with_network();
    engine.run(&["-d", "--name", "first", "host", "true"]);
    engine.tell(&["rm", "-f", "first"]);
    // The bridge stays with its network; what comes after it must go.
    let network = engine.network.as_ref().unwrap();
    let path = engine.root.path().to_string_lossy().into_owned();
    let leftovers = Leftovers::inside(network, &[&engine.word, &path]);
    engine.run(&[
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "host",
        "sh",
        "-c",
        "echo up; exec sleep 100",
    ]);
    nix::sys::signal::kill(engine.shim_of("web"), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(engine.tell(&["ps", "-q"]), "");
    assert!(engine.tell(&["ps", "-a"]).contains("Dead"));
    assert_eq!(engine.tell(&["logs", "web"]), "up");
    // Its port is free again.
    assert_eq!(engine.run(&["--rm", "-p", "8080:80", "host", "true"]).code, 0);
    engine.tell(&["start", "web"]);
    engine.tell(&["rm", "-f", "web"]);
    leftovers.assert_none();
}

fn networks_are_joined_and_ports_are_taken_once() {
    let engine = Engine::with_network();
    engine.run(&["-d", "--name", "web", "-p", "8080:80", "host", "sleep", "100"]);
    assert!(engine.tell(&["ps"]).contains("0.0.0.0:8080->80/tcp"));
    let taken = engine.run(&["--rm", "-p", "8080:80", "host", "true"]);
    assert!(taken.code == 125 && taken.err.contains("8080/tcp is already in use"), "{taken:?}");
    let ping = "ping -c1 -W5 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')";
    let said = engine.run(&["--rm", "host", "sh", "-c", ping]);
    assert_eq!(said.code, 0, "{said:?}");
    let links =
        |mode: &str| engine.run(&["--rm", "--network", mode, "host", "ls", "/sys/class/net"]).out;
    assert_eq!(links("none"), "lo\n");
    assert_eq!(links("container:web"), "eth0\nlo\n");
    let host =
        engine.network.as_ref().unwrap().command("ip").args(["-br", "link"]).output().unwrap();
    let seen = engine.run(&["--rm", "--network", "host", "host", "ip", "-br", "link"]).out;
    assert_eq!(
        seen.lines().count(),
        host.stdout.split(|byte| *byte == b'\n').count() - 1,
        "{seen}"
    );
    engine.tell(&["rm", "-f", "web"]);
    engine.assert_nothing_left();
}

fn a_published_port_answers_on_both_loopbacks() {
    let engine = Engine::with_network();
    let bind = format!("{}/bin/busybox:/busybox:ro", testkit::busybox_rootfs().display());
    let script = "echo served > /tmp/file; exec /busybox httpd -f -p 80 -h /tmp";
    engine.run(&["-d", "--name", "web", "-p", "8080:80", "-v", &bind, "host", "sh", "-c", script]);
    let network = engine.network.as_ref().unwrap();
    for address in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{address}:8080/file");
        let answers = || {
            let output = network.command("curl").args(["-sg", "-m", "3", &url]).output().unwrap();
            output.stdout == b"served\n"
        };
        assert!(wait_until(Duration::from_secs(5), answers), "{url} does not answer");
    }
    engine.tell(&["rm", "-f", "web"]);
    engine.assert_nothing_left();
}

fn bad_input_is_refused_in_a_sentence_and_leaves_nothing() {
    let engine = Engine::new();
    engine.ask(&["pull", "-q", "host"]);
    let foreign = engine.root.path().join("foreign");
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xf3\0\x01\0\0\0".to_vec();
    elf.resize(1024, 0);
    fs::write(&foreign, elf).unwrap();
    fs::set_permissions(&foreign, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bind = format!("{}:/foreign", foreign.display());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["-v", &bind, "host", "/foreign"], 126, "not built for this machine"),
        (&["--pull", "never", "nosuch"], 125, "No such image: nosuch:latest"),
        (&["127.0.0.1:1/none"], 125, "Connection refused"),
        (&["UPPER"], 125, "must be lower-case"),
        (&["x@sha256:12"], 125, "invalid digest"),
        (&["-m", "1k", "host", "true"], 125, "the minimum is 6 MiB"),
        (&["--cpus", "10000", "host", "true"], 125, "range of CPUs"),
        (&["--cpuset-cpus", "999", "host", "true"], 125, "999 are not available"),
        (&["-v", "a:b:c:d", "host", "true"], 125, "invalid volume specification"),
        (&["-v", "/a:/b:bogus", "host", "true"], 125, "invalid mode: bogus"),
        (&["--mount", "type=bogus,dst=/x", "host", "true"], 125, "mount type unknown"),
        (
            &["--mount", "type=bind,src=/nosuch,dst=/x", "host", "true"],
            125,
            "does not exist: /nosuch",
        ),
        (&["-p", "99999:80", "host", "true"], 125, "invalid hostPort: 99999"),
        (&["-p", "abc", "host", "true"], 125, "invalid containerPort: abc"),
        (&["--name", "a b", "host", "true"], 125, "Invalid container name (a b)"),
        (&["-u", "nobodyknows", "host", "true"], 125, "has no such name"),
        (&["-w", "relative", "host", "true"], 125, "needs to be an absolute path"),
        (&["--cap-drop", "BOGUS", "host", "true"], 125, "unknown capability"),
        (&["--security-opt", "bogus", "host", "true"], 125, "invalid --security-opt"),
        (&["--network", "container:nosuch", "host", "true"], 125, "No such container: nosuch"),
        (&["-it", "host", "true"], 1, "not a TTY"),
        (&["--cidfile", "/nosuch/id", "host", "true"], 125, "create /nosuch/id: No such file"),
    ];
    for (words, code, sentence) in cases {
        let said = engine.run(&[&["--rm"], *words].concat());
        assert_eq!((said.code, said.out.as_str()), (*code, ""), "{words:?}: {said:?}");
        assert!(said.err.contains(sentence), "{words:?}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{words:?}: {said:?}");
    }
    engine.assert_nothing_left();
}

fn wrong_usage_ends_with_dockers_exit_codes() {
    let engine = Engine::new();
    let cases: &[(&[&str], i32)] = &[
        (&["run", "--bogus", "host"], 125),
        (&["run", "-m", "abc", "host"], 125),
        (&["create", "--bogus", "host"], 125),
        (&["ps", "--bogus"], 125),
        (&["bogus"], 1),
        (&["ps", "--filter", "bogus=1"], 1),
        (&["logs", "nosuch"], 1),
        (&["exec", "nosuch", "true"], 1),
        (&["inspect", "nosuch"], 1),
        (&["rmi", "nosuch"], 1),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
        (&["completion", "bash"], 0),
        (&["doctor"], 0),
    ];
    for (words, code) in cases {
        let said = engine.ask(words);
        assert_eq!(said.code, *code, "{words:?}: {said:?}");
        assert!(!said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'), "colours: {words:?}");
        assert_eq!(said.err.is_empty(), *code == 0, "{words:?}: {said:?}");
    }
    engine.assert_nothing_left();
}

fn a_full_disk_is_told_and_leaves_nothing() {
    let engine = Engine::new();
    // In a mount namespace of its own, so that a test that is killed leaves no mount.
    let script = r#"mount -t tmpfs -o size=64m tmpfs "$CORACLE_ROOT" && "$0" pull -q host &&
        dd if=/dev/zero of="$CORACLE_ROOT/fill" bs=1M 2>/dev/null
        "$0" run --rm --network none host true; echo "code $?"; "$0" ps -aq
        ls "$CORACLE_ROOT/containers" "$CORACLE_ROOT/names""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_coracle")]);
    let output = command.env("CORACLE_ROOT", engine.root.path()).output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let path = engine.root.path().display();
    assert!(
        out.ends_with(&format!("code 125\n{path}/containers:\n\n{path}/names:\n")),
        "{out} {err}"
    );
    assert!(err.contains("No space left on device"), "{err}");
    engine.leftovers.assert_none();
}

fn a_store_of_a_newer_version_is_left_alone() {
    let engine = Engine::new();
    let version = engine.root.path().join("version");
    fs::write(&version, r#"{"version":99}"#).unwrap();
    for (words, code) in [(&["ps"][..], 1), (&["run", "host", "true"], 125)] {
        let said = engine.ask(words);
        assert_eq!(said.code, code);
        assert!(said.err.contains("version 99") && said.err.lines().count() == 1, "{said:?}");
    }
    assert_eq!(fs::read_dir(engine.root.path()).unwrap().count(), 1, "something was made");
    fs::remove_file(version).unwrap();
}

fn a_closed_output_ends_us_quietly() {
    let engine = Engine::new();
    engine.run(&["--name", "many", "host", "seq", "100000"]);
    for words in [&["ps", "-a"][..], &["logs", "many"], &["inspect", "many"], &["explain", "many"]]
    {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let child = engine.command(words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let said = finish(child);
        assert_eq!((said.code, said.err.as_str()), (141, ""), "{words:?}");
    }
    engine.tell(&["rm", "many"]);

    // A container is not ended by who does not want to hear it any more.
    let script = "while :; do echo more; sleep 0.05; done";
    for flags in [&["--name", "heard"][..], &["--rm", "--name", "heard"]] {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let words = [flags, &["host", "sh", "-c", script]].concat();
        let mut command = engine.command(&engine.words(&words));
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let said = finish(child);
        assert!(said.code == 141 && said.err.contains(" goes on"), "{said:?}");
        assert_eq!(engine.tell(&["ps", "--format", "{{.Names}}"]), "heard");
        engine.tell(&["rm", "-f", "heard"]);
    }
    engine.assert_nothing_left();
}

fn a_container_can_be_explained() {
    let engine = Engine::new();
    engine.run(&["--name", "told", "host", "true"]);
    let told = engine.tell(&["explain", "told"]);
    for call in ["clone3", "pivot_root", "µs"] {
        assert!(told.contains(call), "no {call}: {told}");
    }
    engine.tell(&["rm", "told"]);
    engine.assert_nothing_left();
}
