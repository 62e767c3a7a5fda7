//! What a registry has under a name, without a download.

use images::{Digest, DockerConfig, Document, Reference, Registry};
use serde_json::{Value as Json, json};

use super::error::{Error, Result};

/// What is there, as Docker's `DistributionInspect`.
///
/// # Errors
/// The name is none, or the registry does not have it, or does not answer.
pub fn look(name: &str) -> Result<Json> {
    let reference: Reference =
        name.parse().map_err(|why: images::Error| Error::bad_parameter(why.to_string()))?;
    let credentials = DockerConfig::load()?.credentials(reference.domain())?;
    let found = Registry::new(&reference, credentials)?.manifest(reference.digest())?;
    let (media_type, platforms) = match Document::parse(&found.bytes)? {
        Document::Index(index) => {
            let platforms = index.manifests.iter().filter_map(|image| image.platform.as_ref());
            (index.media_type.unwrap_or(OCI_INDEX.into()), json!(platforms.collect::<Vec<_>>()))
        }
        // Its platform is in its configuration, which is another document.
        Document::Manifest(image) => (image.media_type.unwrap_or(OCI_MANIFEST.into()), Json::Null),
    };
    Ok(described(&media_type, &found.digest, found.bytes.len(), platforms))
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn described(media_type: &str, digest: &Digest, size: usize, platforms: Json) -> Json {
    json!({
        "Descriptor": { "mediaType": media_type, "digest": digest.to_string(), "size": size },
        "Platforms": platforms,
    })
}
