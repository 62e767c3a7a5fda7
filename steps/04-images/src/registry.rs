//! One repository on one registry: the few GET requests of a pull.
//!
//! ```text
//! GET /v2/<path>/manifests/<tag or digest>
//! GET /v2/<path>/blobs/<digest>              Range: bytes=4096-
//! ```
//!
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>

use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use ureq::http::{Response, StatusCode, Uri, header};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use crate::address::{is_loopback, redirected, same_origin};
use crate::auth::{Challenge, Credentials, percent_encoded};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::ACCEPTED;
use crate::reference::Reference;
use crate::retry::{Patience, retry_after};
use crate::tls;

/// The specification tells registries to accept manifests of at least this size.
const LARGEST_MANIFEST: u64 = 4 << 20;
const MOST_REDIRECTS: usize = 10;

/// A repository that one can pull from. May be used from several threads.
#[derive(Debug)]
pub struct Registry {
    agent: Agent,
    /// `https://registry-1.docker.io`
    base: String,
    reference: Reference,
    credentials: Option<Credentials>,
    /// The `Authorization` header that the registry took last.
    authorization: Mutex<Option<String>>,
}

/// What a manifest request brought.
pub struct Fetched {
    /// The bytes, as they came.
    pub bytes: Vec<u8>,
    /// Their digest, which is the one asked for if it was by digest.
    pub digest: Digest,
}

impl Registry {
    /// Prepares to speak to the registry of a reference. HTTPS, except on this machine
    /// itself: there HTTP, unless it answers that it wants HTTPS.
    pub fn new(reference: &Reference, credentials: Option<Credentials>) -> Result<Self> {
        let host = match reference.domain() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let plain = is_loopback(host) && !wants_tls(host);
        let (scheme, agent) = match plain {
            true => ("http", agent(host, None)),
            false => ("https", agent(host, Some(tls::config(host)?))),
        };
        Ok(Self {
            agent,
            base: format!("{scheme}://{host}"),
            reference: reference.clone(),
            credentials,
            authorization: Mutex::new(None),
        })
    }

    /// What is asked for.
    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Asks a registry, by its domain, whether it knows these credentials.
    ///
    /// # Errors
    /// [`Error::Denied`] if it does not.
    pub fn log_in(domain: &str, credentials: Credentials) -> Result<()> {
        let registry = Self::new(&format!("{domain}/login").parse()?, Some(credentials))?;
        registry.get("/v2/", &[], &mut |_, _| {}).map(drop).map_err(|error| match error {
            Error::Denied(_) => {
                Error::Denied(format!("log in to {domain}: it knows no such user and password"))
            }
            error => error,
        })
    }

    // ANCHOR: fetch_manifest
    /// Fetches a manifest or an index, by the tag of the reference or by a digest.
    pub fn manifest(&self, digest: Option<Digest>) -> Result<Fetched> {
        let name = match digest {
            Some(digest) => digest.to_string(),
            None => self.reference.tag().unwrap_or("latest").to_owned(),
        };
        let path = format!("/v2/{}/manifests/{name}", self.reference.path());
        let (bytes, announced) = self.document(&path, &[("accept", ACCEPTED.join(", "))])?;
        if bytes.len() as u64 > LARGEST_MANIFEST {
            return Err(Error::Corrupt(format!(
                "the manifest of {} is larger than 4 MiB",
                self.reference
            )));
        }
        let found = Digest::of(&bytes);
        match digest.or(announced) {
            Some(wanted) if wanted != found => Err(Error::Corrupt(format!(
                "wrong digest: {} sent {found} as the manifest {wanted}",
                self.reference.domain()
            ))),
            _ => Ok(Fetched { bytes, digest: found }),
        }
    }
    // ANCHOR_END: fetch_manifest

    /// The bytes of a document, at most one more than it may have, and the digest that
    /// the registry says they have. A document that breaks off is asked for again.
    fn document(
        &self,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<(Vec<u8>, Option<Digest>)> {
        let mut nobody = |_, _| {};
        let mut patience = Patience::new(&mut nobody);
        loop {
            let mut response = self.get(path, headers, &mut |_, _| {})?;
            let announced = response.headers().get("docker-content-digest").cloned();
            let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
            let mut bytes = Vec::new();
            let mut reader = response.body_mut().as_reader().take(LARGEST_MANIFEST + 1);
            match reader.read_to_end(&mut bytes) {
                Ok(_) => return Ok((bytes, announced)),
                Err(error) if patience.wait(error.to_string(), None) => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
    }

    /// Asks for the bytes of a blob from `from` on. The answer may start at 0 all the
    /// same: the second value says where it starts.
    ///
    /// `waiting` hears of every pause: why, and how long.
    pub fn blob(
        &self,
        digest: &Digest,
        from: u64,
        waiting: &mut dyn FnMut(String, Duration),
    ) -> Result<(impl Read + Send + use<>, u64)> {
        let path = format!("/v2/{}/blobs/{digest}", self.reference.path());
        // A server that cannot count is asked for everything.
        for from in [from, 0] {
            let range = (from > 0).then(|| ("range", format!("bytes={from}-")));
            let response = self.get(&path, range.as_slice(), waiting)?;
            let starts = match response.status() {
                StatusCode::PARTIAL_CONTENT => content_range(&response),
                StatusCode::RANGE_NOT_SATISFIABLE => None,
                _ => Some(0),
            };
            if let Some(starts) = starts.filter(|starts| *starts <= from) {
                return Ok((
                    response.into_body().into_with_config().limit(u64::MAX).reader(),
                    starts,
                ));
            }
        }
        Err(self.broken("it answers another range than was asked for"))
    }

    /// GET, with what it takes: authorization, patience, redirects.
    fn get(
        &self,
        path: &str,
        headers: &[(&str, String)],
        waiting: &mut dyn FnMut(String, Duration),
    ) -> Result<Response<Body>> {
        let mut patience = Patience::new(waiting);
        let mut asked = false;
        let in_part = headers.iter().any(|(name, _)| *name == "range");
        loop {
            let response = self.follow(&format!("{}{path}", self.base), headers, &mut patience)?;
            let status = response.status();
            if status.is_success() || (in_part && status == StatusCode::RANGE_NOT_SATISFIABLE) {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && !asked {
                asked = true;
                self.authorize(&response, &mut patience)?;
                continue;
            }
            if !self.is_busy(&response, &mut patience) {
                return Err(self.refusal(response));
            }
        }
    }

    // ANCHOR: follow
    /// One GET and the redirects that it leads to. A redirect leads to a store of some
    /// cloud, with a signed URL: who we are is none of its business.
    fn follow(
        &self,
        url: &str,
        headers: &[(&str, String)],
        patience: &mut Patience,
    ) -> Result<Response<Body>> {
        let mut uri: Uri = url.parse().map_err(|_| self.broken("its address is no URL"))?;
        let home = uri.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.agent.get(uri.clone());
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let authorization = self.authorization.lock().expect("no panic holds it").clone();
            if let Some(value) = authorization.filter(|_| same_origin(&uri, &home)) {
                request = request.header(header::AUTHORIZATION, value);
            }
            let response = match request.call() {
                Err(error) if broke_off(&error) && patience.wait(error.to_string(), None) => {
                    continue;
                }
                answer => answer.map_err(|error| self.unreachable(&uri, error))?,
            };
            if !response.status().is_redirection() {
                return Ok(response);
            }
            uri = self.redirect(&uri, &response)?;
        }
        Err(self.broken("it redirects in circles"))
    }
    // ANCHOR_END: follow

    fn redirect(&self, from: &Uri, response: &Response<Body>) -> Result<Uri> {
        let location =
            response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.broken("it redirects to nowhere"))?;
        redirected(from, location).map_err(|why| self.broken(&why))
    }

    /// Answers a 401: finds the header that the next request needs.
    fn authorize(&self, response: &Response<Body>, patience: &mut Patience) -> Result<()> {
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges = headers.iter().filter_map(|value| Challenge::parse(value.to_str().ok()?));
        // Bearer first: it is what a registry that offers both prefers.
        let challenge = challenges.max_by_key(|c| matches!(c, Challenge::Bearer { .. }));
        let value = match challenge {
            Some(Challenge::Bearer { realm, parameters }) => {
                Some(format!("Bearer {}", self.token(&realm, &parameters, patience)?))
            }
            Some(Challenge::Basic) => self.credentials.as_ref().and_then(Credentials::basic),
            None => None,
        };
        let value = value.ok_or_else(|| self.denied(""))?;
        *self.authorization.lock().expect("no panic holds it") = Some(value);
        Ok(())
    }

    /// Fetches a token from the server that the challenge names.
    fn token(
        &self,
        realm: &str,
        parameters: &[(String, String)],
        patience: &mut Patience,
    ) -> Result<String> {
        let uri: Uri = realm.parse().map_err(|_| self.broken("its token server has no URL"))?;
        let safe = uri.scheme_str() == Some("https") || is_loopback(uri.host().unwrap_or(""));
        if !safe && self.credentials.is_some() {
            return Err(self.denied(&format!("it wants the password sent unencrypted to {realm}")));
        }
        let mut fields: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let scope = format!("repository:{}:pull", self.reference.path());
        if !fields.iter().any(|(name, _)| *name == "scope") {
            fields.push(("scope", &scope));
        }
        let form = |fields: &[(&str, &str)]| {
            let pairs: Vec<_> =
                fields.iter().map(|(n, v)| format!("{n}={}", percent_encoded(v))).collect();
            pairs.join("&")
        };
        if let Some(Credentials::Identity(token)) = &self.credentials {
            let own = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("client_id", "coracle"),
            ];
            fields.extend(own);
        }
        let ask = || match &self.credentials {
            Some(Credentials::Identity(_)) => {
                let request = self.agent.post(uri.clone());
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                request.send(form(&fields))
            }
            password => {
                let separator = if uri.query().is_some() { '&' } else { '?' };
                let mut request = self.agent.get(format!("{realm}{separator}{}", form(&fields)));
                if let Some(basic) = password.as_ref().and_then(Credentials::basic) {
                    request = request.header(header::AUTHORIZATION, basic);
                }
                request.call()
            }
        };
        let mut answer = loop {
            let answer = ask().map_err(|error| self.unreachable(&uri, error))?;
            if !self.is_busy(&answer, patience) {
                break answer;
            }
        };
        if !answer.status().is_success() {
            return Err(match answer.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(""),
                status => self.broken(&format!("its token server {realm} answers {status}")),
            });
        }
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let token = serde_json::from_reader(answer.body_mut().as_reader()).ok();
        let token = token.and_then(|t: Token| t.token.or(t.access_token));
        token.ok_or_else(|| self.broken(&format!("its token server {realm} sends no token")))
    }

    /// True if a server has something better to do, and this has waited for it.
    fn is_busy(&self, answer: &Response<Body>, patience: &mut Patience) -> bool {
        let status = answer.status();
        let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
            || status.is_server_error();
        let why = format!("{} answers {status}", self.reference.domain());
        busy && patience.wait(why, retry_after(answer.headers()))
    }

    fn refusal(&self, mut response: Response<Body>) -> Error {
        let status = response.status();
        let words = words(&mut response);
        let name = self.reference.familiar();
        match status {
            StatusCode::NOT_FOUND => {
                Error::NotFound(format!("{name}: the registry has no such image or tag{words}"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(&words),
            StatusCode::TOO_MANY_REQUESTS => {
                self.broken(&format!("it is asked too often; try again later{words}"))
            }
            _ => self.broken(&format!("it answers {status}{words}")),
        }
    }

    fn denied(&self, words: &str) -> Error {
        let (name, domain) = (self.reference.familiar_name(), self.reference.domain());
        let way = match &self.credentials {
            Some(_) => {
                format!("the credentials for {domain} in Docker's config.json are not enough")
            }
            None => format!("there is no such repository, or it needs `docker login {domain}`"),
        };
        let words = words.trim_start_matches(": ");
        let gap = if words.is_empty() { "" } else { ": " };
        Error::Denied(format!("pull access denied for {name}{gap}{words}: {way}"))
    }

    fn broken(&self, why: &str) -> Error {
        Error::Registry(format!("pull {} from {}: {why}", self.reference.familiar(), self.base))
    }

    fn unreachable(&self, uri: &Uri, error: ureq::Error) -> Error {
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::HostNotFound => "no such host".into(),
            ureq::Error::Timeout(_) => "it does not answer in time".into(),
            ureq::Error::ConnectionFailed => "no connection".into(),
            other => other.to_string(),
        };
        Error::Registry(format!("pull {}: registry {host}: {why}", self.reference.familiar()))
    }
}

/// The connection was there and broke off, as one does that was idle for too long. One
/// that cannot be made at all is told at once.
fn broke_off(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    matches!(error, ureq::Error::Io(error) if kinds.contains(&error.kind()))
}

/// The error that a registry sends in JSON, as part of a sentence.
fn words(response: &mut Response<Body>) -> String {
    let mut text = Vec::new();
    let _ = response.body_mut().as_reader().take(64 << 10).read_to_end(&mut text);
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    match json["errors"][0]["message"].as_str() {
        // What comes from the network does not get to move the cursor.
        Some(message) => format!(": {}", message.replace(char::is_control, " ")),
        None => String::new(),
    }
}

/// The first byte of a partial answer: `bytes 4096-8191/8192`.
fn content_range(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn agent(host: &str, tls: Option<TlsConfig>) -> Agent {
    let mut config = Agent::config_builder()
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .tls_config(tls.unwrap_or_default());
    if is_loopback(host) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// A TLS server answers plain HTTP with 400 and a word about it.
fn wants_tls(host: &str) -> bool {
    match agent(host, None).get(format!("http://{host}/v2/")).call() {
        Ok(mut answer) if answer.status() == StatusCode::BAD_REQUEST => {
            answer.body_mut().read_to_string().is_ok_and(|text| text.contains("HTTPS"))
        }
        _ => false,
    }
}
