//! What concerns registries: who a client is to them, and what they have.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use images::Login;
use serde::Deserialize;
use serde_json::{Value, json};

use super::images::no_page;
use super::{blocking, words};
use crate::engine::distribution;
use crate::engine::error::Result;

/// The header in which a client says who it is to the registry: JSON in base64, of the
/// alphabet that is made for URLs.
const HEADER: &str = "x-registry-auth";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who sent a request, to a registry; nobody if it does not say so. As with Docker, what
/// cannot be read counts as nobody: older clients send all kinds of things.
pub struct Sender(pub Option<Login>);

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        let login = parts.headers.get(HEADER).and_then(|text| {
            let json = BASE64.decode(text.as_bytes()).ok()?;
            serde_json::from_slice::<Login>(&json).ok()
        });
        Ok(Self(login.filter(|login| matches!(login.credentials(HEADER), Ok(Some(_))))))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    #[serde(flatten)]
    login: Login,
    serveraddress: String,
}

/// `POST /auth`: is this user known to that registry?
pub async fn log_in(body: axum::body::Bytes) -> Result<Json<Value>> {
    let Asked { login, serveraddress } = words::plain(&body)?;
    blocking(move || distribution::log_in(&serveraddress, &login)).await?;
    Ok(Json(json!({ "Status": "Login Succeeded", "IdentityToken": "" })))
}

/// `GET /distribution/{name}/json`
pub async fn distribution(Path(path): Path<String>, Sender(login): Sender) -> Result<Json<Value>> {
    let Some(name) = path.strip_suffix("/json").map(str::to_owned) else { return Err(no_page()) };
    blocking(move || distribution::look(&name, login)).await.map(Json)
}
