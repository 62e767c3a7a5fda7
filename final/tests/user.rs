//! The whole engine as an ordinary user, and with a terminal: the first command of the
//! README, and what may go wrong with it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;
use testkit::{Needs, User};

fn main() -> std::process::ExitCode {
    let needs = [Needs::User, Needs::UserNamespaces, Needs::Overlay];
    let test = |name, act: fn()| testkit::test(name, &needs, act);
    testkit::main(vec![
        test("an_ordinary_user_is_root_in_a_container_of_the_built_in_image", built_in_image),
        test("an_ordinary_user_s_container_lives_and_goes", a_life),
        test("files_of_other_owners_go_with_the_container", other_owners),
        test("a_volume_keeps_what_an_ordinary_user_wrote", volume),
        test("a_killed_shim_takes_the_container_along", killed_shim),
        test("a_device_of_the_host_has_any_place_that_a_user_wants", device),
        test("a_terminal_has_jobs_keys_and_a_size", terminal),
        test("a_terminal_is_given_back_when_a_signal_ends_the_client", given_back),
        test("a_terminal_where_there_is_none_is_refused", no_terminal),
    ])
}

/// A user with an engine of its own.
struct Engine {
    user: User,
    program: PathBuf,
}

impl Engine {
    fn new() -> Self {
        let program = testkit::reachable(env!("CARGO_BIN_EXE_coracle"));
        Self { user: testkit::user().unwrap(), program }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.user.command(&self.program);
        command.args(words).stdin(Stdio::null());
        command
    }

    fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Standard output of what must succeed.
    fn run(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn containers(&self) -> usize {
        let folder = self.user.home().join(".local/share/coracle/containers");
        std::fs::read_dir(folder).unwrap().count()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for id in self.output(&["ps", "-aq"]).stdout.split(|byte| *byte == b'\n') {
            if !id.is_empty() {
                self.output(&["rm", "-f", &String::from_utf8_lossy(id)]);
            }
        }
        // The layers' files belong to users whom only a user namespace knows.
        self.output(&["rmi", "-f", "host"]);
    }
}

const NONE: [&str; 2] = ["--network", "none"];

fn with<'a>(verb: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [verb, &NONE, rest].concat()
}

fn built_in_image() {
    let engine = Engine::new();
    // Without --network: where pasta cannot run, there is a warning and no network.
    let id = engine.run(&["run", "--rm", "host", "id", "-u"]);
    assert_eq!(id, "0");
    assert!(engine.run(&["images"]).contains("host"));
    assert_eq!(engine.containers(), 0);
    assert!(engine.run(&["rmi", "host"]).contains("Deleted"));
}

fn a_life() {
    let engine = Engine::new();
    engine.run(&with(&["run", "-d", "--name", "web"], &["host", "sh", "-c", "echo hi; sleep 99"]));
    assert!(engine.run(&["ps"]).contains("web"));
    assert_eq!(engine.run(&["exec", "web", "id", "-u"]), "0");
    assert_eq!(engine.output(&["exec", "web", "sh", "-c", "exit 4"]).status.code(), Some(4));
    assert_eq!(engine.run(&["logs", "web"]), "hi");
    assert!(engine.run(&["inspect", "web"]).contains("\"Running\": true"));
    assert!(engine.run(&["explain", "web"]).contains("CLONE_NEWUSER"));
    engine.run(&["stop", "-t", "0", "web"]);
    assert!(engine.run(&["ps", "-a"]).contains("Exited (137)"));
    engine.run(&["rm", "web"]);
    assert_eq!(engine.containers(), 0);
}

fn other_owners() {
    let engine = Engine::new();
    let ids = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    let owner = if ids.contains(&engine.user.name) { "55:66" } else { "0:0" };
    let script = format!("mkdir /d; touch /d/f; chown -R {owner} /d; chmod 0 /d");
    engine.run(&with(&["run", "--name", "owned"], &["host", "sh", "-c", &script]));
    engine.run(&["ps", "-as"]);
    engine.run(&["rm", "owned"]);
    assert_eq!(engine.containers(), 0);
}

fn volume() {
    let engine = Engine::new();
    let mount = ["run", "--rm", "-v", "data:/data"];
    engine.run(&with(&mount, &["host", "sh", "-c", "echo kept >/data/file"]));
    assert_eq!(engine.run(&with(&mount, &["host", "cat", "/data/file"])), "kept");
    engine.run(&["volume", "rm", "data"]);
}

fn killed_shim() {
    let engine = Engine::new();
    let id = engine.run(&with(&["run", "-d"], &["host", "sleep", "99"]));
    let folder = engine.user.home().join(".local/share/coracle/containers").join(&id);
    let pid = engine.run(&["inspect", "-f", "{{.State.Pid}}", &id]).parse::<i32>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let shim = status.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
    kill(Pid::from_raw(shim.parse().unwrap()), Signal::SIGKILL).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while !engine.run(&["ps", "-a"]).contains("Dead") {
        assert!(Instant::now() < until, "its end is never told");
    }
    engine.run(&["rm", &id]);
    assert!(!folder.exists());
}

/// A client in a terminal.
struct Screen {
    terminal: std::fs::File,
    /// The client's side, to look at its settings.
    other: OwnedFd,
    child: Child,
    seen: String,
}

impl Screen {
    fn new(engine: &Engine, words: &[&str]) -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = engine.command(words);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { terminal: master.into(), other: slave, child, seen: String::new() }
    }

    fn send(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this appears.
    fn expect(&mut self, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            self.read();
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < until, "no {text:?} in {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = self.terminal.read(&mut buffer) {
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn terminal() {
    let engine = Engine::new();
    engine.run(&with(&["run", "--rm"], &["host", "true"]));
    let mut screen = Screen::new(&engine, &with(&["run", "-it", "--rm"], &["host", "sh"]));
    let before = tcgetattr(&screen.other).unwrap();
    screen.expect("# ");
    screen.send("tty\r");
    screen.expect("/dev/pts/0");
    screen.send("sh -c 'echo rea\"\"dy; exec sleep 99'\r");
    screen.expect("ready\r\n");
    screen.send("\x03");
    screen.expect("# ");
    screen.send("echo code=$?.\r");
    screen.expect("code=130.");
    screen.send("exit 7\r");
    assert_eq!(screen.end(), Some(7));
    assert_eq!(tcgetattr(&screen.other).unwrap(), before);
    assert_eq!(engine.containers(), 0);
}

fn given_back() {
    let engine = Engine::new();
    engine.run(&with(&["run", "--rm"], &["host", "true"]));
    let mut screen = Screen::new(&engine, &with(&["run", "-it"], &["host", "sh"]));
    let before = tcgetattr(&screen.other).unwrap();
    screen.expect("# ");
    screen.send("echo a\"\"b\r");
    screen.expect("ab");
    kill(Pid::from_raw(screen.child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(screen.end(), Some(143));
    assert_eq!(tcgetattr(&screen.other).unwrap(), before);
    assert_eq!(engine.run(&["ps", "-q"]).lines().count(), 1, "the container lives on");
}

fn device() {
    let engine = Engine::new();
    let script = "echo gone > /dev/own && stat -c '%F %t:%T' /dev/own";
    let words = ["--rm", "--device", "/dev/null:/dev/own", "host", "sh", "-c", script];
    assert_eq!(engine.run(&with(&["run", "-q"], &words)), "character special file 1:3");
}

fn no_terminal() {
    let engine = Engine::new();
    let output = engine.output(&with(&["run", "-it", "--rm"], &["host", "sh"]));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the input device is not a TTY"), "{said}");
}
