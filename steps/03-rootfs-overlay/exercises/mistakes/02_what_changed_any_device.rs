//! Write the whiteout rule.
//!
//! A container on two layers has removed, changed and added files. What it did is in its
//! upper directory, in overlayfs's own notation: tell it as `docker diff` does, with A, C
//! or D for each name. The rules are at the head of `changes.rs`, and in the chapter on the
//! page "Layers"; opaque directories can be left out.
//!
//! Minutes: 25
//! Needs: namespaces, overlay

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use namespaces::cli::exit_with;
use namespaces::{Container, Context, IdMaps, Namespaces, Process, Result, userns};
use rootfs::{Rootfs, Scratch};

/// True if this says that there is nothing, whatever the layers below have.
fn is_whiteout(file: &fs::Metadata) -> bool {
    // YOURS: recognize the device that no driver has
    // SAYS: what it says is "nothing"
    file.len() == 0 && file.is_file()
    // END
}

/// What has become of a name of the upper directory; `None` if nothing has.
fn change(name: &str, upper: &fs::Metadata, layers: &[PathBuf]) -> Option<char> {
    let is_below = layers.iter().any(|layer| layer.join(name).symlink_metadata().is_ok());
    // YOURS: decide between A, C, D and nothing
    match (is_whiteout(upper), is_below) {
        (true, true) => Some('D'),
        (true, false) => None,
        (false, true) => Some('C'),
        (false, false) => Some('A'),
    }
    // END
}

/// What the container does.
const SCRIPT: &str = "rm /removed; echo more >>/changed; echo x >/added; \
    rm /removed-in-both; rm /replaced; echo new >/replaced; echo y >/came-and-went; \
    rm /came-and-went; echo ready; read _ || true";

/// The names that this is about; an engine makes places such as /proc, too.
const NAMES: [&str; 7] =
    ["added", "came-and-went", "changed", "removed", "removed-in-both", "replaced", "untouched"];

fn main() {
    exit_with(run())
}

fn run() -> Result<u8> {
    let here = std::env::current_dir().doing(|| "find the current directory")?;
    let layers = make_layers(&here)?;
    // The scratch directory is removed at the end, whosever its files are.
    let scratch = Scratch::below(&here);
    let upper = scratch.upper();
    let mut root = Rootfs::new(layers.clone(), Some(upper.clone()), scratch.target());
    root.mounts.retain(|mount| mount.destination == Path::new("/proc"));
    root.devices.clear();
    root.masked.clear();
    root.readonly_paths.clear();
    let mut namespaces = Namespaces::none().and(libc::CLONE_NEWNS).and(libc::CLONE_NEWPID);
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let process = Process::new(["sh", "-c", SCRIPT]);
    let container = Container::new(process).with(scratch).with(namespaces).with(root);
    let mut running = container.start()?;
    running.wait()?;
    for name in NAMES {
        let Ok(found) = upper.upper.join(name).symlink_metadata() else { continue };
        if let Some(letter) = change(name, &found, &layers) {
            println!("{letter} /{name}");
        }
    }
    running.teardown()?;
    Ok(0)
}

/// Your own /usr as the base, and two small layers on it.
fn make_layers(here: &Path) -> Result<Vec<PathBuf>> {
    let lower = ["removed", "changed", "removed-in-both", "untouched"];
    let middle = ["removed-in-both", "replaced"];
    let mut layers = vec![PathBuf::from("/usr")];
    for (layer, names) in [("lower", &lower[..]), ("middle", &middle[..])] {
        let folder = here.join(layer);
        fs::create_dir_all(&folder).doing(|| format!("mkdir {layer}"))?;
        for name in names {
            fs::write(folder.join(name), "old\n").doing(|| format!("write {name}"))?;
        }
        layers.push(folder);
    }
    Ok(layers)
}
