//! Mount where the container means, and not where a link of its image leads.
//!
//! A volume is to be mounted on `/plain`, `/data`, `/etc` or `/up` of an image. The image comes
//! from a stranger, and the last three are links: an honest one, to `/srv/data` inside, and two
//! that lead to the host. Write `place`, which answers the folder to mount on, open: one inside of
//! the image, or none. See openat2(2). The mount itself goes to that descriptor, so that nothing
//! can change between your answer and its use.
//!
//! Minutes: 35
//! Needs: namespaces

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use namespaces::cli::exit_with;
use namespaces::{Context, Result, userns};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

const NOTHING: Option<&str> = None;

/// The folder `target` of the image, as the container will see it: open.
fn place(image: &OwnedFd, target: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // YOURS: let the kernel find the target, with the image as its root
    // SAYS: has left the image
    openat(image, target.trim_start_matches('/'), flags, Mode::empty())
    // END
}

fn main() {
    exit_with(if userns::needed() { userns::run_in(run) } else { run() });
}

fn run() -> Result<u8> {
    fs::create_dir_all("stage").doing(|| "make a folder")?;
    mount(Some("none"), "stage", Some("tmpfs"), MsFlags::empty(), NOTHING)
        .doing(|| "mount a tmpfs")?;
    let stage = fs::canonicalize("stage").doing(|| "find the stage")?;
    for folder in ["image/srv/data", "image/plain", "host", "volume"] {
        fs::create_dir_all(stage.join(folder)).doing(|| "make a folder")?;
    }
    fs::write(stage.join("volume/mine"), "").doing(|| "make a file")?;
    for (link, leads) in [
        ("data", "/srv/data".to_owned()),
        ("etc", stage.join("host").display().to_string()),
        ("up", "../host".to_owned()),
    ] {
        symlink(leads, stage.join("image").join(link)).doing(|| "make a link")?;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let image =
        openat(AT_FDCWD, &stage.join("image"), flags, Mode::empty()).doing(|| "open the image")?;
    for target in ["/plain", "/data", "/etc", "/up"] {
        let mounted = place(&image, target).and_then(|place| {
            let on = format!("/proc/self/fd/{}", place.as_raw_fd());
            mount(Some(&stage.join("volume")), &*on, NOTHING, MsFlags::MS_BIND, NOTHING)
        });
        let told = if mounted.is_ok() { "mounted" } else { "refused" };
        let is_at = |path: &str| stage.join(path).join("mine").exists();
        let inside = is_at("image/plain") || is_at("image/srv/data");
        let whose = match (inside, is_at("host")) {
            (_, true) => ", on the host's folder",
            (true, _) => ", inside of the image",
            _ => "",
        };
        println!("{target}: {told}{whose}");
        for path in ["image/plain", "image/srv/data", "host"] {
            let _ = umount2(&stage.join(path), MntFlags::MNT_DETACH);
        }
    }
    umount2(&stage, MntFlags::MNT_DETACH).doing(|| "unmount the stage")?;
    Ok(0)
}
