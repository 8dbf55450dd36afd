//! Certificates of an authority of one's own, for servers that speak TLS.

use rcgen::{BasicConstraints, CertificateParams, Error, IsCa, Issuer, KeyPair};

/// An authority that nobody trusts unless told to.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

/// A server's certificate and its key.
#[derive(Debug)]
pub struct Certified {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub key: String,
}

impl Authority {
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self, Error> {
        let mut parameters = CertificateParams::new([])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let root = parameters.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(parameters, key), root })
    }

    /// Its own certificate, PEM.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Of a server that is called by these names and addresses.
    ///
    /// # Errors
    /// For what is neither.
    pub fn certify(&self, names: &[&str]) -> Result<Certified, Error> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        Ok(Certified { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
