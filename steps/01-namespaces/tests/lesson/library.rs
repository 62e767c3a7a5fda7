//! The library itself, in a child that has one thread.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use namespaces::{
    Child, CloneArgs, Container, Context, Error, IdMaps, Mechanism, Namespaces, Process, Result,
    User, userns,
};

use crate::who::{Answer, Who, for_all};

/// The environment variable that names what the child is to do.
pub const PLAY: &str = "NAMESPACES_PLAY";

/// And the one that names where.
const PLACE: &str = "NAMESPACES_PLACE";

pub fn tests() -> Vec<Trial> {
    [
        for_all("the_moments_come_in_order", |who| {
            insta::allow_duplicates! { insta::assert_snapshot!(stage(who, "moments").ok(), @r"
            first before_clone
            second before_clone
            first in_parent
            second in_parent
            first in_child
            second in_child
            program
            Ok(Code(3))
            second teardown
            first teardown
            Ok(())
            ") }
        }),
        for_all("an_error_on_either_side_undoes_what_was_done", |who| {
            insta::allow_duplicates! { insta::assert_snapshot!(stage(who, "errors").ok(), @r"
            -- before_clone
            first before_clone
            second before_clone
            second teardown
            first teardown
            second before_clone: it was told to fail
            -- in_parent
            first before_clone
            second before_clone
            first in_parent
            second in_parent
            second teardown
            first teardown
            second in_parent: it was told to fail
            -- in_child
            first before_clone
            second before_clone
            first in_parent
            second in_parent
            first in_child
            second in_child
            second teardown
            first teardown
            second in_child: it was told to fail
            -- panic in_child
            first before_clone
            second before_clone
            first in_parent
            second in_parent
            first in_child
            second in_child
            second teardown
            first teardown
            set up the container: the new process panicked
            -- program
            first before_clone
            first in_parent
            first in_child
            first teardown
            exec nope: executable file not found in $PATH
            ") }
        }),
        for_all("created_is_the_brink_of_exec", |who| {
            insta::allow_duplicates! { insta::assert_snapshot!(stage(who, "brink").ok(), @r"
            first before_clone
            second before_clone
            first in_parent
            second in_parent
            first in_child
            second in_child
            the program runs: false
            second teardown
            first teardown
            dropped
            first before_clone
            second before_clone
            first in_parent
            second in_parent
            first in_child
            second in_child
            program
            Ok(Code(3))
            second teardown
            first teardown
            ") }
        }),
        for_all("who_is_killed_in_the_middle_of_the_first_moment_leaves_nothing", |who| {
            let dir = testkit::temp_dir();
            std::os::unix::fs::chown(dir.path(), Some(who.uid()), None).unwrap();
            let made = dir.path().join("made");
            let killed = Answer::of(actor(who, "killed").env(PLACE, &made));
            // -1: a signal.
            assert_eq!((killed.code, killed.err.as_str()), (-1, ""));
            assert!(testkit::wait_until(Duration::from_secs(5), || !made.exists()), "it stays");
        }),
        for_all("a_container_is_not_cloned_from_threads", |who| {
            insta::allow_duplicates! { insta::assert_snapshot!(stage(who, "threads").ok(), @r"
            this process has 2 threads, and a container must be cloned from one that has a single one
            this process has 2 threads, and a container must be cloned from one that has a single one
            ") }
        }),
        for_all("a_time_namespace_can_be_had", |who| {
            assert_eq!(stage(who, "time").ok(), "true\n");
        }),
        for_all("work_in_a_user_namespace_comes_back", |who| {
            insta::allow_duplicates! { insta::assert_snapshot!(stage(who, "work").ok(), @r#"
            Ok((0, "words"))
            Ok(7)
            Err(Error { doing: "no", errno: None, hint: Some("really"), exit_code: 9 })
            work in a user namespace: the new process panicked
            work in a user namespace: the child gave no answer: it was killed by SIGABRT
            work in a user namespace: the child gave no answer: it ended with code 3
            "#) }
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// This program, where everybody can reach it.
pub fn stage_itself() -> PathBuf {
    testkit::reachable(std::env::current_exe().unwrap())
}

fn stage(who: Who, play: &str) -> Answer {
    Answer::of(&mut actor(who, play))
}

fn actor(who: Who, play: &str) -> Command {
    let mut command = who.command(stage_itself());
    command.env(PLAY, play).env("RUST_BACKTRACE", "0");
    command
}

pub fn play(play: &str) {
    match play {
        "moments" => moments(),
        "errors" => errors(),
        "killed" => killed(),
        "brink" => brink(),
        "threads" => threads(),
        "time" => time(),
        "work" => work(),
        other => panic!("no play {other}"),
    }
}

/// Says when its moments come, and fails at one of them.
struct Witness {
    name: &'static str,
    fails: &'static str,
    torn: Cell<bool>,
}

impl Witness {
    fn new(name: &'static str, fails: &'static str) -> Self {
        Self { name, fails, torn: Cell::new(false) }
    }

    fn sees(&self, moment: &str) -> Result<()> {
        println!("{} {moment}", self.name);
        assert!(format!("panic {moment}") != self.fails, "it was told to panic");
        match moment == self.fails {
            true => Err(Error::new(format!("{} {moment}", self.name)).hint("it was told to fail")),
            false => Ok(()),
        }
    }
}

impl Mechanism for Witness {
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        self.sees("before_clone")
    }
    fn in_parent(&mut self, _: &Child) -> Result<()> {
        self.sees("in_parent")
    }
    fn in_child(&self) -> Result<()> {
        self.sees("in_child")
    }
    fn teardown(&mut self) -> Result<()> {
        match self.torn.replace(true) {
            false => self.sees("teardown"),
            true => Ok(()),
        }
    }
}

fn standard() -> Namespaces {
    match userns::needed() {
        true => Namespaces::container().user(IdMaps::standard()),
        false => Namespaces::container(),
    }
}

fn container(first: &'static str, second: &'static str) -> Container {
    Container::new(Process::new(["sh", "-c", "echo program; exit 3"]))
        .with(standard())
        .with(Witness::new("first", first))
        .with(Witness::new("second", second))
        .with(User::root())
}

fn moments() {
    let mut running = container("", "").guarded().start().unwrap();
    println!("{:?}", running.wait());
    println!("{:?}", running.teardown());
}

fn errors() {
    std::panic::set_hook(Box::new(|_| {}));
    for moment in ["before_clone", "in_parent", "in_child", "panic in_child"] {
        println!("-- {moment}");
        println!("{}", container("", moment).guarded().start().err().unwrap());
    }
    println!("-- program");
    let nothing = Container::new(Process::new(["nope"])).with(Witness::new("first", ""));
    println!("{}", nothing.start().err().unwrap());
}

/// Makes a folder, and is killed at once.
struct Unlucky(PathBuf);

impl Mechanism for Unlucky {
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        std::fs::create_dir(&self.0).unwrap();
        nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
        unreachable!("SIGKILL is not survived");
    }
    fn teardown(&mut self) -> Result<()> {
        std::fs::remove_dir(&self.0).doing(|| "remove the folder")
    }
}

fn killed() {
    let place = std::env::var_os(PLACE).unwrap().into();
    let container = Container::new(Process::new(["true"])).with(Unlucky(place));
    println!("{:?}", container.guarded().start().err());
}

fn brink() {
    let created = container("", "").create().unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/comm", created.pid())).unwrap();
    println!("the program runs: {}", state.trim() == "sh");
    drop(created);
    println!("dropped");
    let mut running = container("", "").create().unwrap().start().unwrap();
    println!("{:?}", running.wait());
}

fn threads() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || receiver.recv());
    println!("{}", container("", "").start().err().unwrap());
    println!("{}", userns::run_in(|| Ok(1)).unwrap_err());
    drop(sender);
    let _ = other.join();
}

fn time() {
    let process = Process::new(["readlink", "/proc/self/ns/time"]);
    let own = std::fs::read_link("/proc/self/ns/time").unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let duplicate = || writer.try_clone().unwrap().into();
    let process = Process { stdio: Some([duplicate(), duplicate(), duplicate()]), ..process };
    let mut running =
        Container::new(process).with(standard().and(libc::CLONE_NEWTIME)).start().unwrap();
    drop(writer);
    running.wait().unwrap();
    let theirs = std::io::read_to_string(&mut reader).unwrap();
    println!("{}", theirs.starts_with("time:") && theirs.trim() != own.to_string_lossy());
}

fn work() {
    // A panic's message has a place in it, which is nobody's promise.
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:?}", userns::run_in(|| Ok((nix::unistd::geteuid().as_raw(), "words".to_owned()))));
    println!("{:?}", userns::run_in(|| Ok(std::thread::spawn(|| 7).join().unwrap())));
    println!("{:?}", userns::run_in(|| Err::<(), _>(Error::new("no").hint("really").exit_code(9))));
    println!("{}", userns::run_in(|| -> Result<()> { panic!("told by the hook") }).unwrap_err());
    println!("{}", userns::run_in(|| -> Result<()> { std::process::abort() }).unwrap_err());
    println!("{}", userns::run_in(|| -> Result<()> { std::process::exit(3) }).unwrap_err());
}
