//! Which version of the API is spoken, and by whom.
//!
//! A client asks `/_ping`, and then writes the newest version that both know before
//! every path. Without a version, it gets the newest that we speak.

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderName, HeaderValue, Request, Response, Uri};

use crate::engine::error::{Error, Result};

/// The newest version that is spoken.
pub const API_VERSION: &str = "1.51";
/// The oldest version that is spoken.
pub const MIN_API_VERSION: &str = "1.41";

/// `/v1.43/containers/json` is `/containers/json`, if we speak 1.43.
pub fn without_version(mut request: Request<Body>) -> Result<Request<Body>> {
    let Some(full) = request.uri().path_and_query().map(PathAndQuery::as_str) else {
        return Ok(request);
    };
    let Some((version, rest)) = full.strip_prefix("/v").and_then(|tail| tail.split_once('/'))
    else {
        return Ok(request);
    };
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok(request);
    }
    check(version)?;
    let (spoken, uri) = (Spoken(number(version)), format!("/{rest}").parse::<Uri>());
    request.extensions_mut().insert(spoken);
    if let Ok(uri) = uri {
        *request.uri_mut() = uri;
    }
    Ok(request)
}

/// The version in a request's path.
#[derive(Debug, Clone)]
pub struct Spoken(Vec<u64>);

impl Spoken {
    /// True if the client speaks a version before this one: `1.44`.
    pub fn before(&self, version: &str) -> bool {
        self.0 < number(version)
    }
}

/// Refuses what is older or newer than what we speak, in Docker's words.
fn check(version: &str) -> Result<()> {
    if number(version) < number(MIN_API_VERSION) {
        return Err(Error::bad_parameter(format!(
            "client version {version} is too old. Minimum supported API version is \
             {MIN_API_VERSION}, please upgrade your client to a newer version"
        )));
    }
    if number(version) > number(API_VERSION) {
        return Err(Error::bad_parameter(format!(
            "client version {version} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    Ok(())
}

/// `1.9` is older than `1.41`: the parts are numbers.
fn number(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// What every answer says about who gives it.
pub fn sign(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    let server = concat!("Coracle/", env!("CARGO_PKG_VERSION"), " (linux)");
    for (name, value) in [
        ("api-version", API_VERSION),
        ("docker-experimental", "false"),
        ("ostype", "linux"),
        ("server", server),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for spoken in [MIN_API_VERSION, "1.43", API_VERSION] {
            assert!(check(spoken).is_ok(), "{spoken}");
        }
        for other in ["1.9", "1.40", "1.410", "2.0", "1"] {
            assert!(check(other).is_err(), "{other}");
        }
    }
}
