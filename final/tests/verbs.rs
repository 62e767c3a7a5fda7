//! The verbs of a container's life, asked through the command line.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, openpty};
use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

use engine::{Engine, finish};

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const NETWORK: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::Network];
const USER: &[Needs] = &[Needs::User, Needs::UserNamespaces, Needs::Overlay];

fn main() {
    macro_rules! tests {
        ($($needs:ident $name:ident),* $(,)?) => {
            vec![$(testkit::test(stringify!($name), $needs, $name)),*]
        };
    }
    testkit::main(tests![
        ROOT files_are_copied_by_dockers_rules,
        ROOT a_container_that_does_not_run_is_copied_into_and_out_of,
        ROOT archives_come_from_standard_input_and_go_to_standard_output,
        ROOT no_byte_of_the_host_is_read_or_written_through_a_link_that_changes,
        ROOT an_archive_cannot_leave_its_folder,
        USER an_ordinary_user_copies_too,
        ROOT what_a_container_has_changed_is_shown,
        ROOT processes_are_shown_as_the_hosts_ps_sees_them,
        ROOT a_container_takes_another_name,
        ROOT limits_change_while_a_container_runs,
        NETWORK published_ports_are_shown,
        ROOT a_terminal_is_left_by_keys_and_joined_again,
        ROOT an_attached_client_sees_the_output_and_the_end,
        ROOT what_containers_use_is_shown,
        ROOT logs_are_read_from_and_until_a_time,
        ROOT an_exec_that_cannot_run_says_why,
    ])
}

/// A folder with what copies get wrong: links, two names of one file, odd modes, owners.
fn sources(folder: &Path) {
    fs::create_dir_all(folder.join("src/sub/deep")).unwrap();
    fs::write(folder.join("src/file"), "one\n").unwrap();
    fs::write(folder.join("src/sub/deep/x"), "two\n").unwrap();
    symlink("file", folder.join("src/link")).unwrap();
    symlink("/sub", folder.join("src/far")).unwrap();
    fs::hard_link(folder.join("src/file"), folder.join("src/hard")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4750);
    fs::set_permissions(folder.join("src/sub/deep/x"), mode).unwrap();
    std::os::unix::fs::chown(folder.join("src/file"), Some(1234), Some(567)).unwrap();
}

/// Every path below a folder, with its kind, mode and content.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(folder).unwrap().display().to_string();
        let what = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            format!("{:o}", metadata.mode() & 0o7777)
        } else {
            let text = fs::read_to_string(&path).unwrap();
            format!("{:o} {} {text:?}", metadata.mode() & 0o7777, metadata.nlink())
        };
        found.insert(name, what);
    }
    found
}

fn files_are_copied_by_dockers_rules() {
    let engine = Engine::new();
    let folder = testkit::temp_dir();
    sources(folder.path());
    let here = |name: &str| folder.path().join(name).display().to_string();
    engine.run(&["-d", "--name", "box", "-v", "/vol", "host", "sleep", "1000"]);
    let inside = |script: &str| engine.tell(&["exec", "box", "sh", "-c", script]);

    // A folder becomes what is not there, and goes into what is.
    engine.tell(&["cp", &here("src"), "box:/t"]);
    engine.tell(&["cp", &here("src"), "box:/t"]);
    engine.tell(&["cp", &here("src/."), "box:/vol"]);
    engine.tell(&["cp", "box:/t/src", &here("back")]);
    assert_eq!(tree(&folder.path().join("src")), tree(&folder.path().join("back")));
    assert_eq!(inside("stat -c '%u:%g %h' /t/file /t/hard"), "1234:567 2\n1234:567 2");
    assert_eq!(inside("cat /vol/sub/deep/x; readlink /t/far"), "two\n/sub");

    // A file becomes a new name, replaces an old one, or goes into a folder.
    for (to, name) in [("/t/new", "/t/new"), ("/t/link", "/t/file"), ("/t/sub/", "/t/sub/x")] {
        engine.tell(&["cp", &here("src/sub/deep/x"), &format!("box:{to}")]);
        assert_eq!(inside(&format!("cat {name}")), "two", "{to}");
    }
    // Links are copied as such, unless they are to be followed.
    engine.tell(&["cp", "box:/t/link", &here("as-link")]);
    engine.tell(&["cp", "-L", "box:/t/link", &here("as-file")]);
    assert!(fs::symlink_metadata(folder.path().join("as-link")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(folder.path().join("as-file")).unwrap(), "two\n");

    let refusals = [
        (here("nosuch"), "box:/".to_owned(), "nosuch: No such file or directory"),
        ("box:/nosuch".into(), here("x"), "Could not find the file /nosuch in container box"),
        (here("src"), "box:/t/file".into(), "cannot copy directory"),
        (here("src/file"), "box:/nosuch/".into(), "no such directory"),
        (here("src/file"), "box:/no/such".into(), "Could not find the file /no in container box"),
        (here("src/file"), "box:/t/".into(), ""),
        ("box:/t".into(), "box:/u".into(), "copying between containers is not supported"),
        ("a".into(), "b".into(), "must specify at least one container source"),
        ("box:/proc/cpuinfo".into(), here("x"), "Could not find the file /proc/cpuinfo"),
        ("nosuch:/x".into(), here("x"), "No such container: nosuch"),
    ];
    for (from, to, sentence) in refusals {
        let said = engine.ask(&["cp", &from, &to]);
        assert_eq!(said.code, i32::from(!sentence.is_empty()), "{from} {to}: {said:?}");
        assert!(said.err.contains(sentence), "{from} {to}: {said:?}");
    }
    engine.tell(&["rm", "-fv", "box"]);
    engine.assert_nothing_left();
}

fn a_container_that_does_not_run_is_copied_into_and_out_of() {
    let engine = Engine::new();
    let folder = testkit::temp_dir();
    sources(folder.path());
    let here = |name: &str| folder.path().join(name).display().to_string();
    let mut words = engine.words(&["--name", "box", "-v", "data:/vol", "-v", "data:/ro:ro"]);
    words.retain(|word| *word != "run");
    let script = "cat /t/file /vol/x; echo made > /t/made";
    let create = [&["create"], &words[..], &["host", "sh", "-c", script]].concat();
    engine.tell(&create);
    engine.tell(&["cp", &here("src"), "box:/t"]);
    engine.tell(&["cp", &here("src/sub/deep/x"), "box:/vol"]);
    let refused = engine.ask(&["cp", &here("src/file"), "box:/ro/"]);
    assert!(refused.err.contains("mounted volume is marked read-only"), "{refused:?}");
    engine.tell(&["start", "box"]);
    engine.tell(&["wait", "box"]);
    assert_eq!(engine.tell(&["logs", "box"]), "one\ntwo");
    engine.tell(&["cp", "box:/t/made", &here("made")]);
    assert_eq!(fs::read_to_string(folder.path().join("made")).unwrap(), "made\n");
    // Nothing of it is mounted, and it can be started again.
    assert_eq!(engine.tell(&["start", "box"]), "box");
    engine.tell(&["wait", "box"]);
    engine.tell(&["rm", "box"]);
    engine.tell(&["volume", "rm", "data"]);
    engine.assert_nothing_left();
}

fn archives_come_from_standard_input_and_go_to_standard_output() {
    let engine = Engine::new();
    let folder = testkit::temp_dir();
    sources(folder.path());
    engine.run(&["-d", "--name", "box", "-u", "7:8", "host", "sleep", "1000"]);
    let send = |archive: &[u8], words: &[&str]| {
        let mut command = engine.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(archive);
        finish(child)
    };
    let tar = |words: &[&str]| {
        let mut command = Command::new("tar");
        let output = command.arg("-C").arg(folder.path().join("src")).args(words).output();
        output.unwrap().stdout
    };
    for (kind, archive) in [("plain", tar(&["-c", "."])), ("gzip", tar(&["-cz", "."]))] {
        let place = format!("/tmp/{kind}");
        engine.tell(&["exec", "box", "mkdir", &place]);
        let said = send(&archive, &["cp", "-", &format!("box:{place}")]);
        assert_eq!(said.code, 0, "{kind}: {said:?}");
        assert_eq!(engine.tell(&["exec", "box", "cat", &format!("{place}/file")]), "one");
    }
    let said = send(&tar(&["-c", "file"]), &["cp", "-a", "-", "box:/tmp"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(engine.tell(&["exec", "box", "stat", "-c", "%u:%g", "/tmp/file"]), "7:8");
    let said = send(b"no archive, and no multiple of a block", &["cp", "-", "box:/tmp"]);
    assert!(said.code == 1 && said.err.lines().count() == 1, "{said:?}");
    assert_eq!(send(b"", &["cp", "-", "box:/nosuch"]).code, 1);

    let mut list =
        Command::new("tar").arg("-t").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let output = engine.command(&["cp", "box:/tmp/plain/sub", "-"]).output().unwrap();
    list.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    assert_eq!(finish(list).out, "sub/\nsub/deep/\nsub/deep/x\n");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

/// CVE-2018-15664: the container's process makes a folder a link to a folder of the
/// host and back, while we copy through it; into a container that runs, and into one that
/// does not and shares a volume with it.
fn no_byte_of_the_host_is_read_or_written_through_a_link_that_changes() {
    let engine = Engine::new();
    let folder = testkit::temp_dir();
    let victim = folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "the host's").unwrap();
    fs::write(folder.path().join("file"), "ours").unwrap();
    let script = format!(
        "cd /race; while :; do rm -rf d; ln -s {0} d; rm d; ln -s ../../../../../../..{0} d; rm d; \
         mkdir d; echo inside > d/secret; sleep 0.05; done",
        victim.display()
    );
    engine.run(&["-d", "--name", "swapper", "-v", "race:/race", "host", "sh", "-c", &script]);
    let mut words = engine.words(&["--name", "idle", "-v", "race:/race", "host", "true"]);
    words[0] = "create";
    engine.tell(&words);
    let file = folder.path().join("file").display().to_string();
    let out = folder.path().join("out").display().to_string();
    let until = Instant::now() + Duration::from_secs(4);
    let mut through = 0;
    while Instant::now() < until {
        for name in ["swapper", "idle"] {
            let copy = |from: &str, to: &str| engine.ask(&["cp", from, to]);
            copy(&file, &format!("{name}:/race/d/written"));
            through += i32::from(copy(&file, &format!("{name}:/race/d")).code == 0);
            let said = copy(&format!("{name}:/race/d/secret"), "-");
            assert!(!said.out.contains("the host's"), "{name}: {said:?}");
            through += i32::from(copy(&format!("{name}:/race/d/."), &out).code == 0);
        }
    }
    assert!(through > 0, "no copy got through: the race was none");
    let found: Vec<_> = fs::read_dir(&victim).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(found, ["secret"], "something was written to the host");
    assert_eq!(fs::read_to_string(victim.join("secret")).unwrap(), "the host's");
    if let Ok(text) = fs::read_to_string(folder.path().join("out/secret")) {
        assert_eq!(text, "inside\n");
    }
    engine.tell(&["rm", "-f", "swapper", "idle"]);
    engine.tell(&["volume", "rm", "race"]);
    engine.assert_nothing_left();
}

/// A tar archive of one entry, whose name and link nobody has checked.
fn evil(name: &str, link: &str, kind: u8) -> Vec<u8> {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(b"00000000000\0");
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn an_archive_cannot_leave_its_folder() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "box", "host", "sh", "-c", "mkdir /in; exec sleep 1000"]);
    let send = |archive: Vec<u8>| {
        let mut command = engine.command(&["cp", "-", "box:/in"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(&archive);
        finish(child)
    };
    let end = vec![0; 1024];
    let ready = || engine.ask(&["exec", "box", "test", "-d", "/in"]).code == 0;
    assert!(wait_until(Duration::from_secs(5), ready));
    for (name, link, kind) in [("../out", "", b'0'), ("a", "../../etc/passwd", b'1')] {
        let said = send([evil(name, link, kind), end.clone()].concat());
        assert_eq!(said.code, 1, "{name}: {said:?}");
        assert!(said.err.contains("is outside of \"/in\""), "{name}: {said:?}");
    }
    // A link to the host's folders leads to the container's.
    let archive = [evil("link", "/tmp", b'2'), evil("link/through", "", b'0'), end].concat();
    assert_eq!(send(archive).code, 0);
    assert_eq!(engine.ask(&["exec", "box", "test", "-f", "/tmp/through"]).code, 0);
    assert!(!Path::new("/tmp/through").exists());
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn an_ordinary_user_copies_too() {
    let program = testkit::reachable(env!("CARGO_BIN_EXE_coracle"));
    let user = testkit::user().unwrap();
    let script = r#"set -e
        printf 'one\n' > file
        id=$($0 run -d --network none --name box -v vol:/vol host sleep 1000)
        trap '$0 rm -f box idle >/dev/null; $0 rmi -f host >/dev/null' EXIT
        $0 create --network none --name idle -v vol:/vol host cat /new/file /vol/file >/dev/null
        $0 exec box sh -c 'mkdir /d; echo two > /d/x; chown -R 1:1 /d; chmod 700 /d'
        $0 cp file box:/vol/; $0 cp box:/d out; cat out/x
        mkdir new; cp file new; $0 cp new idle:/; $0 cp idle:/new/file copy; cat copy
        $0 start -a idle
        $0 diff box; $0 top box -o pid,comm | tail -1 | grep -o sleep"#;
    let output = user.command("sh").args(["-c", script]).arg(&program).output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, "two\none\none\none\nA /d\nA /d/x\nA /vol\nsleep\n", "{err}");
}

fn what_a_container_has_changed_is_shown() {
    let engine = Engine::new();
    let script = "mkdir /q; touch /q/r /tmp/t; rm /etc/passwd; echo x >> /etc/group";
    engine.run(&["--name", "box", "-v", "/data", "host", "sh", "-c", script]);
    let shown = engine.tell(&["diff", "box"]);
    let expected = "C /etc\nC /etc/group\nD /etc/passwd";
    assert!(shown.contains(expected) && shown.contains("A /q\nA /q/r"), "{shown}");
    assert!(shown.contains("A /data") && !shown.contains("/dev"), "{shown}");
    engine.run(&["--name", "none", "host", "true"]);
    assert_eq!(engine.tell(&["diff", "none"]), "");
    engine.tell(&["rm", "-v", "box", "none"]);
    engine.assert_nothing_left();
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
        if !typed && seen.contains(until) {
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
