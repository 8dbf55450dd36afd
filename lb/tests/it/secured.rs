//! TLS: who is told what, which HTTP is agreed on, and a certificate that is replaced while connections are open.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::backend::Backend;
use crate::balancer::Balancer;
use crate::client::Client;

const GET: &str = "GET /data HTTP/1.1\r\nhost: a\r\n\r\n";

/// A certificate of the name `a`, in files, that clients trust.
pub(crate) struct Secured {
    folder: TempDir,
    trusted: RootCertStore,
}

impl Secured {
    pub(crate) fn new() -> Secured {
        let mut secured = Secured { folder: TempDir::new().unwrap(), trusted: RootCertStore::empty() };
        secured.renew();
        secured
    }

    /// Another certificate in the same files; the old one is not trusted any more.
    fn renew(&mut self) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a".to_owned()]).unwrap();
        fs::write(self.path("chain.pem"), cert.pem()).unwrap();
        fs::write(self.path("key.pem"), signing_key.serialize_pem()).unwrap();
        self.trusted = RootCertStore::empty();
        self.trusted.add(CertificateDer::from_pem_slice(cert.pem().as_bytes()).unwrap()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        Path::new(self.folder.path()).join(name).to_str().unwrap().to_owned()
    }

    pub(crate) async fn balancer(&self, backend: &Backend, settings: &[(&str, &str)]) -> Balancer {
        let (chain, key) = (self.path("chain.pem"), self.path("key.pem"));
        let files = [("TLS_LISTEN", "127.0.0.1:0"), ("TLS_CERTIFICATE_FILE", &chain), ("TLS_KEY_FILE", &key)];
        Balancer::start(&[backend.address], &[&files, settings].concat()).await
    }

    /// Connects as a client that knows these protocols.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(self.trusted.clone()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("a").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await.unwrap()).await
    }
}

fn agreed(stream: &TlsStream<TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}

#[tokio::test]
async fn backends_are_told_how_the_client_came() {
    let (secured, backend) = (Secured::new(), Backend::start().await);
    let balancer = secured.balancer(&backend, &[]).await;
    let mut client = Client::over(secured.connect(balancer.secured, &[]).await.unwrap());
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let head = &backend.asked()[1].head;
    assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
    assert!(head.contains("forwarded: for=127.0.0.1;proto=https\r\n"), "{head}");
    // The plain port is there as before.
    assert_eq!(balancer.get("/data").await.status, 200);
    assert!(backend.asked()[2].head.contains("x-forwarded-proto: http\r\n"));
}

#[tokio::test]
async fn http_2_is_agreed_on_with_who_knows_it() {
    let (secured, backend) = (Secured::new(), Backend::start().await);
    let balancer = secured.balancer(&backend, &[]).await;
    for (known, expected) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let stream = secured.connect(balancer.secured, known).await.unwrap();
        assert_eq!(agreed(&stream), Some(expected.as_bytes()));
    }
    assert!(secured.connect(balancer.secured, &["spdy/3"]).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_bad_one_for_none() {
    let (mut secured, backend) = (Secured::new(), Backend::start().await);
    let balancer = secured.balancer(&backend, &[]).await;
    let mut before = Client::over(secured.connect(balancer.secured, &[]).await.unwrap());
    secured.renew();
    assert!(secured.connect(balancer.secured, &[]).await.is_err(), "the old one, which is not trusted");
    assert_eq!(balancer.operate("POST", "/reload", "").await.status, 204);
    let mut after = Client::over(secured.connect(balancer.secured, &[]).await.unwrap());
    fs::write(secured.path("key.pem"), "no key").unwrap();
    let refused = balancer.operate("POST", "/reload", "").await;
    assert!(refused.status == 422 && refused.text().contains("key.pem"), "{refused:?}");
    let mut still = Client::over(secured.connect(balancer.secured, &[]).await.unwrap());
    for client in [&mut before, &mut after, &mut still] {
        client.send(GET).await;
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn who_speaks_no_tls_or_nothing_is_let_go() {
    let (secured, backend) = (Secured::new(), Backend::start().await);
    let balancer = secured.balancer(&backend, &[("CLIENT_HEAD_MS", "300")]).await;
    let mut plain = Client::connect(balancer.secured).await;
    plain.send(GET).await;
    let answer = plain.rest().await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    let mut silent = Client::connect(balancer.secured).await;
    assert_eq!(silent.rest().await, b"");
    assert_eq!(backend.asked(), []);
}
