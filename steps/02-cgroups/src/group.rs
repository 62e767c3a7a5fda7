//! One control group that exists, or is about to: a folder in each tree.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use namespaces::explain::step;
use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkdir};
use serde::{Deserialize, Serialize};

use crate::claim::{claim, create_claimed, in_use};
use crate::hierarchy::{Mounts, Tree};
use crate::limits::{Limits, Machine};
use crate::plan::{self, Write};
use crate::{CHAPTER, v1, v2};

/// How long processes that were killed may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// The mode of a group's folder: anyone may look at the numbers in it.
const FOLDER_MODE: Mode = Mode::from_bits_truncate(0o755);

// ANCHOR: group
/// A control group: its folder in each tree of this machine.
///
/// It is plain data that can be kept in a record and used by another process. It
/// owns nothing: dropping it leaves the group as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The folders in v1 trees.
    pub(crate) v1: Vec<Folder>,
    /// The folder in the v2 tree.
    pub(crate) v2: Option<Folder>,
    /// The folder in the v1 tree for cpusets, while no set was asked for: a group there
    /// has to be given processors and memory before it lets anyone in, which costs more
    /// than all the other trees together.
    #[serde(default)]
    pub(crate) cpuset: Option<Folder>,
}
// ANCHOR_END: group

/// The group in one tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folder {
    /// Whether the tree is that of v2.
    pub v2: bool,
    /// The known controllers of the tree.
    pub controllers: Vec<String>,
    /// The folder.
    pub path: PathBuf,
    /// The folder above that was there before us, and stays.
    pub base: PathBuf,
}

impl Group {
    /// The group `name` (`coracle/4711`), whether it exists or not.
    ///
    /// Root's groups start at the top of the trees, an ordinary user's in the group
    /// that this process is in: that is what can have been delegated to them.
    ///
    /// # Errors
    /// A name that leads out of there.
    pub(crate) fn named(mounts: &Mounts, name: &str) -> Result<Self> {
        let name = name.trim_matches('/');
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::new(format!("{name:?} is no name for a cgroup"))
                .hint("it must be a path without . and .."));
        }
        let root = crate::is_real_root();
        let folder = |tree: &Tree| {
            let base = if root { &tree.mountpoint } else { v2::without_leaf(&tree.own) };
            Folder {
                v2: tree.v2,
                controllers: tree.controllers.clone(),
                path: base.join(name),
                base: base.to_path_buf(),
            }
        };
        let v1 = mounts.v1.iter().map(folder).collect();
        Ok(Self { v1, v2: mounts.v2.as_ref().map(folder), cpuset: None })
    }

    /// An existing group by its name, as it was given to [`crate::Cgroup::new`].
    ///
    /// # Errors
    /// There is none; a container without limits that an ordinary user started may
    /// have none.
    pub fn open(name: &str) -> Result<Self> {
        Self::open_in(&Mounts::of_this_process()?, name)
    }

    /// The same, in trees of the caller's choice.
    pub fn open_in(mounts: &Mounts, name: &str) -> Result<Self> {
        let mut group = Self::named(mounts, name)?;
        let missing: Vec<_> = group.v1.extract_if(.., |folder| !folder.path.is_dir()).collect();
        group.cpuset = missing.into_iter().find(Folder::is_for_cpusets_alone);
        group.v2.take_if(|folder| !folder.path.is_dir());
        if group.is_nowhere() {
            return Err(Error::os(format!("open the cgroup {name}"), Errno::ENOENT));
        }
        Ok(group)
    }

    /// The group that a process is in, whoever made it.
    pub fn of_process(pid: Pid) -> Result<Self> {
        let mounts = Mounts::of_process(&pid.to_string())?;
        let folder = |tree: Tree| Folder {
            v2: tree.v2,
            controllers: tree.controllers,
            base: tree.own.clone(),
            path: tree.own,
        };
        let v1 = mounts.v1.into_iter().map(folder).collect();
        Ok(Self { v1, v2: mounts.v2.map(folder), cpuset: None })
    }

    /// Its folders but for those of `other`.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        let foreign = |folder: &Folder| other.folders().all(|known| known.path != folder.path);
        self.v1.retain(foreign);
        self.v2.take_if(|folder| !foreign(folder));
        self
    }

    /// True if no tree has it.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none()
    }

    /// All its folders, those of v1 first.
    pub(crate) fn folders(&self) -> impl DoubleEndedIterator<Item = &Folder> {
        self.v1.iter().chain(&self.v2)
    }

    /// The v1 folder of a controller.
    pub(crate) fn in_v1(&self, controller: &str) -> Option<&Path> {
        let has = |folder: &&Folder| folder.controllers.iter().any(|name| name == controller);
        self.v1.iter().find(has).map(|folder| folder.path.as_path())
    }

    /// The v2 folder.
    pub(crate) fn in_v2(&self) -> Option<&Path> {
        self.v2.as_ref().map(|folder| folder.path.as_path())
    }

    /// Without a folder in a tree for cpusets alone, unless a set is asked for.
    pub(crate) fn without_idle_cpuset(mut self, limits: &Limits) -> Self {
        if !limits.has_cpuset() {
            self.cpuset = self.v1.extract_if(.., |folder| folder.is_for_cpusets_alone()).next();
        }
        self
    }

    /// The same group with that folder too, and its processes in it.
    fn with_cpuset(&self) -> Result<Self> {
        let mut group = self.clone();
        let Some(folder) = group.cpuset.take() else { return Ok(group) };
        create_folder(&folder, &|_| Ok(()))?;
        for pid in self.pids()? {
            match write_file(&folder.path.join("cgroup.procs"), &pid.to_string()) {
                // It has ended meanwhile.
                Err(error) if error.is(Errno::ESRCH) => {}
                result => result?,
            }
        }
        group.v1.push(folder);
        Ok(group)
    }

    /// Makes the folders, all or none. `limits` says whether there will be limits,
    /// for which processes that stand in the way are moved. The group is the caller's
    /// as long as what comes back is open.
    pub(crate) fn create(&self, limits: bool) -> Result<Option<File>> {
        let mut claim = None;
        for (n, folder) in self.claimed_first().enumerate() {
            let give = |path: &Path| match folder.v2 {
                true => v2::give_controllers(path, limits),
                false => Ok(()),
            };
            let made = match n {
                0 => create_claimed(folder, &give).map(|made| claim = Some(made)),
                _ => create_folder(folder, &give),
            };
            if let Err(error) = made {
                let _ = self.claimed_first().take(n).try_for_each(Folder::remove);
                // This one may be another container's, but not what is empty above it.
                folder.remove_empty_above();
                return Err(error);
            }
        }
        Ok(claim)
    }

    /// Sets the limits that are given and leaves the others as they are.
    ///
    /// # Errors
    /// A limit that makes no sense, that this machine has no controller for, or
    /// that the kernel refuses. Those before it are set then.
    pub fn update(&self, limits: &Limits) -> Result<()> {
        limits.check(&Machine::this())?;
        match limits.has_cpuset() {
            true => self.with_cpuset()?.apply(limits),
            false => self.apply(limits),
        }
    }

    /// The same for limits that are known to make sense.
    pub(crate) fn apply(&self, limits: &Limits) -> Result<()> {
        self.plan(limits).iter().try_for_each(|(write, folder)| apply(write, *folder))
    }

    /// The plan, each write with the folder it goes to: that of v1, where a v1 tree
    /// has the controller, else that of v2.
    fn plan(&self, limits: &Limits) -> Vec<(Write, Option<&Path>)> {
        let in_v1 = |write: &Write| match write.controller {
            "io" => self.in_v1("blkio"),
            controller => self.in_v1(controller),
        };
        let v1 = plan::v1(limits).into_iter().filter_map(|write| {
            let folder = in_v1(&write)?;
            Some((write, Some(folder)))
        });
        let v2 = plan::v2(limits).into_iter().filter(|write| in_v1(write).is_none());
        v1.chain(v2.map(|write| (write, self.in_v2()))).collect()
    }

    /// The processes in it and in the groups below it.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        // They are the same in every tree.
        self.folders().last().map_or(Ok(Vec::new()), |folder| pids_below(&folder.path))
    }

    /// Stops every process where it is, and returns when all have stopped. They
    /// cannot see it, and no signal wakes them; only on v2 SIGKILL still kills them.
    pub fn freeze(&self) -> Result<()> {
        match self.freezer()? {
            Freezer::V2(path) => v2::freeze(path),
            Freezer::V1(path) => v1::freeze(path),
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer()? {
            Freezer::V2(path) => v2::thaw(path),
            Freezer::V1(path) => v1::thaw(path),
        }
    }

    /// True from a freeze that was asked for until the thaw.
    pub fn is_frozen(&self) -> bool {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        match self.freezer() {
            Ok(Freezer::V2(path)) => read(path.join("cgroup.freeze")).trim() == "1",
            Ok(Freezer::V1(path)) => read(path.join("freezer.state")).trim() != "THAWED",
            Err(_) => false,
        }
    }

    /// That of v2 where there is one, which needs no controller (since Linux 5.2).
    fn freezer(&self) -> Result<Freezer<'_>> {
        let v2 = self.in_v2().filter(|path| path.join("cgroup.freeze").exists());
        let none = || Error::new("freeze the container: it has no cgroup that can");
        v2.map(Freezer::V2).or(self.in_v1("freezer").map(Freezer::V1)).ok_or_else(none)
    }

    // ANCHOR: kill
    /// Kills every process with SIGKILL, also those that keep forking.
    pub fn kill(&self) -> Result<()> {
        if let Some(path) = self.in_v2()
            && v2::kill(path)?
        {
            return Ok(());
        }
        // v1, or an older kernel: stop them all, so that none is born meanwhile.
        let frozen = self.freeze().is_ok();
        for pid in self.pids()? {
            let _ = kill(pid, Signal::SIGKILL);
        }
        if frozen { self.thaw() } else { Ok(()) }
    }
    // ANCHOR_END: kill

    // ANCHOR: remove
    /// Kills what is left in it and removes the folders. Content if there are none.
    ///
    /// # Errors
    /// A process that does not die within seconds, as one that waits for a disk.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        loop {
            // Everyone gets a turn, then the first error counts. Somebody may have asked for
            // a cpuset since. With the last one goes the claim to the name, and the list of
            // processes by which those that are left are found.
            let others = self.cpuset.iter().chain(self.claimed_first().skip(1));
            let removed = others.map(Folder::remove).fold(Ok(()), Result::and);
            let removed =
                removed.and_then(|()| self.claimed_first().take(1).try_for_each(Folder::remove));
            match removed {
                Err(error) if error.is(Errno::EBUSY) && Instant::now() < deadline => {
                    self.kill()?;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(error) if error.is(Errno::EBUSY) => {
                    return Err(error.hint("a process in it does not die"));
                }
                removed => return removed,
            }
        }
    }
    // ANCHOR_END: remove
}

/// Where a group is frozen.
enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Folder {
    /// True for the one tree whose new groups let no process in.
    fn is_v1_cpuset(&self) -> bool {
        self.controllers.iter().any(|name| name == "cpuset") && !self.v2
    }

    /// True for a v1 tree in which there is nothing but cpusets.
    pub(crate) fn is_for_cpusets_alone(&self) -> bool {
        self.is_v1_cpuset() && self.controllers.len() == 1
    }

    /// rmdir(2) of what is below, of the folder, and of the empty ones above up to
    /// the base. rm -r would try to unlink the files, which nobody can.
    fn remove(&self) -> Result<()> {
        remove_tree(&self.path)?;
        self.remove_empty_above();
        Ok(())
    }

    pub(crate) fn remove_empty_above(&self) {
        let above = self.path.ancestors().skip(1).take_while(|path| *path != self.base);
        for path in above {
            // Another container may be in it, or come this very moment.
            if fs::remove_dir(path).is_err() {
                break;
            }
        }
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    // Mostly there is nothing below, and the kernel knows best.
    if fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    for child in children(path) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.doing(|| format!("rmdir {}", path.display())),
    }
}

/// The groups directly below.
fn children(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// The processes of a group and of those below it.
pub(crate) fn pids_below(path: &Path) -> Result<Vec<Pid>> {
    let file = path.join("cgroup.procs");
    let text = fs::read_to_string(&file).doing(|| format!("read {}", file.display()))?;
    let mut pids: Vec<Pid> =
        text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect();
    for child in children(path) {
        pids.extend(pids_below(&child)?);
    }
    Ok(pids)
}

/// mkdir(2) of the folders from the base down, each told what it needs.
pub(crate) fn create_folder(folder: &Folder, give: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    // The last container of the group above may just be taking that with it.
    for _ in 0..100 {
        match walk_down(folder, give) {
            Err(error) if error.is(Errno::ENOENT) => {}
            result => return result,
        }
    }
    walk_down(folder, give)
}

// ANCHOR: walk_down
fn walk_down(folder: &Folder, give: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let mut above = folder.base.clone();
    for part in folder.path.strip_prefix(&folder.base).into_iter().flatten() {
        give(&above)?;
        let path = above.join(part);
        match mkdir(&path, FOLDER_MODE) {
            Err(Errno::EEXIST) if path == folder.path => take_over(&path)?,
            Err(Errno::EEXIST) => {}
            result => result.doing(|| format!("mkdir {}", path.display()))?,
        }
        if folder.is_v1_cpuset() {
            v1::inherit_cpuset(&path, &above)?;
        }
        above = path;
    }
    Ok(())
}
// ANCHOR_END: walk_down

/// A folder of that name is left from a container that ended badly; or it is not.
fn take_over(path: &Path) -> Result<()> {
    let _claim = claim(path)?;
    if !pids_below(path)?.is_empty() {
        return Err(in_use(path));
    }
    remove_tree(path)?;
    match mkdir(path, FOLDER_MODE) {
        Err(Errno::EEXIST) => Err(in_use(path)),
        made => made.doing(|| format!("mkdir {}", path.display())),
    }
}

// ANCHOR: write_file
/// Tells a cgroup something, in one write(2): the kernel reads each as a command.
pub(crate) fn write_file(path: &Path, value: &str) -> Result<()> {
    let call = || format!("write {}  {value}", path.display());
    step(CHAPTER, call, || {
        fs::write(path, value).doing(|| format!("write {value} to {}", path.display()))
    })
}
// ANCHOR_END: write_file

// ANCHOR: apply
/// Writes the first of the files that there is.
fn apply(write: &Write, folder: Option<&Path>) -> Result<()> {
    let there = write.choices.iter().find_map(|(file, value)| {
        let path = folder?.join(file);
        path.exists().then_some((path, value))
    });
    match there {
        Some((path, value)) => write_file(&path, value).map_err(|error| refused(error, write)),
        None if !write.required => Ok(()),
        None => Err(missing(write)),
    }
}
// ANCHOR_END: apply

/// The kernel's answers to a value that it does not like, in words.
fn refused(error: Error, write: &Write) -> Error {
    let hint = match (write.controller, error.errno.map(Errno::from_raw)) {
        ("memory", Some(Errno::EBUSY)) => "the container uses more than that now",
        ("io" | "blkio", Some(Errno::ENODEV)) => "only whole disks can be limited, no partitions",
        ("io" | "blkio", Some(Errno::EOPNOTSUPP)) => "the disk's I/O scheduler cannot do it",
        ("cpuset", Some(Errno::EACCES | Errno::EINVAL | Errno::ENOSPC)) => {
            "the cgroup above does not have them"
        }
        (_, Some(Errno::EINVAL)) => "the kernel, or a limit of the cgroup above, does not allow it",
        _ => return error,
    };
    error.hint(hint)
}

fn missing(write: &Write) -> Error {
    let file = write.choices[0].0;
    Error::new(format!("set {file}")).hint(match file {
        "memory.swappiness" => "only cgroup v1 has it".into(),
        "io.bfq.weight" | "blkio.weight" => "this kernel does not share disks by weight".into(),
        "memory.swap.max" | "memory.memsw.limit_in_bytes" => {
            "this kernel does not count swap; boot it with swapaccount=1".into()
        }
        _ => format!(
            "the {} controller is not available here; `doctor` says which ones are",
            write.controller
        ),
    })
}
