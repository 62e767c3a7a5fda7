//! Refuse the entries of a layer that lead out of it.
//!
//! An archive has names with `..` in them, and symbolic links that an earlier entry has made.
//! Write `parent_of`, which opens the folder that an entry goes to: never one outside of the
//! layer, whatever the name says and wherever links lead. But `lib -> usr/lib` is an honest
//! link, and so is `lib64 -> /usr/lib`: in the container `/` is the layer's root. No string
//! comparison can do this. See openat2(2).
//!
//! Minutes: 40

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use namespaces::cli::exit_with;
use namespaces::{Context, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;

/// The folder of the layer that the entry `name` goes to, open.
fn parent_of(layer: &OwnedFd, name: &Path) -> nix::Result<OwnedFd> {
    let folder = name.parent().filter(|path| *path != Path::new("")).unwrap_or(Path::new("."));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    todo!("let the kernel walk to `folder`, and keep it inside of the layer")
}

fn main() {
    exit_with(run())
}

fn run() -> Result<u8> {
    let outside = std::env::current_dir().doing(|| "find the current folder")?.join("outside");
    for folder in ["outside", "layer/usr/lib"] {
        fs::create_dir_all(folder).doing(|| "make a folder")?;
    }
    // What earlier entries have made.
    for (name, target) in [
        ("lib", Path::new("usr/lib")),
        ("lib64", Path::new("/usr/lib")),
        ("way", Path::new("../outside")),
        ("straight", &*outside),
    ] {
        symlink(target, Path::new("layer").join(name)).doing(|| "make a link")?;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let layer = open("layer", flags, Mode::empty()).doing(|| "open the layer")?;
    for name in ["hello", "lib/libc.so", "lib64/ld.so", "../outside/a", "way/b", "straight/c"] {
        let told = if put(&layer, Path::new(name)).is_ok() { "written" } else { "refused" };
        println!("{name}: {told}");
    }
    println!("the layer's usr/lib has {}", names("layer/usr/lib"));
    println!("outside of the layer there is {}", names("outside"));
    Ok(0)
}

/// Makes the file new, under one plain name, in the folder that was found.
fn put(layer: &OwnedFd, name: &Path) -> nix::Result<()> {
    let parent = parent_of(layer, name)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let file = openat(&parent, name.file_name().unwrap(), flags, Mode::S_IRUSR)?;
    File::from(file).write_all(b"mine").map_err(|_| nix::errno::Errno::EIO)
}

fn names(folder: &str) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
