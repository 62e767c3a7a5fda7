//! Who we are to a registry: Docker's config file, Basic, and Bearer tokens.
//!
//! ```text
//! we                          registry                     token server
//! GET /v2/…/manifests/1  ───▶
//!                        ◀─── 401  WWW-Authenticate: Bearer realm="https://auth…",
//!                                  service="registry…",scope="repository:app:pull"
//! GET realm?service=…&scope=… (with our password, if we have one) ───▶
//!                        ◀──────────────────────────────── {"token": "…"}
//! GET /v2/…/manifests/1  ───▶
//!   Authorization: Bearer …
//! ```
//!
//! <https://distribution.github.io/distribution/spec/auth/token/>

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::config::null_is_default;
use crate::error::{Error, Result};

/// Docker Hub's entry in the config file, older than its domain.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a user proves to be the user with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password, or an access token in its place.
        password: String,
    },
    /// A token that the token server exchanges for a shorter one.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    /// Says that there is a secret, not which.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Password { user, .. } => write!(f, "Password({user:?}, …)"),
            Credentials::Identity(_) => write!(f, "Identity(…)"),
        }
    }
}

impl Credentials {
    /// The value of a Basic `Authorization` header.
    pub(crate) fn basic(&self) -> Option<String> {
        let Credentials::Password { user, password } = self else { return None };
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }
}

/// Docker's `config.json`, as far as it concerns registries.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    #[serde(deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Login>,
    #[serde(deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

/// What Docker notes down of a login: an entry of its config file. Its clients send the
/// same with a request that concerns a registry.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", default)]
pub struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Login {
    /// Says that there is a secret, not which.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

impl DockerConfig {
    /// Reads `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`; empty if there is none.
    pub fn load() -> Result<Self> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
        let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
        let Some(file) = folder.map(|folder| folder.join("config.json")) else {
            return Ok(Self::default());
        };
        match std::fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(crate::error::io(format!("read {}", file.display()), error)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Input(format!("unreadable {}: {error}", file.display()))),
        }
    }

    /// The user's credentials for a registry: a helper of its own, the entry in the
    /// file, the helper of all.
    pub fn credentials(&self, domain: &str) -> Result<Option<Credentials>> {
        let keys = match domain {
            "docker.io" => vec![HUB_KEY.to_owned(), "docker.io".into(), "index.docker.io".into()],
            _ => vec![domain.to_owned(), format!("https://{domain}"), format!("http://{domain}")],
        };
        // Docker wrote an API's path behind the domain once, and still reads it.
        let domain_of = |entry: &str| {
            let entry = entry.trim_start_matches("https://").trim_start_matches("http://");
            entry.split('/').next().unwrap_or_default().to_owned()
        };
        for key in &keys {
            if let Some(helper) = self.cred_helpers.get(key) {
                return ask_helper(helper, key);
            }
        }
        for key in &keys {
            let matches =
                |(entry, _): &(&String, &Login)| *entry == key || domain_of(entry) == *key;
            let Some((_, login)) = self.auths.iter().find(matches) else { continue };
            if let Some(credentials) = login.credentials(key)? {
                return Ok(Some(credentials));
            }
        }
        // The helper of all may be another machine's: a config.json travels. What is public
        // needs none, so one that is not here keeps no password.
        match &self.creds_store {
            Some(helper) if is_here(&program(helper)) => ask_helper(helper, &keys[0]),
            _ => Ok(None),
        }
    }
}

impl Login {
    /// The credentials for a registry. `auth` is `base64(user:password)`. An entry is empty
    /// where a helper keeps the secret.
    ///
    /// # Errors
    /// An `auth` that is none.
    pub fn credentials(&self, key: &str) -> Result<Option<Credentials>> {
        if let Some(token) = self.identitytoken.clone().filter(|token| !token.is_empty()) {
            return Ok(Some(Credentials::Identity(token)));
        }
        let user = self.username.clone().filter(|user| !user.is_empty());
        if let (Some(user), Some(password)) = (user, self.password.clone()) {
            return Ok(Some(Credentials::Password { user, password }));
        }
        let Some(auth) = self.auth.as_deref().filter(|auth| !auth.is_empty()) else {
            return Ok(None);
        };
        let bad = || {
            Error::Input(format!(
                "the \"auth\" of {key}, as in Docker's config.json, is unreadable: log in again"
            ))
        };
        let bytes = STANDARD_NO_PAD.decode(auth.trim_end_matches('=')).map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        let password = password.trim_end_matches('\0');
        Ok(Some(Credentials::Password { user: user.into(), password: password.into() }))
    }
}

fn program(helper: &str) -> String {
    format!("docker-credential-{helper}")
}

/// True if there is such a program in `PATH`.
fn is_here(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Runs `docker-credential-NAME get`: the registry on its stdin, JSON on its stdout.
fn ask_helper(name: &str, key: &str) -> Result<Option<Credentials>> {
    let program = program(name);
    let failed =
        |why: String| Error::Denied(format!("ask {program} for the password of {key}: {why}"));
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    // A helper that does not listen answers all the same.
    let _ = child.stdin.take().expect("stdin is piped").write_all(key.as_bytes());
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stdout);
        // "credentials not found in native keychain" is an answer, not an error.
        return if words.contains("not found") {
            Ok(None)
        } else {
            Err(failed(words.trim().into()))
        };
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let Answer { username, secret } =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(Some(match username.as_str() {
        "<token>" => Credentials::Identity(secret),
        _ => Credentials::Password { user: username, password: secret },
    }))
}

/// What a registry wants, from `WWW-Authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, parameters: Vec<(String, String)> },
}

impl Challenge {
    /// Reads `Bearer realm="…",service="…"`; `None` for schemes that we do not speak.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => {
                let mut parameters = parameters(rest);
                let at = parameters.iter().position(|(name, _)| name == "realm")?;
                let (_, realm) = parameters.remove(at);
                Some(Challenge::Bearer { realm, parameters })
            }
            _ => None,
        }
    }
}

/// `name=value` or `name="value"`, separated by commas; a quoted value may have commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name, value.trim().to_owned()));
        rest = after;
    }
    found
}

/// A string as part of a URL, a query or a form: what is no letter, digit, `-`, `.`, `_` or
/// `~`, as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_its_commas() {
        let header = r#"Bearer realm="https://auth.r.io/token",service="r.io", scope="repository:a/b:pull,push""#;
        let Some(Challenge::Bearer { realm, parameters }) = Challenge::parse(header) else {
            panic!()
        };
        assert_eq!(realm, "https://auth.r.io/token");
        let text: Vec<_> = parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(text, ["service=r.io", "scope=repository:a/b:pull,push"]);
        assert_eq!(Challenge::parse("basic realm=x"), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Negotiate"), None);
        assert_eq!(Challenge::parse("Bearer service=x"), None);
    }

    #[test]
    fn a_helper_that_is_not_here_keeps_no_password() {
        let config =
            |json: serde_json::Value| -> DockerConfig { serde_json::from_value(json).unwrap() };
        let of_all = config(serde_json::json!({"auths": null, "credsStore": "no-such-helper"}));
        assert_eq!(of_all.credentials("r.io").unwrap(), None);
        let its_own = config(serde_json::json!({"credHelpers": {"r.io": "no-such-helper"}}));
        let error = its_own.credentials("r.io").unwrap_err().to_string();
        assert!(error.contains("docker-credential-no-such-helper"), "{error}");
    }

    #[test]
    fn the_config_file_knows_a_registry_by_all_its_names() {
        let config: DockerConfig = serde_json::from_value(serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:pa:ss")},
            "https://r.io/": {"auth": STANDARD_NO_PAD.encode("me:secret")},
            "t.io": {"identitytoken": "long"},
            "https://old.io:5000/v1/": {"auth": STANDARD.encode("old:word")},
            "empty.io": {},
            "bad.io": {"auth": "%"},
        }}))
        .unwrap();
        let password = |user: &str, password: &str| {
            Some(Credentials::Password { user: user.into(), password: password.into() })
        };
        assert_eq!(config.credentials("docker.io").unwrap(), password("hub", "pa:ss"));
        assert_eq!(config.credentials("r.io").unwrap(), password("me", "secret"));
        assert_eq!(config.credentials("old.io:5000").unwrap(), password("old", "word"));
        assert_eq!(config.credentials("old.io").unwrap(), None);
        let token = Some(Credentials::Identity("long".into()));
        assert_eq!(config.credentials("t.io").unwrap(), token);
        assert_eq!(config.credentials("empty.io").unwrap(), None);
        assert_eq!(config.credentials("other.io").unwrap(), None);
        assert!(config.credentials("bad.io").unwrap_err().to_string().contains("bad.io"));
        assert!(!format!("{config:?}").contains("long"), "a secret is not printed");
    }
}
