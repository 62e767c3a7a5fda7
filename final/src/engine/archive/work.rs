//! The worker's side: the container's root, and what is done in it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use namespaces::{Context, userns};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{self, fstatfs};

use super::{Act, Job, Said};
use crate::engine::containers::{Container, Containers};
use crate::engine::error::{Error, Kind, Result};
use crate::files::{self, Guard, PathStat, follow};
use crate::runtime;
use crate::store::{Lock, Root};

/// Does the job, and says what came of it.
pub fn work(root: &Path, job: &Job) -> ExitCode {
    match perform(root, job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Said::Refused(error));
            ExitCode::FAILURE
        }
    }
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).expect("plain data");
    let mut out = std::io::stdout().lock();
    // Who is gone cannot be told.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn perform(root: &Path, job: &Job) -> Result<()> {
    let container = Containers::new(Root::open(Some(root))?).find(&job.id)?;
    let live = live_root(&container)?;
    // Taken for as long as the container's layers are mounted here, and not by it.
    let _lock = match live {
        None => Some(Lock::exclusive(&container.dir.lock_path())?),
        Some(_) => None,
    };
    let task = Task { container, job, live };
    let refused = match userns::needed() {
        true => userns::run_in(|| Ok(task.perform().err()))?,
        false => {
            if task.live.is_none() {
                unshare_mounts()?;
            }
            task.perform().err()
        }
    };
    refused.map_or(Ok(()), Err)
}

/// The root as the container's first process has it; nothing if it does not run.
fn live_root(container: &Container) -> Result<Option<OwnedFd>> {
    let before = container.state()?;
    if !before.is_alive() {
        return Ok(None);
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = format!("/proc/{}/root", before.pid);
    let opened = nix::fcntl::open(path.as_str(), flags, nix::sys::stat::Mode::empty());
    // The number was the container's all the time, if it still is.
    let after = container.state()?;
    if !after.is_alive() || after.pid != before.pid {
        return if after.is_alive() { live_root(container) } else { Ok(None) };
    }
    let root = opened.doing(|| "open the container's root")?;
    let place = |stat: nix::sys::stat::FileStat| (stat.st_dev, stat.st_ino);
    let ours = nix::sys::stat::stat("/").map(place);
    if ours == fstat(&root).map(place) {
        return Err(Error::system("open the container's root: it is the host's"));
    }
    Ok(Some(root))
}

/// What is mounted from here on, nobody else sees.
fn unshare_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "unshare the mount namespace")?;
    let (flags, none) = (MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>);
    Ok(mount(none, "/", none, flags, none).doing(|| "make all mounts private")?)
}

struct Task<'a> {
    container: Container,
    job: &'a Job,
    live: Option<OwnedFd>,
}

impl Task<'_> {
    fn perform(&self) -> Result<()> {
        let result = self.act();
        if self.live.is_none() {
            // Before the lock is free: overlayfs wants its upper directory for itself.
            let _ = umount2(&self.container.dir.rootfs(), MntFlags::MNT_DETACH);
        }
        result
    }

    fn act(&self) -> Result<()> {
        let root = match &self.live {
            Some(root) => rootfs::Root::from_fd(root.try_clone()?),
            None => runtime::assemble(&self.container.dir)?,
        };
        match self.job.act {
            Act::Stat => self.look(&root).map(|(stat, _)| say(&Said::Stat(stat))),
            Act::Get => self.get(&root),
            Act::Put { no_overwrite_dir_non_dir, copy_uid_gid } => {
                self.put(&root, no_overwrite_dir_non_dir, copy_uid_gid)
            }
        }
    }

    /// What is at the path: a link itself, unless a slash follows it.
    fn look(&self, root: &rootfs::Root) -> Result<(PathStat, OwnedFd)> {
        let path = Path::new(&self.job.path);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let item = root.open_with(path, flags, 0).map_err(|errno| self.refused(errno))?;
        if is_kernels(item.as_fd()) || self.is_device_place(root)? {
            return Err(self.refused(Errno::ENOENT));
        }
        let stat = fstat(&item).map_err(|errno| self.refused(errno))?;
        let is_link =
            SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK;
        let target = is_link.then(|| follow(root, path)).transpose();
        let target = target.map_err(|errno| self.refused(errno))?;
        Ok((PathStat::new(base(&self.job.path), &stat, target), item))
    }

    /// True below the /dev that the engine has made: Docker shows what the image has there.
    fn is_device_place(&self, root: &rootfs::Root) -> Result<bool> {
        let path = Path::new("/").join(&self.job.path);
        let (Some(parent), Some(_), Some(_)) = (path.parent(), path.file_name(), &self.live) else {
            return Ok(false);
        };
        let folder = follow(root, parent).map_err(|errno| self.refused(errno))?;
        let of_user = |mount: &bollard_stubs::models::MountPoint| {
            mount.destination.as_ref().is_some_and(|place| folder.starts_with(place))
        };
        Ok(folder.starts_with("/dev") && !self.container.record.mounts.iter().any(of_user))
    }

    fn get(&self, root: &rootfs::Root) -> Result<()> {
        let (stat, item) = self.look(root)?;
        say(&Said::Stat(stat));
        // The root's own name is none, so that its children begin with a slash.
        let name = match base(&self.job.path) {
            "/" => "",
            name => name,
        };
        let guard = Kernels { depth_of_dev: self.depth_of_dev() };
        let out = BufWriter::with_capacity(64 * 1024, stdout());
        // It cannot be told any more: the stream ends without its end.
        files::pack(item, name.as_bytes(), &guard, out).map_err(Error::from)
    }

    /// How /dev is called in an archive of this path, if it is in it.
    fn depth_of_dev(&self) -> Option<&'static [u8]> {
        match self.job.path.trim_start_matches(['/', '.']) {
            "" if base(&self.job.path) == "/" => Some(b"/dev/"),
            "" => Some(b"./dev/"),
            "dev" | "dev/" => Some(b"dev/"),
            "dev/." => Some(b"./"),
            _ => None,
        }
    }

    fn put(&self, root: &rootfs::Root, no_overwrite: bool, copy_uid_gid: bool) -> Result<()> {
        let path = Path::new(&self.job.path);
        let resolved = follow(root, path).map_err(|errno| self.refused(errno))?;
        let folder = root.resolve(path).map_err(|errno| self.refused(errno))?;
        let stat = fstat(&folder).map_err(|errno| self.refused(errno))?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
            return Err(Error::bad_parameter("extraction point is not a directory"));
        }
        self.check_writable(&resolved)?;
        let options = files::Options {
            no_overwrite_dir_non_dir: no_overwrite,
            owner: if copy_uid_gid { self.owner(root)? } else { None },
            ..files::Options::default()
        };
        say(&Said::Stat(PathStat::new(base(&self.job.path), &stat, None)));
        let input = images::unpack::decompress(std::io::stdin());
        let input = input.map_err(|error| Error::system(format!("read the archive: {error}")))?;
        files::unpack(input, root, &resolved, &options)?;
        say(&Said::Done);
        Ok(())
    }

    /// Docker's sentences for what the kernel would refuse file by file.
    fn check_writable(&self, path: &Path) -> Result<()> {
        let record = &self.container.record;
        let mounts = record.mounts.iter().filter_map(|mount| {
            let destination = mount.destination.as_deref()?;
            path.starts_with(destination).then_some((destination.len(), mount.rw != Some(false)))
        });
        match mounts.max() {
            Some((_, true)) => Ok(()),
            Some((_, false)) => Err(Error::bad_parameter("mounted volume is marked read-only")),
            None if record.host_config.readonly_rootfs == Some(true) => {
                Err(Error::bad_parameter("container rootfs is marked read-only"))
            }
            None => Ok(()),
        }
    }

    /// The container's user in numbers, as its own files know them. Read, not asked of
    /// the C library: that would load what the container has put there.
    fn owner(&self, root: &rootfs::Root) -> Result<Option<(u32, u32)>> {
        let user = self.container.record.config.user.as_deref().unwrap_or_default();
        if user.is_empty() {
            return Ok(None);
        }
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (user, None),
        };
        let read = |path: &str| -> String {
            let regular = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
            let file = root.open_file(path).ok().filter(regular);
            let mut text = Vec::new();
            use std::io::Read;
            let _ = file.map(|file| file.take(1 << 20).read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        };
        let accounts = read("/etc/passwd");
        let account = line_of(&accounts, user, 2);
        let missing = |what: &str, name: &str, file: &str| {
            Error::system(format!(
                "unable to find {what} {name}: no matching entries in {file} file"
            ))
        };
        let uid = account.and_then(|fields| fields.get(2)?.parse().ok()).or(user.parse().ok());
        let uid = uid.ok_or_else(|| missing("user", user, "passwd"))?;
        let gid = match group {
            None => line_of(&accounts, user, 2)
                .and_then(|fields| fields.get(3)?.parse().ok())
                .unwrap_or(0),
            Some(group) => {
                let groups = read("/etc/group");
                let found = line_of(&groups, group, 2);
                let gid = found.and_then(|fields| fields.get(2)?.parse().ok());
                gid.or(group.parse().ok()).ok_or_else(|| missing("group", group, "group"))?
            }
        };
        Ok(Some((uid, gid)))
    }

    fn refused(&self, errno: Errno) -> Error {
        let Job { called, path, .. } = self.job;
        match errno {
            Errno::ENOENT => {
                Error::not_found(format!("Could not find the file {path} in container {called}"))
            }
            Errno::ENOTDIR => Error { kind: Kind::BadParameter, ..self.told(errno) },
            _ => self.told(errno),
        }
    }

    fn told(&self, errno: Errno) -> Error {
        namespaces::Error::os(format!("look at {}", self.job.path), errno).into()
    }
}

/// The line of a name, or else of its number, in a file like /etc/passwd.
fn line_of<'t>(text: &'t str, name: &str, number: usize) -> Option<Vec<&'t str>> {
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(':').collect()).collect();
    let named = lines.iter().find(|fields| fields.first() == Some(&name));
    named.or_else(|| lines.iter().find(|fields| fields.get(number) == Some(&name))).cloned()
}

/// The last name of a path, as Go has it: `.` of `/etc/.`, `etc` of `/etc/`.
fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None => "/",
        Some(name) => name,
    }
}

/// Standard output without the buffer that lives as long as the process.
fn stdout() -> impl Write {
    let fd = nix::unistd::dup(std::io::stdout()).expect("standard output is open");
    File::from(fd)
}

/// Docker copies none of what the kernel shows: there is no end to it, and some of it
/// acts when it is read.
struct Kernels {
    depth_of_dev: Option<&'static [u8]>,
}

impl Guard for Kernels {
    fn enters(&self, folder: BorrowedFd, name: &[u8]) -> bool {
        self.depth_of_dev != Some(name) && !is_kernels(folder)
    }
}

/// True for a file of /proc, /sys and their like.
fn is_kernels(file: BorrowedFd) -> bool {
    const MQUEUE: i64 = 0x1980_0202;
    let kernels = [
        statfs::PROC_SUPER_MAGIC,
        statfs::SYSFS_MAGIC,
        statfs::CGROUP_SUPER_MAGIC,
        statfs::CGROUP2_SUPER_MAGIC,
        statfs::DEVPTS_SUPER_MAGIC,
        statfs::DEBUGFS_MAGIC,
        statfs::TRACEFS_MAGIC,
        statfs::SECURITYFS_MAGIC,
        statfs::FsType(MQUEUE),
    ];
    fstatfs(file).is_ok_and(|system| kernels.contains(&system.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_a_path_is_gos() {
        for (path, name) in [
            ("/etc/.", "."),
            ("/etc/", "etc"),
            ("/etc", "etc"),
            ("/", "/"),
            ("//", "/"),
            ("a", "a"),
        ] {
            assert_eq!(base(path), name, "{path}");
        }
    }
}
