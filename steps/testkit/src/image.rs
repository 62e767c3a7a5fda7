//! Small images: a busybox root, and an OCI layout made of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::needs::find;
use crate::temp::shared_dir;

/// A root with a static busybox and a link for each of its applets (in /bin),
/// made once per process. Shared: treat it as read-only, or copy it.
///
/// Panics without a static busybox: say `Needs::Program("busybox")`.
pub fn busybox_rootfs() -> PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(make_busybox_rootfs).clone()
}

fn make_busybox_rootfs() -> PathBuf {
    let root = shared_dir("busybox");
    for folder in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr/bin", "var"] {
        fs::create_dir_all(root.join(folder)).expect("create a folder");
    }
    fs::set_permissions(root.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .expect("chmod 1777");
    let busybox = find("busybox").expect("busybox-static is installed");
    fs::copy(&busybox, root.join("bin/busybox")).expect("copy busybox");
    let list = Command::new(&busybox).arg("--list").output().expect("run busybox --list");
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        if applet != "busybox" {
            symlink("busybox", root.join("bin").join(applet)).expect("link an applet");
        }
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n\
        guest:x:1000:1000:guest:/home:/bin/sh\n";
    let group = "root:x:0:\nnogroup:x:65534:\nguest:x:1000:\nwheel:x:10:guest\n";
    fs::write(root.join("etc/passwd"), passwd).expect("write /etc/passwd");
    fs::write(root.join("etc/group"), group).expect("write /etc/group");
    root
}

/// A folder as a tar, owned by root, with names relative to the folder.
pub fn tar_of(folder: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_dir_all("", folder).expect("write a tar");
    tar.into_inner().expect("finish a tar")
}

/// Builds an OCI image layout in the new folder `target`: one image, tagged
/// `latest`, of these tar layers (bottom first, stored gzipped), with `config`
/// as its `config` (`{"Cmd": ["sh"]}`). For `skopeo copy oci:TARGET:latest …`
/// or [`Registry::push`](crate::Registry::push).
pub fn oci_layout(target: &Path, layers: &[Vec<u8>], config: Value) {
    let blobs = target.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("create blobs/sha256");
    let media = |kind: &str| format!("application/vnd.oci.image.{kind}");

    let stored: Vec<Value> =
        layers.iter().map(|tar| blob(&blobs, &media("layer.v1.tar+gzip"), &gzip(tar))).collect();
    let diff_ids: Vec<String> = layers.iter().map(|tar| digest(tar)).collect();
    let document = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": diff_ids.iter().map(|_| json!({ "created_by": "testkit" })).collect::<Vec<_>>(),
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media("manifest.v1+json"),
        "config": blob(&blobs, &media("config.v1+json"), document.to_string().as_bytes()),
        "layers": stored,
    });
    let mut entry = blob(&blobs, &media("manifest.v1+json"), manifest.to_string().as_bytes());
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(target.join("index.json"), index.to_string()).expect("write index.json");
    fs::write(target.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("write oci-layout");
}

/// Stores bytes under their digest and describes them.
fn blob(blobs: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest(bytes);
    let name = digest.trim_start_matches("sha256:");
    fs::write(blobs.join(name), bytes).expect("write a blob");
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compress into memory");
    encoder.finish().expect("compress into memory")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
