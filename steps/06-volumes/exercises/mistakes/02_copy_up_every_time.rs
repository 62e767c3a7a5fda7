//! Fill a new volume with what the image has.
//!
//! The first container that mounts a new volume finds in it what its image has at that place:
//! files, folders, links, and their modes; the folder's own mode, too. A volume that is not empty
//! stays as it is. Write `copy_up`, in the standard library's words. (Owners, times and hard
//! links are left to `steps/03-rootfs-overlay/src/copy.rs`.)
//!
//! Minutes: 25

use std::fs::{self, Permissions};
use std::io::Result;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Copies the folder `image` into the folder `volume`, if that is empty.
fn copy_up(image: &Path, volume: &Path) -> Result<()> {
    // YOURS: look whether it is empty, then copy, and set the modes when all is in
    // SAYS: A volume that is not empty stays as it is
    for entry in fs::read_dir(image)? {
        let entry = entry?;
        let (from, to) = (entry.path(), volume.join(entry.file_name()));
        let kind = entry.file_type()?;
        let _ = fs::remove_file(&to);
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_dir() {
            fs::create_dir_all(&to)?;
            copy_up(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    fs::set_permissions(volume, fs::metadata(image)?.permissions())
    // END
}

fn main() -> Result<()> {
    for folder in ["image", "volume", "outside"] {
        let _ = fs::remove_dir_all(folder);
    }
    let image = Path::new("image");
    fs::create_dir_all(image.join("conf/empty"))?;
    fs::create_dir_all("outside")?;
    fs::write("outside/secret", "a secret")?;
    fs::write(image.join("db"), "first")?;
    fs::write(image.join("conf/start"), "#!/bin/sh")?;
    symlink("conf/start", image.join("run"))?;
    symlink("../outside", image.join("logs"))?;
    for (path, mode) in
        [("db", 0o600), ("conf/start", 0o755), ("conf/empty", 0o711), ("conf", 0o700), ("", 0o750)]
    {
        fs::set_permissions(image.join(path), Permissions::from_mode(mode))?;
    }
    let volume = Path::new("volume");
    fs::create_dir(volume)?;

    copy_up(image, volume)?;
    println!("after the first use:");
    show(volume, "/")?;
    fs::write(volume.join("db"), "grown")?;
    fs::remove_file(volume.join("conf/start"))?;
    copy_up(image, volume)?;
    println!("after the second use:");
    println!("  db says {:?}", fs::read_to_string(volume.join("db"))?);
    println!(
        "  conf/start is {}",
        if volume.join("conf/start").exists() { "back" } else { "gone" }
    );
    Ok(())
}

fn show(path: &Path, name: &str) -> Result<()> {
    let data = fs::symlink_metadata(path)?;
    if data.is_symlink() {
        println!("  {name} -> {}", fs::read_link(path)?.display());
        return Ok(());
    }
    println!("  {name} {:o}", data.permissions().mode() & 0o7777);
    if data.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path)?.flatten().map(|e| e.file_name()).collect();
        names.sort();
        for inner in names {
            let inner = inner.to_string_lossy();
            show(&path.join(&*inner), &format!("{}/{inner}", name.trim_end_matches('/')))?;
        }
    }
    Ok(())
}
