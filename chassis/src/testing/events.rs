//! A client of server-sent events over one connection. It reads when asked to, so that a test decides how slow it is.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::client::Event;

/// One answer to `GET …` with `accept: text/event-stream`.
#[derive(Debug)]
pub struct EventSource {
    wire: BufReader<TcpStream>,
    /// What has come of the next events.
    text: String,
    ended: bool,
    pub status: u16,
    /// The head as it came, in lower case.
    pub head: String,
}

impl EventSource {
    /// Asks, and reads the head of the answer.
    ///
    /// # Errors
    /// Of the connection, or because the answer is not HTTP.
    pub async fn open(address: SocketAddr, path: &str, last_event_id: Option<&str>) -> io::Result<EventSource> {
        let mut wire = BufReader::new(TcpStream::connect(address).await?);
        let resumed = last_event_id.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n{resumed}\r\n");
        wire.write_all(request.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if wire.read_line(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(head.clone()))?;
        let ended = !head.contains("transfer-encoding: chunked");
        Ok(EventSource { wire, text: String::new(), ended, status, head })
    }

    /// The next event; `None` when the answer is over. Comments are passed over. Waits for as long as it takes.
    ///
    /// # Errors
    /// When the connection ends within the answer.
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        while let Some(block) = self.block().await? {
            if let Some(event) = Event::parse(&block) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether what comes next is a comment.
    ///
    /// # Errors
    /// When the connection ends within the answer.
    pub async fn next_is_comment(&mut self) -> io::Result<bool> {
        Ok(self.block().await?.is_some_and(|block| Event::parse(&block).is_none()))
    }

    /// What stands before the next empty line.
    async fn block(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Ok(Some(block));
            }
            if self.ended {
                return Ok(None);
            }
            self.read_chunk().await?;
        }
    }

    async fn read_chunk(&mut self) -> io::Result<()> {
        let mut size = String::new();
        if self.wire.read_line(&mut size).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim_end(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        self.wire.read_exact(&mut chunk).await?;
        self.ended = size == 0;
        chunk.truncate(size);
        self.text += std::str::from_utf8(&chunk).map_err(io::Error::other)?;
        Ok(())
    }
}
