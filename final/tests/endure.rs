//! A thousand short lives, and sudden deaths among them: nothing may be left.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Needs, wait_until};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

use engine::Engine;

/// How many lives; a quick look needs fewer.
const LIVES: &str = "CORACLE_LIVES";

fn main() {
    let needs = [Needs::Root, Needs::Overlay, Needs::Network];
    testkit::main(vec![
        testkit::test(
            "a_thousand_lives_with_sudden_deaths_leave_nothing",
            &needs,
            a_thousand_lives,
        ),
        testkit::test(
            "a_killed_creation_keeps_no_name_and_of_many_that_want_it_one_has_it",
            &needs,
            a_killed_creation_keeps_no_name,
        ),
    ])
}

/// Chance that can be had again: the seed is said when the test fails.
struct Chance(u64);

impl Chance {
    /// xorshift64: good enough to choose a victim.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// One process in three is killed.
    fn strikes(&mut self) -> bool {
        self.below(3) == 0
    }
}

fn a_thousand_lives() {
    let engine = Engine::with_network();
    // The image is made once, by nobody who is killed.
    engine.tell(&engine.words(&["--rm", "host", "true"]));
    let lives: u32 = std::env::var(LIVES).ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}, {lives} lives");
    let next = AtomicU32::new(0);
    // Two at a time: they meet at the locks of names, leases and rules.
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (engine, next) = (&engine, &next);
            scope.spawn(move || {
                let mut chance = Chance(seed ^ (worker + 1));
                while next.fetch_add(1, Ordering::Relaxed) < lives {
                    live(engine, &format!("life{worker}"), &mut chance);
                }
            });
        }
    });
    tidy(&engine);
    engine.assert_nothing_left();
    assert_eq!(leases(engine.root.path()), Vec::<String>::new(), "addresses are still given out");
}

/// Wherever a creation is killed: the name belongs to a container that is listed, or to
/// one of those who want it a moment later.
fn a_killed_creation_keeps_no_name() {
    let engine = Engine::new();
    engine.tell(&engine.words(&["--rm", "host", "true"]));
    let create =
        ["create", "--cgroup-parent", &engine.word, "--network", "none", "--name", "ck", "host"];
    let begin = || {
        let mut command = engine.command(&[&create[..], &["true"]].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start coracle")
    };
    for round in 0..60 {
        let mut killed = begin();
        std::thread::sleep(Duration::from_micros(round * 500));
        killed.kill().unwrap();
        killed.wait().unwrap();
        let listed = engine.tell(&["ps", "-aq"]).lines().count();
        let mut others: Vec<_> = (0..3).map(|_| begin()).collect();
        let won =
            others.iter_mut().filter_map(|other| other.wait().ok()).filter(|end| end.success());
        assert_eq!(listed + won.count(), 1, "killed after {} µs", round * 500);
        assert_eq!(engine.tell(&["ps", "-a", "--format", "{{.Names}}"]), "ck");
        engine.tell(&["rm", "ck"]);
    }
    age_all(&engine);
    engine.tell(&engine.words(&["--rm", "host", "true"]));
    engine.assert_nothing_left();
}

/// Create, start, kill, remove, each by a process of its own that may be struck down, as
/// may the shim and the program.
fn live(engine: &Engine, name: &str, chance: &mut Chance) {
    let network = ["none", "bridge"][usize::from(chance.below(4) == 0)];
    let ports: &[&str] = if network == "bridge" { &["-p", "127.0.0.1:0:80"] } else { &[] };
    let create = ["create", "--quiet", "--cgroup-parent", &engine.word, "--name", name];
    let image = ["host", "sleep", "1000"];
    let create = [&create[..], &["--network", network], ports, &image].concat();
    perhaps_killed(engine, &create, chance);
    perhaps_killed(engine, &["start", name], chance);
    if chance.strikes()
        && let Some(pid) = pid_of(engine, name)
    {
        // The program, or the shim that owns it.
        let victim = if chance.strikes() { pid } else { engine::parent_of(pid).unwrap_or(pid) };
        let _ = kill(victim, Signal::SIGKILL);
    }
    perhaps_killed(engine, &["kill", name], chance);
    perhaps_killed(engine, &["rm", "-f", name], chance);

    // Whatever has happened: who asks in peace gets what they ask for.
    let gone = || {
        engine.ask(&["rm", "-f", name]);
        !engine.tell(&["ps", "-a", "--format", "{{.Names}}"]).lines().any(|found| found == name)
    };
    let removed = wait_until(Duration::from_secs(20), gone);
    assert!(removed, "{name} cannot be removed: {:?}", engine.ask(&["rm", "-f", name]));
}

/// Runs a command, and strikes it down in the midst of it with a chance of one in three.
fn perhaps_killed(engine: &Engine, words: &[&str], chance: &mut Chance) {
    let mut command = engine.command(words);
    let mut child: Child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start coracle");
    if chance.strikes() {
        std::thread::sleep(Duration::from_micros(chance.below(40_000)));
        let _ = child.kill();
    }
    let _ = child.wait();
}

fn pid_of(engine: &Engine, name: &str) -> Option<Pid> {
    let said = engine.ask(&["inspect", "-f", "{{.State.Pid}}", name]);
    said.out.trim().parse().ok().filter(|pid| *pid > 0).map(Pid::from_raw)
}

/// What is left half-way is old now.
fn age_all(engine: &Engine) {
    for folder in ["containers", "names"] {
        let entries = fs::read_dir(engine.root.path().join(folder)).unwrap();
        entries.flatten().for_each(|entry| age(&entry.path()));
    }
}

/// Makes a file or a folder two minutes older.
fn age(path: &Path) {
    if let Ok(file) = fs::File::open(path) {
        let _ = file.set_modified(SystemTime::now() - Duration::from_secs(120));
    }
}

/// The next creation takes away what half a creation, or half a removal, has left, when
/// that is a minute old.
fn tidy(engine: &Engine) {
    age_all(engine);
    for name in ["life0", "life1"] {
        engine.tell(&engine.words(&["--rm", "--name", name, "host", "true"]));
    }
}

/// Every address that is still somebody's.
fn leases(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("networks")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => folders.push(entry.path()),
                false if folder.ends_with("leases") => {
                    found.push(entry.path().display().to_string())
                }
                false => {}
            }
        }
    }
    found
}
