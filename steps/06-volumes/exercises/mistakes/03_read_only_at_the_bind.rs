//! Make a bind read-only, with all that is mounted below it.
//!
//! `-v /srv:/srv:ro`, and below `/srv` a stick is mounted. Write `bind_read_only` with mount(2)
//! alone, as engines did before Linux 5.12: bind, and then remount. The man page says of which
//! flags the kernel takes notice at which call; `mounts_below` lists the mount points at a path
//! and below it, that at the path first.
//!
//! Minutes: 30
//! Needs: namespaces

use std::fs;
use std::path::{Path, PathBuf};

use namespaces::cli::exit_with;
use namespaces::{Context, Result, userns};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const NOTHING: Option<&str> = None;

/// Shows `source` at `target`, with all that is mounted below it, and nothing can be written.
fn bind_read_only(source: &Path, target: &Path) -> nix::Result<()> {
    // YOURS: bind the tree, then make each of its mounts read-only
    // SAYS: no notice of MS_RDONLY
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY;
    mount(Some(source), target, NOTHING, flags, NOTHING)
    // END
}

/// The mount points at `path` and below, from proc_pid_mountinfo(5).
fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let path = fs::canonicalize(path).unwrap_or_default();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    places.filter(|place| place.starts_with(&path)).collect()
}

fn main() {
    exit_with(if userns::needed() { userns::run_in(run) } else { run() });
}

fn run() -> Result<u8> {
    // A place of our own for all of it, which goes with one unmount.
    let tmpfs = |place: &str| {
        fs::create_dir_all(place).doing(|| format!("make {place}"))?;
        mount(Some("none"), place, Some("tmpfs"), MsFlags::empty(), NOTHING)
            .doing(|| format!("mount a tmpfs on {place}"))
    };
    tmpfs("stage")?;
    tmpfs("stage/srv")?;
    tmpfs("stage/srv/stick")?;
    fs::create_dir("stage/seen").doing(|| "make a folder")?;
    fs::write("stage/srv/stick/file", "on the stick").doing(|| "write to the stick")?;

    let (source, target) = (Path::new("stage/srv"), Path::new("stage/seen"));
    let done = bind_read_only(source, target);
    println!("the bind: {}", done.map_or_else(|errno| errno.to_string(), |()| "done".into()));
    let text = fs::read_to_string(target.join("stick/file")).unwrap_or("nothing".into());
    println!("read from the stick: {text}");
    for place in ["", "stick"] {
        let told = match fs::write(target.join(place).join("new"), "new") {
            Ok(()) => "it works".into(),
            Err(error) => error.kind().to_string(),
        };
        println!("write to seen/{place}: {told}");
    }
    let told = if fs::write("stage/srv/own", "").is_ok() { "works still" } else { "fails" };
    println!("write to the source itself: it {told}");
    umount2("stage", MntFlags::MNT_DETACH).doing(|| "unmount the stage")?;
    Ok(0)
}
