//! One connection to a backend. Whoever uses it also drives it, in the same task: no hand-over between tasks, and dropping a request drops
//! its connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::retry::Failure;
use crate::upload::Upload;

/// The head of an answer may be as large as this; more is no answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

type Answer = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

pub(crate) struct Upstream {
    sender: http1::SendRequest<Upload>,
    /// Large, and moved with every request.
    driver: Box<http1::Connection<TokioIo<TcpStream>, Upload>>,
    is_ended: bool,
    /// It has answered a request before.
    pub(crate) is_kept: bool,
    /// When it was put back, on its loop's clock.
    pub(crate) idle_since_ms: u64,
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
        let handshake = http1::Builder::new().max_header_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(io::Error::other)?;
        Ok(Upstream { sender, driver: Box::new(driver), is_ended: false, is_kept: false, idle_since_ms: 0 })
    }

    /// Moves bytes both ways as far as they go.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.is_ended {
            // Its errors also reach whoever waits for the answer or its body.
            self.is_ended = Pin::new(&mut *self.driver).poll(cx).is_ready();
        }
    }

    /// Whether the next request can be sent on it, as far as is known without waiting.
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.is_ended && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer, or for `expired` to name a failure. Cancel-safe in the sense that the
    /// connection is useless afterwards.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Upload>,
        body: &Upload,
        expired: impl Fn() -> Option<Failure>,
    ) -> Result<Response<Incoming>, Lost> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let answered: Result<Answer, Failure> = poll_fn(|cx| {
            if !self.is_ended {
                self.is_ended = Pin::new(&mut *self.driver).poll(cx).is_ready();
            }
            match answer.as_mut().poll(cx) {
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
        if error.is_parse() || error.is_parse_too_large() {
            Failure::Garbled
        } else {
            Failure::Unanswered { kept: self.is_kept }
        }
    }
}
