//! A store in a temporary folder, images to pull into it, and a proxy that misbehaves.
#![allow(dead_code)]

pub mod proxy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;
use testkit::Registry;

/// The binary of this lesson.
pub const IMAGES: &str = env!("CARGO_BIN_EXE_images");

/// A store of its own, and no credentials but those that a test writes.
pub struct Store {
    folder: TempDir,
}

impl Store {
    pub fn new() -> Self {
        Self { folder: testkit::temp_dir() }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub fn docker_config(&self, json: &serde_json::Value) {
        fs::write(self.folder.path().join("config.json"), json.to_string()).unwrap();
    }

    /// `images ARGS…` with this store.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(IMAGES);
        command.args(args).env("CORACLE_ROOT", self.root());
        command.env("DOCKER_CONFIG", self.folder.path());
        command
    }

    /// Runs it, which must succeed, and answers its stdout.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it, which must fail, and answers the last line that it said.
    #[track_caller]
    pub fn err(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(!output.status.success(), "{args:?} should fail");
        stderr(&output).lines().last().unwrap_or_default().to_owned()
    }

    /// Asserts that nothing is left of what was never named.
    #[track_caller]
    pub fn assert_empty(&self) {
        for folder in ["images/blobs/sha256", "images/ingest", "layers"] {
            assert_eq!(self.names(folder), [""; 0], "{folder} should be empty");
        }
    }

    /// What is in a folder of the store, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root().join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A file of the first layer folder that has it.
    pub fn layer_file(&self, path: &str) -> Option<Vec<u8>> {
        let layers = self.names("layers");
        layers
            .iter()
            .find_map(|layer| fs::read(self.root().join("layers").join(layer).join(path)).ok())
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A tar of one file.
pub fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let folder = testkit::temp_dir();
    fs::write(folder.path().join(name), content).unwrap();
    testkit::tar_of(folder.path())
}

/// Bytes that do not compress: a layer of this size is as large on the wire.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// An image on a registry: its layers each with one file, `file0`, `file1`…
pub fn push(registry: &Registry, name: &str, contents: &[&[u8]]) -> String {
    let layout = testkit::temp_dir();
    let file = |(n, content): (usize, &&[u8])| layer(&format!("file{n}"), content);
    let layers: Vec<_> = contents.iter().enumerate().map(file).collect();
    testkit::oci_layout(layout.path(), &layers, json!({"Cmd": ["sh"], "Env": ["A=b"]}));
    registry.push(layout.path(), name)
}

/// `skopeo ARGS…`, which must succeed.
#[track_caller]
pub fn skopeo(args: &[&str]) -> String {
    let output = Command::new("skopeo").arg("--insecure-policy").args(args).output().unwrap();
    assert!(output.status.success(), "skopeo {args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The data file of the largest blob of a registry.
pub fn largest_blob(registry: &Registry) -> PathBuf {
    let blobs = registry.store().join("docker/registry/v2/blobs/sha256");
    let files = walk(&blobs).into_iter().filter(|path| path.ends_with("data"));
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("a blob")
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

/// Changes the config of the one image of a layout, and what points to it.
pub fn change_config(layout: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let read = |file: PathBuf| -> serde_json::Value {
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    };
    let blob = |digest: &serde_json::Value| {
        layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
    };
    let write = |pointer: &mut serde_json::Value, document: serde_json::Value| {
        let text = document.to_string();
        pointer["digest"] = json!(images::Digest::of(text.as_bytes()));
        pointer["size"] = json!(text.len());
        fs::write(blob(&pointer["digest"]), text).unwrap();
    };
    let mut index = read(layout.join("index.json"));
    let mut manifest = read(blob(&index["manifests"][0]["digest"]));
    let mut config = read(blob(&manifest["config"]["digest"]));
    change(&mut config);
    write(&mut manifest["config"], config);
    write(&mut index["manifests"][0], manifest);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}
