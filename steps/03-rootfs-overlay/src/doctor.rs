//! What this lesson asks of a machine, on top of the earlier ones.

use std::fs;
use std::path::Path;

use namespaces::doctor::Check;
use namespaces::{CloneArgs, Mechanism, Result, userns};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use nix::sys::utsname::uname;

use crate::{Scratch, overlay};

/// mount_setattr(2) came with it.
const KERNEL: (u32, u32) = (5, 12);

/// The earlier lessons' checks, and this one's.
pub fn checks() -> Vec<Check> {
    let temporary = std::env::temp_dir();
    let mut checks = cgroups::doctor::checks();
    checks.extend([kernel(), overlayfs(), upper(&temporary)]);
    if userns::needed() {
        checks.push(ordinary_user(&temporary));
    }
    checks
}

fn kernel() -> Check {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version >= KERNEL {
        true => Check::ok("mount calls", format!("Linux {release} has mount_setattr")),
        false => Check::fail(
            "mount calls",
            format!("Linux {release} has no mount_setattr"),
            format!("use Linux {}.{} or newer", KERNEL.0, KERNEL.1),
        ),
    }
}

fn overlayfs() -> Check {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    match known.lines().any(|line| line.ends_with("\toverlay")) {
        true => Check::ok("overlayfs", "the kernel has it"),
        false => Check::warn(
            "overlayfs",
            "not loaded; the first mount by root loads it",
            "as root: modprobe overlay",
        ),
    }
}

fn upper(dir: &Path) -> Check {
    let on_overlay =
        statfs(dir).is_ok_and(|found| found.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
    match on_overlay {
        false => Check::ok("upper directory", format!("{} can hold one", dir.display())),
        true => Check::fail(
            "upper directory",
            format!("{} is on overlayfs, which cannot lie on itself", dir.display()),
            "set TMPDIR to a directory on a real disk; inside of Docker: to one of a volume",
        ),
    }
}

/// There is no better proof than to do it.
fn ordinary_user(dir: &Path) -> Check {
    const NAME: &str = "overlay without root";
    match userns::run_in(|| try_overlay(dir)) {
        Ok(()) => Check::ok(NAME, "the kernel mounts it in a user namespace"),
        Err(error) => {
            Check::fail(NAME, error.to_string(), "run as root, or use Linux 5.11 or newer")
        }
    }
}

fn try_overlay(dir: &Path) -> Result<()> {
    let mut scratch = Scratch::below(dir);
    scratch.before_clone(&mut CloneArgs::default())?;
    // The place of the root serves as the empty lower layer, too.
    let lower = [scratch.target()];
    let upper = scratch.upper();
    let mounted = overlay::mount(&lower, Some(&upper), &["userxattr"], &lower[0]);
    nix::mount::umount2(&lower[0], nix::mount::MntFlags::MNT_DETACH).ok();
    scratch.teardown()?;
    mounted.map(drop)
}
