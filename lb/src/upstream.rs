//! One connection to a backend. Whoever uses it also drives it, in the same task: no hand-over between tasks, and dropping a request drops
//! its connection.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::event_loop::BUFFER_BYTES;
use crate::retry::Failure;
use crate::tunnel::Switched;
use crate::upload::Upload;

/// Boxed, as it is large and moved with every request.
type Driver = Box<http1::Connection<TokioIo<Line>, Upload>>;

type Answer = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

pub(crate) struct Upstream {
    sender: http1::SendRequest<Upload>,
    /// None once it has ended: what it had taken over comes back to the sender only when it is dropped.
    driver: Option<Driver>,
    /// The next answer may be that another protocol is spoken from now on.
    may_switch: bool,
    /// The driver of a connection on which it is.
    switched: Option<Driver>,
    /// A byte has come since the last request was sent.
    is_heard: Rc<Cell<bool>>,
    /// It has answered a request before.
    pub(crate) is_kept: bool,
    /// When it was put back, on its loop's clock.
    pub(crate) idle_since_ms: u64,
}

/// A backend's socket. When the backend takes no more of a request, that is not the end: its answer may already be here (413), and is
/// read before anything is called a failure.
struct Line {
    stream: TcpStream,
    /// Writing has failed.
    is_deaf: bool,
    is_heard: Rc<Cell<bool>>,
}

/// An attempt without an answer, and the request if none of it was sent.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) failure: Failure,
    pub(crate) request: Option<Request<Upload>>,
}

impl Upstream {
    /// # Errors
    /// When there is no connection within `limit`.
    pub(crate) async fn connect(address: SocketAddr, limit: Duration) -> io::Result<Upstream> {
        let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await??;
        // Requests are written whole; waiting for more to send only delays them.
        stream.set_nodelay(true)?;
        let is_heard = Rc::new(Cell::new(false));
        let line = TokioIo::new(Line { stream, is_deaf: false, is_heard: Rc::clone(&is_heard) });
        // The head of an answer may be as large as that; more is no answer.
        let handshake = http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(line);
        let (sender, driver) = handshake.await.map_err(io::Error::other)?;
        Ok(Upstream {
            sender,
            driver: Some(Box::new(driver)),
            may_switch: false,
            switched: None,
            is_heard,
            is_kept: false,
            idle_since_ms: 0,
        })
    }

    /// Moves bytes both ways as far as they go.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        // Its errors also reach whoever waits for the answer or its body.
        if self.driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
            self.switched = self.driver.take().filter(|_| self.may_switch);
        }
    }

    /// The connection itself, after an answer that said so.
    pub(crate) fn into_switched(mut self) -> Option<Switched> {
        self.drive(&mut Context::from_waker(Waker::noop()));
        let http1::Parts { io, read_buf, .. } = self.switched?.into_parts();
        Some(Switched { stream: io.into_inner().stream, early: read_buf })
    }

    /// Whether the next request can be sent on it, as far as is known without waiting.
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer, or for `expired` to name a failure. Cancel-safe in the sense that the
    /// connection is useless afterwards.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Upload>,
        body: &Upload,
        expired: impl Fn() -> Option<Failure>,
    ) -> Result<Response<Incoming>, Lost> {
        self.is_heard.set(false);
        self.may_switch = request.headers().contains_key(UPGRADE);
        let mut answer = pin!(self.sender.try_send_request(request));
        let answered: Result<Answer, Failure> = poll_fn(|cx| {
            self.drive(cx);
            let mut polled = answer.as_mut().poll(cx);
            if polled.is_pending() && self.switched.take().is_some() {
                // It ended without an answer; what it had taken over comes back now.
                polled = answer.as_mut().poll(cx);
            }
            match polled {
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                Poll::Pending => expired().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure))),
            }
        })
        .await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(mut error)) => {
                let request = error.take_message();
                let failure = match &request {
                    Some(_) => Failure::Stale,
                    None if body.is_broken() => Failure::Abandoned,
                    None => self.failure_of(error.error()),
                };
                tracing::debug!(error = %error.error(), failure = failure.name(), "no answer");
                Err(Lost { failure, request })
            }
            Err(failure) => Err(Lost { failure, request: None }),
        }
    }

    fn failure_of(&self, error: &hyper::Error) -> Failure {
        if self.is_heard.get() || error.is_parse() {
            Failure::Garbled
        } else {
            Failure::Unanswered { kept: self.is_kept }
        }
    }
}

impl Line {
    /// Passes a write's result on, unless it failed: then nothing is written any more, and reading decides.
    fn after_write(&mut self, written: Poll<io::Result<usize>>, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = &written {
            tracing::debug!(%error, "a backend takes no more");
            self.is_deaf = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        written
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.is_heard.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.after_write(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.after_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Whatever may come next on a connection: if it is closed, the request on it fails and does not wait.
    #[tokio::test]
    async fn closed_connection_fails_a_request_that_asks_for_an_upgrade() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut upstream = Upstream::connect(listener.local_addr().unwrap(), SOON).await.unwrap();
        drop(listener.accept().await.unwrap());
        let mut request = Request::new(Upload::None);
        request.headers_mut().insert(UPGRADE, http::HeaderValue::from_static("websocket"));
        let exchange = upstream.exchange(request, &Upload::None, || None);
        let lost = tokio::time::timeout(SOON, exchange).await.unwrap().unwrap_err();
        assert!(matches!(lost.failure, Failure::Stale | Failure::Unanswered { .. }), "{lost:?}");
    }
}
