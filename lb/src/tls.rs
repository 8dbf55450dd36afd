//! TLS for clients: one certificate, which may be read again; the version of HTTP is agreed on in the handshake (ALPN).

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::Config;

/// As ALPN names it (RFC 9113 §3.1).
pub(crate) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What new connections are secured with.
#[derive(Debug)]
pub(crate) struct Tls(ArcSwap<ServerConfig>);

/// A certificate and its key, read and found to belong together.
#[derive(Debug)]
pub(crate) struct Certificate(Arc<ServerConfig>);

impl Certificate {
    /// What the settings name; `None` if they name no address for TLS.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn read(config: &Config) -> Result<Option<Certificate>, String> {
        if config.tls_listen.is_none() {
            return Ok(None);
        }
        let (chain_file, key_file) = (&config.tls_certificate_file, &config.tls_key_file);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain_file).and_then(Iterator::collect);
        let chain = chain.map_err(|error| format!("the certificate {chain_file:?} cannot be read: {error}."))?;
        if chain.is_empty() {
            return Err(format!("{chain_file:?} has no certificate in PEM form."));
        }
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|error| format!("the key {key_file:?} cannot be read: {error}."))?;
        let secured = server_config(chain, key);
        let secured = secured.map_err(|error| format!("{chain_file:?} and {key_file:?} cannot be used: {error}."))?;
        Ok(Some(Certificate(Arc::new(secured))))
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut secured = builder.with_single_cert(chain, key)?;
    secured.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(secured)
}

impl Tls {
    pub(crate) fn new(certificate: Certificate) -> Tls {
        Tls(ArcSwap::new(certificate.0))
    }

    /// From the next handshake on.
    pub(crate) fn replace(&self, certificate: Certificate) {
        self.0.store(certificate.0);
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}
