//! What only cgroup v1 has: a tree per controller, and each with its own habits.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use namespaces::explain::step;
use namespaces::{Context, Error, Result};
use nix::errno::Errno;

use crate::CHAPTER;
use crate::devices::DeviceRule;
use crate::group::write_file;

/// A new cpuset allows no processor and no memory, and lets no process in. It gets
/// what the group above has.
pub(crate) fn inherit_cpuset(path: &Path, above: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |folder: &Path| {
            let path = folder.join(file);
            fs::read_to_string(&path).doing(|| format!("read {}", path.display()))
        };
        if read(path)?.trim().is_empty() {
            write_file(&path.join(file), read(above)?.trim())?;
        }
    }
    Ok(())
}

/// Nothing at first, then rule by rule.
pub(crate) fn allow_devices(path: &Path, rules: &[DeviceRule]) -> Result<()> {
    let call = || format!("write {}/devices.{{deny,allow}}  {} rules", path.display(), rules.len());
    step(CHAPTER, call, || {
        let deny = path.join("devices.deny");
        fs::write(&deny, "a").doing(|| format!("write a to {}", deny.display()))?;
        let path = path.join("devices.allow");
        let allow = fs::File::options().write(true).open(&path);
        let mut allow = allow.doing(|| format!("open {}", path.display()))?;
        rules.iter().try_for_each(|rule| {
            let rule = rule.to_string();
            allow.write_all(rule.as_bytes()).doing(|| format!("write {rule} to {}", path.display()))
        })
    })
}

/// Asks for a stop until all have stopped: a fork that was under way can hold it up,
/// and then the kernel wants to be asked again.
pub(crate) fn freeze(path: &Path) -> Result<()> {
    let state = path.join("freezer.state");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        write_file(&state, "FROZEN")?;
        let now = fs::read_to_string(&state).doing(|| format!("read {}", state.display()))?;
        if now.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > deadline {
            thaw(path)?;
            return Err(Error::new(format!("freeze {}", path.display()))
                .hint("a process in it does not stop, it may be waiting for a disk"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn thaw(path: &Path) -> Result<()> {
    write_file(&path.join("freezer.state"), "THAWED")
}

// ANCHOR: enter
/// The files through which a process enters: `tasks`, which takes one thread, and not
/// `cgroup.procs`, which stops all of the machine's forks to take a whole process.
pub(crate) fn open_tasks(path: &Path) -> Result<fs::File> {
    let path = path.join("tasks");
    fs::OpenOptions::new().write(true).open(&path).doing(|| format!("open {}", path.display()))
}

/// Lets the calling process, which has one thread, into a group; 0 means itself.
pub(crate) fn enter(tasks: &fs::File) -> Result<(), Errno> {
    nix::unistd::write(tasks, b"0").map(drop)
}
// ANCHOR_END: enter
