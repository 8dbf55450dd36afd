//! Kept connections that cost their client little, so that the client's own work does not hide what is measured: a request is written as it is,
//! and of the answer only the end is looked for.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const HEAD_END: &[u8] = b"\r\n\r\n";
/// Connections begun at once.
const CONNECTING: usize = 100;
/// Of one set of clients. A request that finds all of them in use waits, and its time goes on counting.
const CONNECTIONS: usize = 256;
/// Connections of a crowd that come from one address: less than a balancer may allow it.
const FROM_ONE_ADDRESS: u32 = 2_000;

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        Connection::on(TcpStream::connect(address).await?)
    }

    /// From an address of its own on loopback.
    async fn open_from(source: IpAddr, address: SocketAddr) -> Result<Self> {
        Connection::on(socket_of(source)?.connect(address).await?)
    }

    fn on(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(1024) })
    }

    async fn write(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads one answer. Anything but a 200 with a length is an error.
    pub(crate) async fn answer(&mut self) -> Result<()> {
        self.received.clear();
        let whole = async {
            loop {
                ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the connection ended in an answer");
                if let Some(length) = answer_length(&self.received)?
                    && self.received.len() >= length
                {
                    return Ok(());
                }
            }
        };
        timeout(ANSWER_WITHIN, whole).await.context("no answer")?
    }
}

/// How long the answer is that begins like this, once its head is there.
fn answer_length(received: &[u8]) -> Result<Option<usize>> {
    let Some(end) = received.windows(HEAD_END.len()).position(|window| window == HEAD_END) else { return Ok(None) };
    let (head, _) = received.split_at(end);
    let head = str::from_utf8(head)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().with_context(|| format!("no length in {head}"))?;
    Ok(Some(end + HEAD_END.len() + length.trim().parse::<usize>()?))
}

/// Clients of one address that ask the same: each request takes a connection that nobody uses, or opens one.
pub(crate) struct Clients {
    address: SocketAddr,
    request: Vec<u8>,
    unused: RefCell<Vec<Connection>>,
    places: Semaphore,
}

impl Clients {
    pub(crate) fn new(address: SocketAddr, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n").into_bytes();
        Self { address, request, unused: RefCell::default(), places: Semaphore::new(CONNECTIONS) }
    }

    pub(crate) async fn ask(&self) -> Result<()> {
        let _place = self.places.acquire().await?;
        let unused = self.unused.borrow_mut().pop();
        let mut connection = match unused {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        connection.write(&self.request).await?;
        connection.answer().await?;
        self.unused.borrow_mut().push(connection);
        Ok(())
    }
}

/// A socket with this address of loopback.
fn socket_of(source: IpAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    Ok(socket)
}

/// So many connections on which this request was sent, from as many addresses as it takes.
pub(crate) async fn crowd(address: SocketAddr, request: &str, count: u32) -> Result<Vec<Connection>> {
    let one = |n: u32| async move {
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 1 + n / FROM_ONE_ADDRESS);
        let mut connection = Connection::open_from(source.into(), address).await?;
        connection.write(request.as_bytes()).await?;
        anyhow::Ok(connection)
    };
    stream::iter(0..count).map(one).buffer_unordered(CONNECTING).try_collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let check =
            |received: &str, length| assert_eq!(answer_length(received.as_bytes()).unwrap(), length, "{received}");
        check("HTTP/1.1 200 OK\r\nContent-Le", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Some(41));
        check("HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length:3\r\n\r\nabc", Some(51));
        assert!(answer_length(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(answer_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
