//! What an image is made of: a manifest names a config and layers, an index names
//! a manifest for each platform. Both are JSON, in OCI's words and in Docker's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::null_is_default;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::platform::Platform;

/// OCI's image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI's image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI's layer, as gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI's layer, as zstd.
const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// OCI's layer, plain.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a registry is asked for.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

// ANCHOR: descriptor
/// A pointer to bytes: what they are, their digest and their size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: String,
    /// Their name.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// In an index: what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In the index of a layout: the name of the image.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}
// ANCHOR_END: descriptor

impl Descriptor {
    /// A pointer to these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// A pointer.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

// ANCHOR: manifest
/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is; OCI lets it be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// How to run it.
    pub config: Descriptor,
    /// What it is made of, bottom first.
    #[serde(deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
}
// ANCHOR_END: manifest

impl Manifest {
    /// The same image in OCI's words, if it came in Docker's: the config and the layers
    /// are the same bytes, only the names of what they are differ.
    pub(crate) fn in_oci_words(&self) -> Option<Self> {
        if self.media_type.as_deref() != Some(DOCKER_MANIFEST) {
            return None;
        }
        let mut told = Self { media_type: Some(OCI_MANIFEST.into()), ..self.clone() };
        told.config.media_type = OCI_CONFIG.into();
        for layer in &mut told.layers {
            layer.media_type = match layer.media_type.rsplit_once('.') {
                Some((_, "tar")) => OCI_LAYER,
                Some((_, "gzip")) => OCI_LAYER_GZIP,
                Some((_, "zstd")) => OCI_LAYER_ZSTD,
                _ => continue,
            }
            .into();
        }
        Some(told)
    }
}

/// Images of one name, for several platforms; also the table of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is; OCI lets it be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images.
    pub manifests: Vec<Descriptor>,
}

/// What a registry may answer when it is asked for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

impl Document {
    // ANCHOR: parse
    /// Reads a manifest or an index.
    ///
    /// The bytes alone decide which: a document that could be both would be one
    /// image to its signer and another to its user (CVE-2021-41190), so it is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::Corrupt(format!("unreadable manifest: {why}"));
        let json: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if json["schemaVersion"] == 1 {
            return Err(bad("schema 1 has been obsolete since 2017; push the image again".into()));
        }
        let has = |field: &str| !json[field].is_null();
        let document = match (has("manifests"), has("config") || has("layers")) {
            (true, true) => return Err(bad("it claims to be an image and an index".into())),
            (true, false) => serde_json::from_value(json).map(Document::Index),
            (false, _) => serde_json::from_value(json).map(Document::Manifest),
        };
        let document = document.map_err(|error| bad(error.to_string()))?;
        let (media_type, known) = match &document {
            Document::Manifest(m) => (&m.media_type, [OCI_MANIFEST, DOCKER_MANIFEST]),
            Document::Index(i) => (&i.media_type, [OCI_INDEX, DOCKER_INDEX]),
        };
        match media_type {
            Some(found) if !known.contains(&found.as_str()) => {
                Err(bad(format!("its content is not what its media type {found} says")))
            }
            _ => Ok(document),
        }
    }
    // ANCHOR_END: parse
}

impl Index {
    // ANCHOR: choose
    /// The entry that fits a platform best: an image, or an index that may have it. What
    /// does not say its platform may be anything, so an image like that comes last.
    pub fn choose(&self, wanted: &Platform) -> Result<&Descriptor> {
        let entries = || self.manifests.iter().filter(|m| is_manifest(m) || is_index(m));
        let fit = |m: &&Descriptor| m.platform.as_ref().and_then(|offered| wanted.fit(offered));
        // The first of equals wins, as in every other engine; max_by_key takes the last.
        let best = entries().rev().filter(|m| fit(m).is_some()).max_by_key(fit);
        let silent = || entries().filter(|m| m.platform.is_none());
        let best = best.or_else(|| silent().find(|m| is_index(m))).or_else(|| silent().next());
        best.ok_or_else(|| {
            let offered = entries().filter_map(|m| m.platform.as_ref());
            // Proofs of where an image comes from stand beside it, for no system.
            let mut offered: Vec<_> =
                offered.filter(|p| p.os != "unknown").map(Platform::to_string).collect();
            if offered.is_empty() {
                offered.push("none at all".into());
            }
            Error::NotFound(format!("no image for {wanted}: there is {}", offered.join(", ")))
        })
    }
    // ANCHOR_END: choose
}

fn is_manifest(entry: &Descriptor) -> bool {
    [OCI_MANIFEST, DOCKER_MANIFEST].contains(&entry.media_type.as_str())
}

fn is_index(entry: &Descriptor) -> bool {
    [OCI_INDEX, DOCKER_INDEX].contains(&entry.media_type.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(json: serde_json::Value) -> Result<Document> {
        Document::parse(json.to_string().as_bytes())
    }

    fn pointer(media_type: &str, platform: Option<&str>) -> Descriptor {
        let mut pointer = Descriptor::of(media_type, platform.unwrap_or("").as_bytes());
        pointer.platform = platform.map(|p| p.parse().unwrap());
        pointer
    }

    #[test]
    fn a_document_is_what_its_content_says() {
        let config = pointer(OCI_CONFIG, None);
        let image = json!({"schemaVersion": 2, "config": config, "layers": []});
        let index = json!({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": []});
        assert!(matches!(parse(image.clone()), Ok(Document::Manifest(_))));
        assert!(matches!(parse(index.clone()), Ok(Document::Index(_))));

        let mut both = image.clone();
        both["manifests"] = json!([]);
        assert!(parse(both).unwrap_err().to_string().contains("an image and an index"));
        let mut liar = image;
        liar["mediaType"] = json!(OCI_INDEX);
        assert!(parse(liar).unwrap_err().to_string().contains("media type"));
        assert!(parse(json!({"schemaVersion": 1})).unwrap_err().to_string().contains("schema 1"));
    }

    #[test]
    fn an_empty_list_may_be_null() {
        let config = pointer(OCI_CONFIG, None);
        let image = json!({"schemaVersion": 2, "config": config, "layers": null});
        let Ok(Document::Manifest(manifest)) = parse(image) else { panic!("it is an image") };
        assert_eq!(manifest.layers, []);
    }

    #[test]
    fn what_does_not_say_its_platform_comes_last() {
        let index = |manifests: &[Descriptor]| Index {
            schema_version: 2,
            media_type: None,
            manifests: manifests.to_vec(),
        };
        let ours = "linux/amd64".parse().unwrap();
        let (image, silent) =
            (pointer(OCI_MANIFEST, Some("linux/amd64")), pointer(OCI_MANIFEST, None));
        let (inner, proof) =
            (pointer(OCI_INDEX, None), pointer(OCI_MANIFEST, Some("unknown/unknown")));
        let all = [proof.clone(), silent.clone(), inner.clone(), image.clone()];
        let chosen = |n: usize| index(&all[..n]).choose(&ours).cloned();
        assert_eq!(chosen(4).unwrap(), image);
        assert_eq!(chosen(3).unwrap(), inner);
        assert_eq!(chosen(2).unwrap(), silent);
        insta::assert_snapshot!(chosen(1).unwrap_err(), @"no image for linux/amd64: there is none at all");
    }

    #[test]
    fn an_index_without_our_platform_says_what_it_has() {
        let platforms = ["linux/arm64", "linux/s390x", "unknown/unknown"];
        let manifests = platforms.map(|p| pointer(OCI_MANIFEST, Some(p))).to_vec();
        let index = Index { schema_version: 2, media_type: None, manifests };
        assert_eq!(index.choose(&"linux/arm64/v8".parse().unwrap()).unwrap(), &index.manifests[0]);
        let error = index.choose(&"linux/amd64".parse().unwrap()).unwrap_err();
        insta::assert_snapshot!(error, @"no image for linux/amd64: there is linux/arm64, linux/s390x");
    }
}
