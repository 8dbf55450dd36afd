//! Asks a broker for its first byte before lapin connects: lapin's connect to a peer that accepts and stays silent (a stopped broker)
//! leaks a thread until the peer wakes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tls;

/// The protocol header of AMQP 0-9-1.
const HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
const DEADLINE: Duration = Duration::from_secs(2);
/// The first frame is shorter than any broker's least limit for frames, but for who sends garbage.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Where a broker listens, and whether it speaks TLS there. Shown as `host:port`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    host: String,
    port: u16,
    tls: bool,
}

impl Place {
    pub(super) fn of(uri: &AMQPUri) -> Self {
        let (host, port) = (uri.authority.host.clone(), uri.authority.port);
        Self { host, port, tls: uri.scheme == AMQPScheme::AMQPS }
    }

    /// Without TLS.
    #[cfg(any(test, feature = "scratch"))]
    pub(crate) fn plain(address: std::net::SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), tls: false }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(tls::client()?));
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Whether the broker there speaks AMQP, within two seconds.
///
/// # Errors
/// Refused, silent, not to be trusted, or something else.
pub(crate) async fn probe(place: &Place) -> io::Result<()> {
    in_time(greet(place)).await.map(drop)
}

/// The broker's product and version, as its first frame says them: `RabbitMQ 4.0.5`.
///
/// # Errors
/// As [`probe`].
pub(super) async fn server(place: &Place) -> io::Result<String> {
    in_time(async {
        let mut stream = greet(place).await?;
        let _channel = stream.read_u16().await?;
        let mut frame = vec![0; usize::try_from(stream.read_u32().await?.min(FRAME_BYTES_MAX)).unwrap_or(0)];
        stream.read_exact(&mut frame).await?;
        let said = |name| text_of(&frame, name).unwrap_or("unknown");
        Ok(format!("{} {}", said("product"), said("version")))
    })
    .await
}

async fn in_time<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(DEADLINE, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The connection behind the first byte of its answer.
async fn greet(place: &Place) -> io::Result<Box<dyn Stream>> {
    let mut stream = place.connect().await?;
    stream.write_all(HEADER).await?;
    // A broker answers with the frame of connection.start: a method frame, type 1.
    match stream.read_u8().await? {
        1 => Ok(stream),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("not AMQP 0-9-1: it answered {other:#04x}"))),
    }
}

/// A text of the server's properties, a table of AMQP 0-9-1: the name with its length, `S`, four bytes of length, the text.
fn text_of<'a>(frame: &'a [u8], name: &str) -> Option<&'a str> {
    let mut head = vec![u8::try_from(name.len()).ok()?];
    head.extend_from_slice(name.as_bytes());
    head.push(b'S');
    let at = frame.windows(head.len()).position(|window| window == head)? + head.len();
    let (length, rest) = frame.get(at..)?.split_first_chunk::<4>()?;
    std::str::from_utf8(rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_in_the_servers_properties() {
        let frame = b"\0\x0a\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x054.0.5";
        assert_eq!((text_of(frame, "product"), text_of(frame, "version")), (Some("RabbitMQ"), Some("4.0.5")));
        assert_eq!((text_of(frame, "platform"), text_of(b"\x07versionS\0\0\0\x09x", "version")), (None, None));
    }
}
