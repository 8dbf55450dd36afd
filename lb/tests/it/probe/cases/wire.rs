//! The client's side of a case: bytes out, and what came back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Case, Verdict};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sent behind each case on the same connection: an answer says that the connection goes on, and where the case's last request ended.
const AFTER: &str = "GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
pub(crate) const AFTER_LINE: &str = "GET /after";

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// Of the final answers, until the other side closed.
    pub(crate) statuses: Vec<u16>,
    /// Their heads, in lower case.
    pub(crate) heads: Vec<String>,
    /// Answers before the final ones.
    pub(crate) interim: usize,
    /// What is no whole answer.
    pub(crate) rest: Vec<u8>,
}

struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    is_over: bool,
    talk: Talk,
    /// The first answer is to a HEAD.
    is_head: bool,
}

/// The address a case is sent from, so that backends can tell which one a request is of. All of 127.0.0.0/8 is this machine.
pub(crate) fn source(number: usize) -> Ipv4Addr {
    let place = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(127, 1, place[0], place[1])
}

/// Sends a case from an address of its own, and listens until the other side closes.
pub(crate) async fn talk(balancer: SocketAddr, source: Ipv4Addr, case: &Case) -> io::Result<Talk> {
    tokio::time::timeout(PATIENCE, Wire::talk(balancer, source, case))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "neither an answer nor an end"))?
}

impl Wire {
    async fn talk(balancer: SocketAddr, source: Ipv4Addr, case: &Case) -> io::Result<Talk> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        let stream = socket.connect(balancer).await?;
        stream.set_nodelay(true)?;
        let is_head = case.writes.first().is_some_and(|write| write.starts_with(b"HEAD "));
        let mut wire = Wire { stream, received: Vec::new(), is_over: false, talk: Talk::default(), is_head };
        for (number, write) in case.writes.iter().enumerate() {
            wire.send(write).await;
            if !matches!(case.verdict, Verdict::Awaited) {
                wire.answered(number + 1).await;
            }
        }
        if matches!(case.verdict, Verdict::Awaited) {
            // Nothing more comes; otherwise both sides would wait.
            wire.stream.shutdown().await.ok();
        } else {
            wire.send(AFTER.as_bytes()).await;
        }
        while !wire.is_over {
            wire.fill().await;
        }
        while wire.next(true) {}
        wire.talk.rest = wire.received;
        Ok(wire.talk)
    }

    /// The other side may have had enough: what it said about that is still to be read.
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    async fn answered(&mut self, count: usize) {
        loop {
            while self.next(self.is_over) {}
            if self.talk.statuses.len() >= count || self.is_over {
                return;
            }
            self.fill().await;
        }
    }

    async fn fill(&mut self) {
        let read = self.stream.read_buf(&mut self.received).await.unwrap_or(0);
        self.is_over |= read == 0;
    }

    /// Takes one answer from what was received, if it is there as a whole.
    fn next(&mut self, is_end: bool) -> bool {
        let Some(end) = position(&self.received, b"\r\n\r\n") else { return false };
        let head = String::from_utf8_lossy(&self.received[..end + 4]).to_ascii_lowercase();
        let Some(status) = status(&head) else { return false };
        let is_interim = (100..200).contains(&status) && status != 101;
        let is_bodiless =
            is_interim || matches!(status, 101 | 204 | 304) || (self.is_head && self.talk.statuses.is_empty());
        let body = &self.received[end + 4..];
        let length = if is_bodiless { Some(0) } else { body_length(&head, body, is_end) };
        let Some(length) = length.filter(|length| *length <= body.len()) else { return false };
        self.received.drain(..end + 4 + length);
        if is_interim {
            self.talk.interim += 1;
        } else {
            self.talk.statuses.push(status);
            self.talk.heads.push(head);
        }
        true
    }
}

fn status(head: &str) -> Option<u16> {
    head.strip_prefix("http/1.1 ").or(head.strip_prefix("http/1.0 "))?.get(..3)?.parse().ok()
}

/// Where an answer's body ends, if that is known by now.
fn body_length(head: &str, body: &[u8], is_end: bool) -> Option<usize> {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (field("transfer-encoding:"), field("content-length:")) {
        (Some(_), _) => unchunked(body).map(|(_, length)| length),
        (None, Some(length)) => length.parse().ok(),
        (None, None) => is_end.then_some(body.len()),
    }
}

/// The content of a chunked body and where it ends; nothing if it has no end or is not well-formed.
pub(crate) fn unchunked(mut body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, before) = (Vec::new(), body.len());
    loop {
        let end = position(body, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?, 16).ok()?;
        let chunk = body.get(end + 2..end + 2 + size)?;
        content.extend_from_slice(chunk);
        body = body[end + 2 + size..].strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((content, before - body.len()));
        }
    }
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
