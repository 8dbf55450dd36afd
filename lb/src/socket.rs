//! A client's socket: it tells the connection's watch what comes in, and closes so that the last answer can be read.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::watch::Watch;

/// What a client sends after its connection is closed is read in pieces of this size, and thrown away.
const DISCARD_BYTES: usize = 4_096;

pub(crate) struct Socket {
    stream: TcpStream,
    watch: Rc<Watch>,
    /// Set once the writing side is shut down: whether to read on until the client closes too.
    lingers: Option<bool>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, watch: Rc<Watch>) -> Socket {
        Socket { stream, watch, lingers: None }
    }

    /// Writes what fits at once; for the few words before a close.
    pub(crate) fn say(&self, text: &[u8]) -> io::Result<usize> {
        self.stream.try_write(text)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.watch.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.watch.sent();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
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
