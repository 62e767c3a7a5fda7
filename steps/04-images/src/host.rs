//! The image `host`: a container's root from the host's own programs.
//!
//! A lesson should not begin with a download. So the first image is made of what every
//! Linux machine has: a shell, the small tools, and the libraries they link to, each at
//! the path that it has on the host. It becomes a layer, a config and a manifest like
//! any other image's, and nothing that works on images knows the difference.

mod programs;
mod tree;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::elf::{Loader, musl_path_file};
use crate::error::Doing;
use crate::{Descriptor, Digest, Error, Hasher, History, Image, ImageConfig, OCI_LAYER_GZIP};
use crate::{Platform, Reference, RemoveOptions, Result, RootFs, RunConfig, Store};
use programs::{ELSEWHERE, NAME_SERVICES, PATH, PROGRAMS, TERMINALS, TERMINFO};
use tree::Tree;

/// The image's name. A name without a registry is one of Docker Hub's; there is no
/// image of this one.
pub const NAME: &str = "host";

/// Interpreters of interpreters: as many as execve(2) allows.
const MAX_SCRIPTS: usize = 4;

/// The image of a name, as [`Store::resolve`] finds it. [`NAME`] is made if it is not
/// there, and then stays as it is until it is removed.
///
/// # Errors
///
/// Those of [`Store::resolve`] and [`build`].
pub fn resolve(store: &Store, name: &str) -> Result<Image> {
    let is_host = || {
        let host: Option<Reference> = NAME.parse().ok();
        name.parse().ok() == host
    };
    match store.resolve(name) {
        Err(Error::NotFound(_)) if is_host() => build(store),
        other => other,
    }
}

/// The image, unpacked. If the disk is full, nothing is left of an image that was not there.
///
/// # Errors
///
/// Those of [`resolve`] and [`Store::layers`].
pub(crate) fn bring(store: &Store) -> Result<()> {
    let known = store.resolve(NAME).is_ok();
    let image = resolve(store, NAME)?;
    let unpacked = store.layers(&image);
    if unpacked.is_err() && !known {
        store.remove(NAME, &RemoveOptions::default())?;
    }
    unpacked.map(drop)
}

/// Makes the image from this host's programs, and puts it into the store.
///
/// It is the same to the last byte as long as the host's programs are.
///
/// # Errors
///
/// If there is no shell, or the store cannot be written. Programs that are not there,
/// that may not be read, or that lack a library are left out.
pub fn build(store: &Store) -> Result<Image> {
    let picker = pick()?;
    // As new as its newest file: the time of the making would make every image another.
    let time = picker.tree.newest();
    let (diff_id, digest, size) = write_layer(store, &picker.tree, time)?;
    let config = config(&picker, diff_id, time);
    let config = serde_json::to_vec(&config).expect("a config is JSON");
    let layer = Descriptor::new(OCI_LAYER_GZIP, digest, size);
    store.add_image(&config, &[layer], &[NAME.parse()?])
}

/// Writes the layer as a blob: the digest of its tar, its own, and its size.
fn write_layer(store: &Store, tree: &Tree, time: i64) -> Result<(Digest, Digest, u64)> {
    let doing = || "write the layer of the image `host`".to_owned();
    let gzip = GzEncoder::new(store.blob_writer()?, Compression::fast());
    let tar = Hashing { hasher: Hasher::default(), inner: gzip };
    let tar = tree.write(tar, time).doing(doing)?;
    let (digest, size) = tar.inner.finish().doing(doing)?.finish()?;
    Ok((tar.hasher.finish(), digest, size))
}

fn config(picker: &Picker, diff_id: Digest, time: i64) -> ImageConfig {
    let created = Timestamp::from_second(time).ok().map(|time| time.to_string());
    let Platform { architecture, os, variant } = Platform::host();
    ImageConfig {
        created: created.clone(),
        architecture,
        os,
        variant,
        config: RunConfig {
            env: vec![format!("PATH={}", picker.path())],
            cmd: Some(vec!["sh".into()]),
            ..RunConfig::default()
        },
        rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id] },
        history: vec![History {
            created,
            created_by: Some("the host's own programs".into()),
            ..History::default()
        }],
        ..ImageConfig::default()
    }
}

/// A writer that hashes what goes through it.
struct Hashing<W> {
    hasher: Hasher,
    inner: W,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Picks the host's files and their libraries.
struct Picker {
    tree: Tree,
    loader: Loader,
    /// Files whose libraries are in the tree already.
    done: HashSet<PathBuf>,
    /// Folders with programs that are in the tree.
    folders: Vec<PathBuf>,
}

/// Everything that the image has, from the host's programs of these names.
fn pick() -> Result<Picker> {
    let mut picker = Picker {
        tree: Tree::default(),
        loader: Loader::of_host(),
        done: HashSet::new(),
        folders: Vec::new(),
    };
    picker.take_shell()?;
    picker.take_programs();
    picker.take_name_services();
    picker.take_terminals();
    picker.make_folders();
    picker.make_accounts();
    Ok(picker)
}

impl Picker {
    /// `/bin/sh` is at that path on every Linux, and scripts rely on it.
    fn take_shell(&mut self) -> Result<()> {
        // Where /bin is a symbolic link to usr/bin, it is so in the image.
        for folder in ["/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib"] {
            let _ = self.tree.copy(Path::new(folder));
        }
        let shell = Path::new("/bin/sh");
        match self.take(shell, 0) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NotFound(
                "make the image `host`: a library of /bin/sh is missing".into(),
            )),
            Err(error) => Err(error).doing(|| "make the image `host`: read /bin/sh".into()),
        }
    }

    /// The programs, each from the first folder that has it.
    fn take_programs(&mut self) {
        for name in PROGRAMS.split_whitespace() {
            let folders = PATH.iter().chain(&ELSEWHERE).map(Path::new);
            let found = folders.map(|folder| folder.join(name)).find(|path| is_program(path));
            // What an ordinary user may not read, and what has lost a library, stays out:
            // an image with most tools is worth more than none.
            if let Some(path) = found
                && self.take(&path, 0).unwrap_or(false)
                && let Some(folder) = path.parent()
                && !self.folders.iter().any(|known| known == folder)
            {
                self.folders.push(folder.to_owned());
            }
        }
    }

    /// Takes a program or library, and what it needs to run. False if that is not complete.
    fn take(&mut self, path: &Path, depth: usize) -> io::Result<bool> {
        // If it cannot be read, say so now, and not when half of the archive is written.
        let mut head = Vec::new();
        File::open(path)?.take(256).read_to_end(&mut head)?;
        let real = fs::canonicalize(path)?;
        if !self.done.contains(&real) {
            match self.loader.closure(&real)? {
                Some(closure) if closure.missing.is_empty() => {
                    for file in closure.interpreter.iter().chain(&closure.libraries) {
                        File::open(file)?;
                        self.tree.copy(file)?;
                    }
                }
                Some(_) => return Ok(false),
                None => {
                    for interpreter in interpreters(&head) {
                        if depth == MAX_SCRIPTS || !self.take(&interpreter, depth + 1)? {
                            return Ok(false);
                        }
                    }
                }
            }
            self.done.insert(real);
        }
        self.tree.copy(path)?;
        Ok(true)
    }

    /// What the C library and its loader open by themselves: no file names these.
    fn take_name_services(&mut self) {
        let shell = Path::new("/bin/sh");
        for name in NAME_SERVICES {
            if let Ok(Some(path)) = self.loader.by_name(name, shell) {
                let _ = self.take(&path, 0);
            }
        }
        // The loader of the image finds its libraries where the host's does.
        let _ = self.tree.copy(Path::new("/etc/ld.so.cache"));
        let _ = self.tree.copy(&musl_path_file(std::env::consts::ARCH));
    }

    fn take_terminals(&mut self) {
        for name in TERMINALS {
            let letter = &name[..1];
            let number = format!("{:x}", name.as_bytes()[0]);
            for folder in TERMINFO {
                for first in [letter, &number] {
                    let path = Path::new(folder).join(first).join(name);
                    if path.is_file() {
                        let _ = self.tree.copy(&path);
                    }
                }
            }
        }
    }

    fn make_folders(&mut self) {
        for folder in
            ["/bin", "/dev", "/etc", "/home", "/mnt", "/proc", "/run", "/sys", "/usr", "/var"]
        {
            self.tree.folder(folder, 0o755);
        }
        self.tree.folder("/root", 0o700);
        self.tree.folder("/tmp", 0o1777);
        self.tree.folder("/var/tmp", 0o1777);
        let _ = self.tree.copy(Path::new("/etc/os-release"));
    }

    /// Two accounts; the host's are the host's own business.
    fn make_accounts(&mut self) {
        let nobody = "x:65534:65534:nobody:/nonexistent:/bin/false";
        self.tree.text("/etc/passwd", format!("root:x:0:0:root:/root:/bin/sh\nnobody:{nobody}\n"));
        self.tree.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
        let lookups = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n";
        self.tree.text("/etc/nsswitch.conf", lookups);
        self.tree.text("/etc/shells", "/bin/sh\n");
        self.tree.symlink("/etc/mtab", "../proc/self/mounts");
    }

    /// The image's `PATH`: the usual folders, and those that only this host has.
    fn path(&self) -> String {
        let own = self.folders.iter().filter_map(|folder| folder.to_str());
        let own = own.filter(|folder| !PATH.contains(folder));
        PATH.into_iter().chain(own).collect::<Vec<_>>().join(":")
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
}

/// The programs that run a script: that of its first line, and the one that env(1) is
/// to look for. None for what is no script.
fn interpreters(head: &[u8]) -> Vec<PathBuf> {
    let line = head.strip_prefix(b"#!").and_then(|line| line.split(|&byte| byte == b'\n').next());
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.split_whitespace();
    let Some(interpreter) = words.next() else { return Vec::new() };
    let mut all = vec![PathBuf::from(interpreter)];
    if interpreter.ends_with("/env")
        && let Some(name) = words.find(|word| !word.starts_with('-'))
    {
        let found = PATH.iter().map(|folder| Path::new(folder).join(name));
        all.extend(found.filter(|path| is_program(path)).take(1));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_needs_its_interpreter() {
        assert_eq!(interpreters(b"#!/bin/sh\necho"), [Path::new("/bin/sh")]);
        assert_eq!(interpreters(b"#! /bin/sh -e\n"), [Path::new("/bin/sh")]);
        assert_eq!(interpreters(b"#!/usr/bin/env -S sh -e\n")[0], Path::new("/usr/bin/env"));
        assert_eq!(interpreters(b"#!/usr/bin/env -S sh -e\n").len(), 2);
        assert!(interpreters(b"\x7fELF").is_empty());
        assert!(interpreters(b"").is_empty());
    }
}
