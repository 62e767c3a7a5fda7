//! Runs a program, watches it from outside, and compares with what was promised.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, geteuid};
use regex::Regex;

use crate::Exercise;
use crate::observe::{self, cgroup_folder, children, container_of};
use crate::world::World;

/// So long a program may take, in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of running an exercise once.
#[derive(Debug)]
pub(crate) struct Run {
    /// What is compared: section titles, and below each its indented lines.
    pub picture: String,
    /// What it wrote to standard error.
    pub errors: String,
}

/// Runs one of an exercise's programs: as whoever asks, or as this user of the tests.
pub(crate) fn run(
    exercise: &Exercise,
    program: &Path,
    user: Option<&testkit::User>,
) -> Result<Run> {
    // Who is orphaned comes to us, and is found.
    set_child_subreaper(true)?;
    let folder = tempfile::Builder::new().prefix("workshop-").tempdir()?;
    let sheltered = user.is_none() && geteuid().is_root();
    let world = if sheltered { World::copy()? } else { World::real()? };
    let known = children(std::process::id());
    let mut command = match user {
        Some(user) => user.command(program),
        None => {
            let mut command = Command::new(program);
            world.host(&mut command, folder.path())?;
            command
        }
    };
    command.process_group(0).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let watch = Watch::of(&mut child);
    let seen = watch.follow(&mut child, |program| {
        let mut lines = Vec::new();
        for sight in &exercise.sights {
            lines.extend(observe::look(sight, program, |name, args| world.ask(name, args)));
        }
        lines
    });
    let mut after = seen.ending.clone();
    after.extend(world.changes());
    after.extend(left_behind(&known));
    after.extend(seen.cgroups.iter().filter(|folder| folder.exists()).map(|folder| {
        // It was told; nobody else would ever remove it.
        let _ = fs::remove_dir(folder);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        format!("a cgroup is left: {}", mask(&name))
    }));
    let mut picture = section("It prints", &seen.printed);
    if !exercise.sights.is_empty() {
        picture += &section("While it runs, the host sees", &seen.observed);
    }
    picture += &section("After it", &after);
    let errors = seen.errors.replace(&*folder.path().to_string_lossy(), "FOLDER");
    Ok(Run { picture: filtered(&picture, folder.path()), errors })
}

fn section(title: &str, lines: &[String]) -> String {
    let lines = lines.iter().map(|line| format!("  {line}\n"));
    format!("{title}:\n{}", lines.collect::<String>())
}

/// Processes that outlive the program, which by now are our children; they are ended.
fn left_behind(known: &[u32]) -> Vec<String> {
    // Those that were on their way out get a moment.
    let strangers = || {
        let mut pids = children(std::process::id());
        pids.retain(|pid| !known.contains(pid));
        pids
    };
    let is_alive = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    let _ = testkit::wait_until(Duration::from_secs(1), || !strangers().iter().any(is_alive));
    let mut left = Vec::new();
    for pid in strangers() {
        if is_alive(&pid) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            left.push(format!("a process is left: {}", name.trim_end()));
        }
        let pid = Pid::from_raw(pid as i32);
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
    left
}

/// A program that runs, and the ends of its pipes.
struct Watch {
    lines: Receiver<String>,
    errors: Receiver<String>,
}

#[derive(Default)]
struct Seen {
    printed: Vec<String>,
    observed: Vec<String>,
    ending: Vec<String>,
    errors: String,
    cgroups: Vec<PathBuf>,
}

impl Watch {
    fn of(child: &mut Child) -> Watch {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let _ = send.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let (send, errors) = channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut text));
            let _ = send.send(String::from_utf8_lossy(&text).into_owned());
        });
        Watch { lines, errors }
    }

    /// Lets it run; at the line `ready` it is looked at, and then its input ends.
    fn follow(self, child: &mut Child, look: impl Fn(u32) -> Vec<String>) -> Seen {
        let end = Instant::now() + PATIENCE;
        let mut seen = Seen::default();
        let mut status = None;
        loop {
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) if line.trim_end() == "ready" => {
                    seen.cgroups = new_cgroups(container_of(child.id()));
                    seen.observed = look(child.id());
                    drop(child.stdin.take());
                }
                Ok(line) => seen.printed.push(line.trim_end().to_owned()),
                Err(RecvTimeoutError::Disconnected) if status.is_some() => break,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                // Somebody who outlives the program may hold the pipe.
                Err(RecvTimeoutError::Timeout) if status.is_some() => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            status = status.or_else(|| child.try_wait().ok().flatten());
            if status.is_none() && Instant::now() > end {
                let group = Pid::from_raw(-(child.id() as i32));
                let _ = kill(group, Signal::SIGKILL);
                let _ = child.wait();
                seen.ending = vec![format!("it did not end within {} seconds", PATIENCE.as_secs())];
                break;
            }
        }
        if let Some(status) = status {
            seen.ending = vec![ending(status)];
        }
        seen.errors = self.errors.recv_timeout(Duration::from_millis(500)).unwrap_or_default();
        seen
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "it ends well".into(),
        (Some(code), _) => format!("it ends with code {code}"),
        (_, Some(signal)) => format!("it was killed by signal {signal}"),
        _ => "its end is unknown".into(),
    }
}

/// The cgroups of a container that are not ours, too: they must go with it.
fn new_cgroups(container: u32) -> Vec<PathBuf> {
    let own = std::process::id();
    let folder = |controller: &&str| {
        let folder = cgroup_folder(container, controller)?;
        (Some(&folder) != cgroup_folder(own, controller).as_ref()).then_some(folder)
    };
    ["", "memory", "pids", "cpu"].iter().filter_map(folder).collect()
}

/// Times, ids and addresses of namespaces differ from run to run; they get stable names.
fn filtered(picture: &str, folder: &Path) -> String {
    mask(&picture.replace(&*folder.to_string_lossy(), "FOLDER"))
}

fn mask(text: &str) -> String {
    static FILTERS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"\b\d+(\.\d+)? ?(µs|ms)\b", "TIME"),
            (r"\b[0-9a-f]{64}\b", "DIGEST"),
            (r"\b[0-9a-f]{12}\b", "ID"),
            (r"\[\d{6,}\]", "[INODE]"),
            (r"/proc/\d+/", "/proc/PID/"),
            (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
        ]
        .map(|(pattern, name)| (Regex::new(pattern).expect("a good pattern"), name))
        .into()
    });
    FILTERS.iter().fold(text.to_owned(), |text, (pattern, name)| {
        pattern.replace_all(&text, *name).into_owned()
    })
}

/// What the solved program shows, from `snapshots/NAME.snap`.
pub(crate) fn expected(exercise: &Exercise) -> Result<String> {
    let file = exercise.snapshots().join(&exercise.name).with_extension("snap");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    // insta's own format: a header between two lines of dashes.
    let body = text.splitn(3, "---\n").nth(2);
    body.map(str::to_owned).with_context(|| format!("{} has no header", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_has_a_stable_name() {
        assert_eq!(mask("uts:[4026531838] in 17 µs"), "uts:[INODE] in TIME");
        assert_eq!(mask("/proc/4711/ns 02:42:ac:11:00:02"), "/proc/PID/ns MAC");
        assert_eq!(mask("pid 12, 64 MiB"), "pid 12, 64 MiB");
    }
}
