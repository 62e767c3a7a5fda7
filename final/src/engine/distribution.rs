//! What a registry has under a name, without a download.

use std::io::Read;

use images::{
    Descriptor, Digest, DockerConfig, Document, ImageConfig, Platform, Reference, Registry,
    VerifyingReader,
};
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
    let registry = Registry::new(&reference, credentials)?;
    let found = registry.manifest(reference.digest())?;
    let (media_type, platforms) = match Document::parse(&found.bytes)? {
        Document::Index(index) => {
            let platforms = index.manifests.iter().filter_map(|image| image.platform.as_ref());
            (index.media_type.unwrap_or(OCI_INDEX.into()), json!(platforms.collect::<Vec<_>>()))
        }
        Document::Manifest(image) => {
            let platform = platform(&registry, &image.config).ok();
            (image.media_type.unwrap_or(OCI_MANIFEST.into()), json!(platform.map(|one| [one])))
        }
    };
    Ok(described(&media_type, &found.digest, found.bytes.len(), platforms))
}

/// Of a single image: its configuration tells, which is another document, if it is an
/// image at all.
fn platform(registry: &Registry, config: &Descriptor) -> Result<Platform> {
    let (reader, _) = registry.blob(&config.digest, 0, &mut |_, _| {})?;
    let mut bytes = Vec::new();
    let reader = VerifyingReader::new(reader, config.digest, config.size.min(LARGEST_CONFIG));
    reader.take(LARGEST_CONFIG).read_to_end(&mut bytes)?;
    let config: ImageConfig =
        serde_json::from_slice(&bytes).map_err(|why| Error::system(why.to_string()))?;
    Ok(config.platform())
}

/// More is no configuration that anybody would write.
const LARGEST_CONFIG: u64 = 4 << 20;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn described(media_type: &str, digest: &Digest, size: usize, platforms: Json) -> Json {
    json!({
        "Descriptor": { "mediaType": media_type, "digest": digest.to_string(), "size": size },
        "Platforms": platforms,
    })
}
