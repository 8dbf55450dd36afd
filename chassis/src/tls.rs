//! TLS to what stands behind us, RabbitMQ and PostgreSQL: their certificates are verified against the authorities of the system, or those that the
//! variables of OpenSSL name (`SSL_CERT_FILE`, `SSL_CERT_DIR`), as every client of a database or a broker does.

use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Verifies whom it connects to.
///
/// # Errors
/// When there are no authorities to verify with.
pub fn client() -> io::Result<ClientConfig> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let because = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        let reason = format!("there are no certificates of authorities{because}: name their file in SSL_CERT_FILE");
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    Ok(trusting(roots))
}

/// For whoever must bring a configuration and speaks no TLS.
#[must_use]
pub fn trusting_nobody() -> ClientConfig {
    trusting(RootCertStore::empty())
}

pub(crate) fn trusting(roots: RootCertStore) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring has the suites of all versions");
    builder.with_root_certificates(roots).with_no_client_auth()
}
