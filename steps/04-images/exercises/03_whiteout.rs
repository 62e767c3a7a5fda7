//! Turn a layer's whiteouts into those of overlayfs.
//!
//! In a layer's archive, a file `.wh.NAME` says that NAME of the layers below is gone, and a
//! file `.wh..wh..opq` that nothing of the layers below shows in this folder. Overlayfs wants a
//! character device 0:0 called NAME, and an attribute of the folder, which `set_opaque` sets.
//! Write `take`, which makes one entry of the archive in the layer's folder. See mknod(2), and
//! "whiteouts and opaque directories" in the kernel's documentation of overlayfs.
//!
//! Minutes: 30
//! Needs: overlay

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use images::unpack::set_opaque;
use namespaces::cli::exit_with;
use namespaces::{Context, Result, userns};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// Makes an entry in the folder of the layer. `name` is the last part of its path.
fn take(folder: &Path, name: &str) -> Result<()> {
    let path = folder.join(name);
    todo!("make a whiteout, make the folder opaque, or make an empty file called `name`")
}

fn main() {
    // An ordinary user mounts an overlay in a user namespace, with attributes of its own.
    let is_user = userns::needed();
    exit_with(if is_user { userns::run_in(|| run(",userxattr")) } else { run("") });
}

fn run(attributes: &str) -> Result<u8> {
    for file in ["below/etc/motd", "below/etc/passwd", "below/cache/old", "below/cache/older"] {
        let file = Path::new(file);
        fs::create_dir_all(file.parent().unwrap()).doing(|| "make a folder")?;
        fs::write(file, "").doing(|| "make a file")?;
    }
    for folder in ["layer/etc", "layer/cache", "seen"] {
        fs::create_dir_all(folder).doing(|| "make a folder")?;
    }
    take(Path::new("layer/etc"), ".wh.motd")?;
    take(Path::new("layer/etc"), "hosts")?;
    take(Path::new("layer/cache"), "new")?;
    take(Path::new("layer/cache"), ".wh..wh..opq")?;

    let options = format!("lowerdir=layer:below{attributes}");
    mount(Some("overlay"), "seen", Some("overlay"), MsFlags::empty(), Some(&*options))
        .doing(|| "mount the overlay")?;
    for folder in ["etc", "cache"] {
        println!("{folder} has {}", names(&Path::new("seen").join(folder)));
    }
    umount2("seen", MntFlags::empty()).doing(|| "unmount the overlay")?;
    println!("below, nothing has changed: {}", names(Path::new("below/cache")));
    Ok(0)
}

fn names(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(", ")
}
