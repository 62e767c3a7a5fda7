//! Whose signature on a registry's certificate counts.

use std::path::{Path, PathBuf};

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};

/// Where distributions keep the authorities that this machine's administrator trusts.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Where Docker and its kin keep those of one registry: `HOST:PORT/*.crt` below.
const PER_REGISTRY: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// Trusts what this machine trusts (`SSL_CERT_FILE` names another file), and for this
/// registry also the authorities in its own folder. Without any, Mozilla's list.
pub(crate) fn config(host: &str) -> Result<TlsConfig> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundle = || BUNDLES.iter().map(PathBuf::from).find(|file| file.exists());
    let mut files: Vec<PathBuf> = named.or_else(bundle).into_iter().collect();
    for folder in PER_REGISTRY {
        let entries = std::fs::read_dir(Path::new(folder).join(host));
        let entries = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "crt")));
    }
    if files.is_empty() {
        return Ok(TlsConfig::builder().root_certs(RootCerts::WebPki).build());
    }
    let mut certificates = Vec::new();
    for file in &files {
        let pem = std::fs::read(file)
            .map_err(|error| crate::error::io(format!("read {}", file.display()), error))?;
        for item in parse_pem(&pem) {
            let item = item.map_err(|error| {
                Error::Input(format!("unreadable certificate in {}: {error}", file.display()))
            })?;
            if let PemItem::Certificate(certificate) = item {
                certificates.push(certificate);
            }
        }
    }
    let roots = RootCerts::new_with_certs(&certificates);
    Ok(TlsConfig::builder().root_certs(roots).build())
}
