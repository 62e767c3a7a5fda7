//! Pull an image from a registry that may lie.
//!
//! Write the walk of a pull: from the manifest of a tag to the config and to the layer, each
//! verified before it is used. `get` is the registry: a path, and the bytes that it answers. The
//! layer here is a plain tar, so that the config's diff-id is over the bytes that are sent. Use
//! `serde_json::Value` and `Digest::of`, and answer the layer's bytes, or why not.
//!
//! Minutes: 40

use std::collections::BTreeMap;

use images::Digest;
use serde_json::{Value, json};

type Get<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// The layer of the image `app:latest`.
fn pull(get: Get) -> Result<Vec<u8>, String> {
    // YOURS: manifest, config, layer: each by its digest, and the layer by its diff-id, too
    let bytes = get("/v2/app/manifests/latest").ok_or("no such image")?;
    let manifest: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    // One function for all descriptors, so that none is fetched without the comparison.
    let blob = |descriptor: &Value| -> Result<Vec<u8>, String> {
        let digest = descriptor["digest"].as_str().ok_or("no digest")?;
        // Parsed, and not joined to a path as it came: it could be `../..`.
        let digest: Digest = digest.parse().map_err(|error: images::Error| error.to_string())?;
        let bytes = get(&format!("/v2/app/blobs/{digest}")).ok_or("no such blob")?;
        match Digest::of(&bytes) == digest {
            true => Ok(bytes),
            false => Err("wrong digest".into()),
        }
    };
    let config: Value =
        serde_json::from_slice(&blob(&manifest["config"])?).map_err(|error| error.to_string())?;
    let layer = blob(&manifest["layers"][0])?;
    // The digest says that this is what was sent; the diff-id, that it is what the image is of.
    match config["rootfs"]["diff_ids"][0] == json!(Digest::of(&layer).to_string()) {
        true => Ok(layer),
        false => Err("wrong diff-id".into()),
    }
    // END
}

fn main() {
    show("an honest registry", |_| {});
    show("another layer under its digest", |files| {
        files.insert(blob_path(b"the layer"), b"another layer".to_vec());
    });
    show("another config under its digest", |files| {
        let config = config_of(b"the layer");
        files.insert(blob_path(&config), config_of(b"another layer"));
    });
    show("a config of another layer", |files| {
        let config = config_of(b"another layer");
        files.insert("/v2/app/manifests/latest".into(), manifest_of(&config, b"the layer"));
        files.insert(blob_path(&config), config);
    });
    show("a digest that is a path", |files| {
        let manifest = json!({"config": {"digest": "../../secret"}, "layers": []});
        files.insert("/v2/app/manifests/latest".into(), manifest.to_string().into());
        files.insert("/v2/app/blobs/../../secret".into(), b"{}".to_vec());
    });
}

fn config_of(layer: &[u8]) -> Vec<u8> {
    json!({"rootfs": {"diff_ids": [Digest::of(layer).to_string()]}}).to_string().into()
}

fn manifest_of(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let descriptor = |bytes| json!({"digest": Digest::of(bytes).to_string()});
    json!({"config": descriptor(config), "layers": [descriptor(layer)]}).to_string().into()
}

fn blob_path(bytes: &[u8]) -> String {
    format!("/v2/app/blobs/{}", Digest::of(bytes))
}

/// Pulls from a registry with an image, after `change`.
fn show(what: &str, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
    let (layer, config) = (b"the layer", config_of(b"the layer"));
    let mut files = BTreeMap::from([
        ("/v2/app/manifests/latest".to_owned(), manifest_of(&config, layer)),
        (blob_path(&config), config.clone()),
        (blob_path(layer), layer.to_vec()),
    ]);
    change(&mut files);
    let asked = std::cell::RefCell::new(Vec::new());
    let get = |path: &str| {
        asked.borrow_mut().push(path.to_owned());
        files.get(path).cloned()
    };
    let told = match pull(&get) {
        Ok(layer) => format!("pulled, {}", String::from_utf8_lossy(&layer)),
        Err(_) => "refused".into(),
    };
    let strange = asked.borrow().iter().any(|path| path.contains(".."));
    let strange = if strange { ", and a path with .. was asked for" } else { "" };
    println!("{what}: {told}{strange}");
}
