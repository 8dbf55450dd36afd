//! A client's socket: it tells the connection's watch what comes in, and closes so that the last answer can be read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::framing::Framing;
use crate::watch::Watch;

/// What every connection of HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at a time to see which protocol it is.
const FIRST_BYTES: usize = 1_024;

/// What the parser gets instead of a line that no request has: an error wherever it comes, and the end of a head, for which it waits.
const REFUSAL: &[u8] = b"\r\0\r\n\r\n";

/// As it came, or secured. Boxed, as most are not.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What a client sends after its connection is closed is read in pieces of this size, and thrown away.
const DISCARD_BYTES: usize = 4_096;

pub(crate) struct Socket {
    stream: Stream,
    watch: Rc<Watch>,
    /// Read before it was known who would want it.
    ahead: Bytes,
    /// Of requests, from when they are what comes.
    framing: Option<Framing>,
    /// What is left of the refusal, behind which nothing is read any more.
    refusal: Option<&'static [u8]>,
    /// Set once the writing side is shut down: whether to read on until the client closes too.
    lingers: Option<bool>,
}

impl Socket {
    pub(crate) fn new(stream: Stream, watch: Rc<Watch>) -> Socket {
        Socket { stream, watch, ahead: Bytes::new(), framing: None, refusal: None, lingers: None }
    }

    /// Writes what fits at once; for the few words before a close.
    pub(crate) fn say(&mut self, text: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(&mut Context::from_waker(Waker::noop()), text)
    }

    /// Whether the client speaks HTTP/2 without having agreed on it, as its first bytes say.
    ///
    /// # Errors
    /// When the connection ends before that is known.
    pub(crate) async fn begins_http2(&mut self) -> io::Result<bool> {
        let mut first = BytesMut::new();
        while PREFACE.starts_with(&first) && first.len() < PREFACE.len() {
            self.read_into(&mut first).await?;
        }
        self.ahead = first.freeze();
        Ok(self.ahead.starts_with(PREFACE))
    }

    /// What comes is requests of HTTP/1.1.
    pub(crate) fn expect_requests(&mut self) {
        let mut framing = Framing::default();
        if let Err(passed) = framing.pass(&self.ahead) {
            self.ahead.truncate(passed);
            self.refusal = Some(REFUSAL);
        }
        self.framing = Some(framing);
    }

    /// What was read and is not wanted yet. Copied, as bytes that are none keep their buffer, too.
    pub(crate) fn put_back(&mut self, unread: &[u8]) {
        self.ahead = Bytes::copy_from_slice(unread);
    }

    /// Waits until the client says something more, without a buffer for it meanwhile.
    ///
    /// # Errors
    /// When the connection ends before.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        let mut next = BytesMut::new();
        self.read_into(&mut next).await?;
        self.ahead = next.freeze();
        Ok(())
    }

    async fn read_into(&mut self, bytes: &mut BytesMut) -> io::Result<()> {
        poll_fn(|cx| {
            let mut piece = [0; FIRST_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            bytes.extend_from_slice(piece.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let fitting = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(fitting));
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(left) = &mut self.refusal {
            return hand_over(left, buf);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        self.watch.received();
        let Some(Err(passed)) = self.framing.as_mut().map(|framing| framing.pass(&buf.filled()[before..])) else {
            return Poll::Ready(Ok(()));
        };
        buf.set_filled(before + passed);
        let left = self.refusal.insert(REFUSAL);
        if passed == 0 { hand_over(left, buf) } else { Poll::Ready(Ok(())) }
    }
}

/// What the client says behind it is not waited for; the deadline of what it began is.
fn hand_over(left: &mut &'static [u8], buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    if left.is_empty() {
        return Poll::Pending;
    }
    let (now, later) = left.split_at(left.len().min(buf.remaining()));
    buf.put_slice(now);
    *left = later;
    Poll::Ready(Ok(()))
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch.sent(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch.sent(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch.stuck(flushed.is_pending());
        flushed
    }

    /// Says that nothing more comes and, if the client may still be sending, reads that away, because closing on unread bytes resets
    /// the connection. The watch's deadline bounds it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lingers = match self.lingers {
            Some(lingers) => lingers,
            None => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                let lingers = self.watch.close();
                self.lingers = Some(lingers);
                lingers
            }
        };
        if !lingers {
            return Poll::Ready(Ok(()));
        }
        let mut discarded = [0; DISCARD_BYTES];
        // A client that never stops is stopped by yielding to the others between pieces; the deadline does the rest.
        let mut buf = ReadBuf::new(&mut discarded);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
