//! Where an exercise runs: for root in a copy of the machine's world, so that a mistake
//! costs nobody the name or the mounts of their laptop.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use testkit::Tended;

use crate::sys;

/// What counts as the host in one run.
pub(crate) struct World {
    /// A process that does nothing but keep the world of root's program, beyond the
    /// program's end; none where the world is the machine's own.
    keeper: Option<Tended>,
    hostname: String,
    mounts: BTreeSet<String>,
}

impl World {
    /// The machine itself: an ordinary user can spoil nothing.
    pub fn real() -> Result<World> {
        let own = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let hostname = nix::unistd::gethostname()?.to_string_lossy().into_owned();
        Ok(World { keeper: None, hostname, mounts: mount_points(&own) })
    }

    /// A copy of the machine's world, for root.
    pub fn copy() -> Result<World> {
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::piped()).stdout(Stdio::null());
        sys::unshare_world(&mut cat);
        let keeper = Tended(cat.spawn().context("make a world for the program: unshare")?);
        let world = World { keeper: Some(keeper), ..World::real()? };
        world.ask("ip", &["link", "set", "lo", "up"]);
        Ok(world)
    }

    /// Lets the command run in this world, in `folder`.
    pub fn host(&self, command: &mut Command, folder: &Path) -> Result<()> {
        let Some(keeper) = &self.keeper else {
            command.current_dir(folder);
            return Ok(());
        };
        let mut namespaces = Vec::new();
        for kind in ["uts", "mnt", "net", "ipc"] {
            let file = format!("/proc/{}/ns/{kind}", keeper.0.id());
            namespaces.push(File::open(&file).with_context(|| format!("open {file}"))?);
        }
        sys::join(command, namespaces, CString::new(folder.as_os_str().as_bytes())?);
        Ok(())
    }

    /// What a program prints that runs in this world.
    pub fn ask(&self, program: &str, args: &[&str]) -> String {
        let mut command = match &self.keeper {
            None => Command::new(program),
            Some(keeper) => {
                let mut enter = Command::new("nsenter");
                enter.args(["--uts", "--mount", "--net", "--ipc"]);
                enter.arg(format!("--target={}", keeper.0.id())).arg(program);
                enter
            }
        };
        let output = command.args(args).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }

    /// What the program has changed in this world and not put back, one line each.
    pub fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        let now = self.ask("uname", &["-n"]);
        if now.trim_end() != self.hostname {
            changes.push(format!("the host's name is {} now", now.trim_end()));
        }
        if self.keeper.is_some() {
            let now = mount_points(&self.ask("cat", &["/proc/self/mountinfo"]));
            let left = now.difference(&self.mounts);
            changes.extend(left.map(|place| format!("a mount is left on the host: {place}")));
        }
        changes
    }
}

fn mount_points(mountinfo: &str) -> BTreeSet<String> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}
