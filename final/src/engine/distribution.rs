//! What a registry has under a name, without a download.

use std::io::Read;

use images::{
    Descriptor, Digest, DockerConfig, Document, ImageConfig, Login, Platform, Reference, Registry,
    VerifyingReader,
};
use serde_json::{Value as Json, json};

use super::error::{Error, Result};

/// What is there, as Docker's `DistributionInspect`.
///
/// # Errors
/// The name is none, or the registry does not have it, or does not answer.
pub fn look(name: &str, login: Option<Login>) -> Result<Json> {
    let reference: Reference =
        name.parse().map_err(|why: images::Error| Error::bad_parameter(why.to_string()))?;
    let credentials = match login {
        Some(login) => login.credentials(reference.domain())?,
        None => DockerConfig::load()?.credentials(reference.domain())?,
    };
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

/// Asks a registry whether it knows somebody. Docker Hub is `docker.io`, and has older
/// names that are URLs.
///
/// # Errors
/// It does not, or does not answer.
pub fn log_in(server: &str, login: &Login) -> Result<()> {
    let host = server.trim_start_matches("https://").trim_start_matches("http://");
    let domain = match host.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        domain => domain,
    };
    let credentials = login.credentials(domain)?;
    let missing =
        || Error::bad_parameter(format!("log in to {domain}: as whom? a user is missing"));
    Registry::log_in(domain, credentials.ok_or_else(missing)?).map_err(|why| match why {
        images::Error::Denied(why) => Error::unauthorized(why),
        why => why.into(),
    })
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
