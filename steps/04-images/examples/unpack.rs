//! Three ways to unpack a tar archive into a folder: two that lose, and the one of this
//! crate. For the page "Break it, then fix it".
//!
//! ```text
//! cargo run -p images --example unpack -- naive|checked|safe ARCHIVE FOLDER
//! ```

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Component, Path};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use images::unpack::{UnpackOptions, decompress, unpack};

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [how, archive, folder] = &words[..] else {
        bail!("usage: unpack naive|checked|safe ARCHIVE FOLDER");
    };
    let (archive, folder) = (File::open(archive)?, Path::new(folder));
    fs::create_dir_all(folder)?;
    match how.as_str() {
        "naive" => joined(archive, folder, |_| true),
        "checked" => joined(archive, folder, looks_safe),
        "safe" => {
            unpack(decompress(archive)?, folder, &UnpackOptions::default())?;
            Ok(())
        }
        other => bail!("{other}: say naive, checked or safe"),
    }
}

// ANCHOR: joined
/// What one writes first: folder + name, and open it.
fn joined(archive: File, folder: &Path, may: fn(&Path) -> bool) -> Result<()> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if !may(&name) {
            bail!("refuse {}", name.display());
        }
        let path = folder.join(&name);
        match entry.header().entry_type() {
            tar::EntryType::Directory => fs::create_dir_all(&path)?,
            tar::EntryType::Symlink => symlink(entry.link_name()?.context("no target")?, &path)?,
            _ => drop(std::io::copy(&mut entry, &mut File::create(&path)?)?),
        }
        println!("{}", path.display());
    }
    Ok(())
}
// ANCHOR_END: joined

// ANCHOR: looks_safe
/// The line that stops `../`: no part of a name may climb, or start at the root.
fn looks_safe(name: &Path) -> bool {
    name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
// ANCHOR_END: looks_safe
