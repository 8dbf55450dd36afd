//! A request body within its limit.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// Of a body that is too large, this much is read and thrown away before the answer: most clients read no answer before they
/// have sent everything, and closing on unread bytes would reset the connection and lose the 413.
const DISCARD_BYTES_MAX: u64 = 16 << 20;

/// The body is larger than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is larger than the limit")]
pub(super) struct TooLarge;

/// Yields at most `limit` bytes; a longer body ends in [`TooLarge`].
pub(super) struct Bounded {
    inner: Incoming,
    left: u64,
    // Bytes thrown away, once the body is known to be too large.
    discarded: Option<u64>,
}

impl Bounded {
    pub(super) fn new(inner: Incoming, limit: u64) -> Bounded {
        // A stated length needs no counting.
        let discarded = (inner.size_hint().lower() > limit).then_some(0);
        Bounded { inner, left: limit, discarded }
    }
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None if this.discarded.is_some() => return Poll::Ready(Some(Err(TooLarge.into()))),
                None => return Poll::Ready(None),
            };
            let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            match (&mut this.discarded, this.left.checked_sub(bytes)) {
                (None, Some(left)) => {
                    this.left = left;
                    return Poll::Ready(Some(Ok(frame)));
                }
                (None, None) => this.discarded = Some(bytes),
                (Some(discarded), _) => {
                    *discarded += bytes;
                    if *discarded > DISCARD_BYTES_MAX {
                        return Poll::Ready(Some(Err(TooLarge.into())));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.discarded.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.discarded.is_none() { self.inner.size_hint() } else { SizeHint::default() }
    }
}
