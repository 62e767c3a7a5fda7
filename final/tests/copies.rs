//! Files in and out of containers, and what a container has changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;
#[path = "security/flipper.rs"]
mod flipper;

use engine::{Engine, finish};
use flipper::Flipper;

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const USER: &[Needs] = &[Needs::User, Needs::UserNamespaces, Needs::Overlay];

fn main() {
    testkit::main(testkit::tests![
        ROOT files_are_copied_by_dockers_rules,
        ROOT a_container_that_does_not_run_is_copied_into_and_out_of,
        ROOT archives_come_from_standard_input_and_go_to_standard_output,
        ROOT no_byte_of_the_host_is_read_or_written_through_a_link_that_changes,
        ROOT an_archive_cannot_leave_its_folder,
        USER an_ordinary_user_copies_too,
        ROOT what_a_container_has_changed_is_shown,
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
    engine.run(&["-d", "--name", "swapper", "-v", "race:/race", "host", "sleep", "1000"]);
    let race = engine.root.path().join("volumes/race/_data");
    fs::create_dir(race.join("d")).unwrap();
    fs::write(race.join("d/secret"), "inside\n").unwrap();
    symlink(&victim, race.join("far")).unwrap();
    // As the container's process could, only faster.
    let attacker = Flipper::start(race.join("d"), race.join("far"));
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
    drop(attacker);
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
