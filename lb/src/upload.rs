//! A request's body on its way to a backend: streamed, never collected; only what may have to be sent again is remembered.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::core::pace::Pace;
use crate::watch::Watch;

/// The body of a request to a backend. Clones are handles on the same body.
#[derive(Debug, Clone)]
pub(crate) enum Upload {
    None,
    Streamed(Rc<Source>),
}

#[derive(Debug)]
pub(crate) struct Source {
    client: RefCell<Incoming>,
    size: SizeHint,
    watch: Rc<Watch>,
    memory: RefCell<Memory>,
    pace: RefCell<Pace>,
    /// Something was taken from the client.
    is_begun: Cell<bool>,
    is_finished: Cell<bool>,
    /// The client has nothing to send right now.
    is_starved: Cell<bool>,
    is_broken: Cell<bool>,
}

/// The frames sent so far, as long as they fit.
#[derive(Debug)]
struct Memory {
    frames: Vec<Bytes>,
    bytes_left: usize,
    /// They did not fit, or nobody asked to remember.
    is_lost: bool,
    /// The next frame to send again.
    next: usize,
}

impl Upload {
    /// `remember_bytes` is how much of it may have to be sent again.
    pub(crate) fn new(body: Incoming, watch: &Rc<Watch>, remember_bytes: usize) -> Upload {
        if body.is_end_stream() {
            return Upload::None;
        }
        let memory = Memory { frames: Vec::new(), bytes_left: remember_bytes, is_lost: remember_bytes == 0, next: 0 };
        Upload::Streamed(Rc::new(Source {
            size: body.size_hint(),
            client: RefCell::new(body),
            watch: Rc::clone(watch),
            memory: RefCell::new(memory),
            pace: RefCell::default(),
            is_begun: Cell::new(false),
            is_finished: Cell::new(false),
            is_starved: Cell::new(false),
            is_broken: Cell::new(false),
        }))
    }

    /// Begins an attempt, from the first byte if [`Upload::is_whole`].
    pub(crate) fn rewind(&self) {
        if let Upload::Streamed(source) = self {
            source.memory.borrow_mut().next = 0;
        }
    }

    /// Whether it can still be sent from its first byte.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Upload::None => true,
            Upload::Streamed(source) => !source.is_begun.get() || !source.memory.borrow().is_lost,
        }
    }

    /// Whether the client has sent all of it.
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            Upload::None => true,
            Upload::Streamed(source) => source.is_finished.get(),
        }
    }

    /// Whether it is the client that is waited for.
    pub(crate) fn is_starved(&self) -> bool {
        matches!(self, Upload::Streamed(source) if source.is_starved.get())
    }

    /// Whether the client failed to send it.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Upload::Streamed(source) if source.is_broken.get())
    }
}

impl Source {
    fn poll_client(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut client = self.client.borrow_mut();
        let polled = Pin::new(&mut *client).poll_frame(cx);
        self.is_starved.set(polled.is_pending());
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.is_begun.set(true);
                self.memory.borrow_mut().remember(frame);
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.watch.came(&mut self.pace.borrow_mut(), bytes);
                self.is_finished.set(client.is_end_stream());
                self.watch.expect_answer();
            }
            Poll::Ready(Some(Err(_))) => self.is_broken.set(true),
            Poll::Ready(None) => {
                self.is_finished.set(true);
                self.watch.expect_answer();
            }
            Poll::Pending => self.watch.expect_body(&mut self.pace.borrow_mut()),
        }
        polled
    }
}

impl Memory {
    fn remember(&mut self, frame: &Frame<Bytes>) {
        if self.is_lost {
            return;
        }
        match frame.data_ref() {
            Some(data) if data.len() <= self.bytes_left => {
                self.bytes_left -= data.len();
                self.frames.push(data.clone());
                self.next = self.frames.len();
            }
            // Too much, or trailers, which are too rare to care.
            _ => {
                self.is_lost = true;
                self.frames.clear();
                self.next = 0;
            }
        }
    }

    fn again(&mut self) -> Option<Bytes> {
        let frame = self.frames.get(self.next).cloned();
        self.next += usize::from(frame.is_some());
        frame
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Upload::Streamed(source) = &*self else { return Poll::Ready(None) };
        let again = source.memory.borrow_mut().again();
        match again {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if source.is_finished.get() => Poll::Ready(None),
            None => source.poll_client(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Upload::None => true,
            Upload::Streamed(source) => {
                let memory = source.memory.borrow();
                source.is_finished.get() && memory.next >= memory.frames.len()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::None => SizeHint::with_exact(0),
            Upload::Streamed(source) => source.size,
        }
    }
}
