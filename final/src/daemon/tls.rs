//! Mutual TLS: the daemon shows its certificate, and so must the client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The three files of mutual TLS, PEM.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// Trust clients with a certificate that this authority signed.
    #[arg(long, value_name = "FILE", requires_all = ["tlscert", "tlskey"])]
    tlscacert: Option<PathBuf>,
    /// Our certificate, and what leads from it to its authority.
    #[arg(long, value_name = "FILE", requires_all = ["tlscacert", "tlskey"])]
    tlscert: Option<PathBuf>,
    /// The key of our certificate.
    #[arg(long, value_name = "FILE", requires_all = ["tlscacert", "tlscert"])]
    tlskey: Option<PathBuf>,
}

impl TlsArgs {
    /// How connections are taken in, if all three files are given.
    pub fn acceptor(&self) -> Result<Option<TlsAcceptor>> {
        let (Some(authority), Some(chain), Some(key)) =
            (&self.tlscacert, &self.tlscert, &self.tlskey)
        else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority)? {
            roots
                .add(certificate)
                .with_context(|| format!("trust the authority in {}", authority.display()))?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .with_context(|| format!("trust the authority in {}", authority.display()))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("read the key in {}", key.display()))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(chain)?, private)
            .with_context(|| format!("use the certificate in {}", chain.display()))?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

/// The certificates in a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = || format!("read the certificates in {}", path.display());
    let list: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).with_context(what)?;
    if list.is_empty() {
        bail!("{}: there are none", what());
    }
    Ok(list)
}
