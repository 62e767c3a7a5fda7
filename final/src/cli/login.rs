//! Who the user is to a registry, for a daemon that pulls in their place.
//!
//! A daemon has a home of its own. What `docker login` has noted down is in the user's, so
//! it is read here and goes along with the request, as docker's command line has it.

use ::images::{Credentials, DockerConfig, Reference};
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::json;

/// The text of `X-Registry-Auth` for an image's registry; `None` for who has not logged in
/// there.
///
/// # Errors
/// A config file that cannot be read, or a helper that does not tell the password.
pub fn of(image: &str) -> Result<Option<String>> {
    // What is no reference is for the engine to refuse.
    let Ok(reference) = image.parse::<Reference>() else { return Ok(None) };
    let found = DockerConfig::load()?.credentials(reference.domain())?;
    Ok(found.map(|credentials| URL_SAFE.encode(words(credentials).to_string())))
}

fn words(credentials: Credentials) -> serde_json::Value {
    match credentials {
        Credentials::Password { user, password } => {
            json!({ "username": user, "password": password })
        }
        Credentials::Identity(token) => json!({ "identitytoken": token }),
    }
}
