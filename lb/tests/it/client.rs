//! A client that writes and reads bytes, so that nothing between the test and the balancer mends them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: Box<dyn Duplex>,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

/// What can be talked over.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The name of the problem, if it is one.
    pub(crate) fn problem(&self) -> Option<String> {
        let is_problem = self.field("content-type") == Some("application/problem+json");
        let problem: protocol::problem::Problem = serde_json::from_slice(&self.body).ok().filter(|_| is_problem)?;
        problem.kind().map(|kind| kind.name().to_owned())
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(stream: impl Duplex + 'static) -> Client {
        Client { stream: Box::new(stream), buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// Like `send`, for when the other side may have gone.
    pub(crate) async fn try_send(&mut self, text: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(text.as_ref()).await.is_ok()
    }

    /// The answer to a GET.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (mut answer, framing) = self.head().await;
        answer.body = match framing {
            Framing::Length(length) => self.take(length).await,
            Framing::Chunked => self.chunks().await,
            Framing::Close => self.rest().await,
        };
        answer
    }

    /// The answer to a HEAD, or a 100.
    pub(crate) async fn answer_without_body(&mut self) -> Answer {
        self.head().await.0
    }

    /// The next bytes of a body, at least one; none at the end of the connection.
    pub(crate) async fn some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// Everything until the other side closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Everything until these bytes, or until the other side closes.
    pub(crate) async fn rest_or(&mut self, end: &[u8]) -> Vec<u8> {
        while !self.buffer.windows(end.len()).any(|window| window == end) && self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    async fn head(&mut self) -> (Answer, Framing) {
        let text = self.until(b"\r\n\r\n").await;
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let answer = Answer { status, fields: lines.map(field).collect(), body: Vec::new() };
        let framing = match (answer.field("transfer-encoding"), answer.field("content-length")) {
            (Some("chunked"), None) => Framing::Chunked,
            (None, Some(length)) => Framing::Length(length.parse().unwrap()),
            (None, None) if matches!(status, 100..200 | 204 | 304) => Framing::Length(0),
            (None, None) => Framing::Close,
            both => panic!("ambiguous framing: {both:?}"),
        };
        (answer, framing)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await).unwrap();
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            body.extend(self.take(length).await);
            assert_eq!(self.until(b"\r\n").await, b"\r\n");
            if length == 0 {
                return body;
            }
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill().await, "the body ends after {} of {length} bytes", self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.buffer.drain(..at + end.len()).collect();
            }
            assert!(self.fill().await, "the connection ends after {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Reads some; false at the end.
    async fn fill(&mut self) -> bool {
        let mut piece = vec![0; 64 << 10];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece)).await.unwrap().unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..read]);
        read > 0
    }
}

enum Framing {
    Length(usize),
    Chunked,
    Close,
}
