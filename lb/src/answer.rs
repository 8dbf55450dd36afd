//! An answer's body on its way to the client: our own words, or a backend's stream, passed on frame by frame as the client takes it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use protocol::problem::{self, Problem};

use crate::pool::InFlight;
use crate::record::Record;
use crate::upload::Upload;
use crate::upstream::Upstream;
use crate::watch::{Clock, Watch};

/// Ends the request when it is dropped.
pub(crate) struct AnswerBody {
    content: Content,
    /// That of a tunnel goes with it.
    record: Option<Record>,
    watch: Rc<Watch>,
    /// What the client still had to send when the answer began.
    upload: Upload,
}

enum Content {
    Whole(Bytes),
    Streamed(Download),
    /// The backend's body broke off; what came before it is being written.
    Cut(hyper::Error),
    Over,
}

/// A backend's body and the connection that it comes on.
pub(crate) struct Download {
    pub(crate) incoming: Incoming,
    pub(crate) upstream: Upstream,
    pub(crate) in_flight: InFlight,
    pub(crate) clock: Rc<Clock>,
}

impl AnswerBody {
    pub(crate) fn whole(content: Bytes, record: Record, watch: &Rc<Watch>, upload: Upload) -> AnswerBody {
        let content = if content.is_empty() { Content::Over } else { Content::Whole(content) };
        AnswerBody { content, record: Some(record), watch: Rc::clone(watch), upload }
    }

    pub(crate) fn streamed(download: Download, record: Record, watch: &Rc<Watch>, upload: Upload) -> AnswerBody {
        AnswerBody { content: Content::Streamed(download), record: Some(record), watch: Rc::clone(watch), upload }
    }

    /// Of an answer after which a tunnel begins.
    pub(crate) fn none(watch: &Rc<Watch>) -> AnswerBody {
        AnswerBody { content: Content::Over, record: None, watch: Rc::clone(watch), upload: Upload::None }
    }

    /// As the answer to a HEAD has it.
    pub(crate) fn without_content(mut self) -> AnswerBody {
        if matches!(self.content, Content::Whole(_)) {
            self.content = Content::Over;
        }
        self
    }

    fn passed(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.passed(bytes as u64);
        }
    }
}

/// A problem as an answer; `closes` says that the connection cannot be used further.
pub(crate) fn problem(problem: &Problem, closes: bool) -> Response<Bytes> {
    // A problem always serializes; an empty body would still have its status.
    let mut answer = Response::new(Bytes::from(serde_json::to_vec(problem).unwrap_or_default()));
    *answer.status_mut() = http::StatusCode::from_u16(problem.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    if let Some(seconds) = problem.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if closes {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

impl Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Asking tells the driver that there is room; only then does it read.
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if polled.is_ready() {
            return polled;
        }
        self.upstream.drive(cx);
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    /// The answer has been read to its end: its connection can serve the next request.
    fn give_back(self) {
        self.in_flight.pool().put(self.upstream, self.clock.now_ms());
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Content::Streamed(download) = &mut this.content else {
            return Poll::Ready(match std::mem::replace(&mut this.content, Content::Over) {
                Content::Whole(bytes) => {
                    this.passed(bytes.len());
                    Some(Ok(Frame::data(bytes)))
                }
                Content::Cut(error) => Some(Err(error)),
                Content::Streamed(_) | Content::Over => None,
            });
        };
        // Being asked for more says that there is room for it.
        this.watch.taken();
        match ready!(download.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.watch.given(bytes);
                this.passed(bytes);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                // An error ends the client's connection at once. Waiting for one turn lets it have what came before.
                if let Some(record) = &mut this.record {
                    record.cut();
                }
                this.content = Content::Cut(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                if let Content::Streamed(download) = std::mem::replace(&mut this.content, Content::Over) {
                    download.give_back();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Streamed(download) => download.incoming.is_end_stream(),
            Content::Whole(_) | Content::Cut(_) => false,
            Content::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Streamed(download) => download.incoming.size_hint(),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Cut(_) => SizeHint::default(),
            Content::Over => SizeHint::with_exact(0),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let is_whole = match std::mem::replace(&mut self.content, Content::Over) {
            // Of those with a length, nobody asks for more than that.
            Content::Streamed(download) if download.incoming.is_end_stream() => {
                download.give_back();
                true
            }
            Content::Streamed(_) | Content::Cut(_) => false,
            Content::Whole(_) | Content::Over => true,
        };
        if let Some(record) = self.record.as_mut().filter(|_| is_whole) {
            record.ended();
        }
        self.watch.end(!self.upload.is_finished());
    }
}
