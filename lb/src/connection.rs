//! One connection of a client, from its first byte to its last: secured if it has to be, then in the version of HTTP that the client speaks.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use protocol::problem::Kind;
use tokio::net::TcpStream;
use tokio_util::either::Either;

use crate::clients::Held;
use crate::event_loop::{Dealt, EventLoop};
use crate::fields::Origin;
use crate::socket::{Socket, Stream};
use crate::tls::HTTP2;
use crate::tunnel::Tunnel;
use crate::watch::{Entry, Watch};
use crate::{http1, http2};

/// Who is being served: a connection of HTTP/1.1, or one request of HTTP/2.
pub(crate) struct Client {
    pub(crate) event_loop: Rc<EventLoop>,
    pub(crate) watch: Rc<Watch>,
    pub(crate) address: IpAddr,
    pub(crate) origin: Origin,
    /// Why it is served no longer than for being told so.
    pub(crate) refused: Option<Kind>,
    /// Begins after the answer that is being written.
    pub(crate) tunnel: Cell<Option<Tunnel>>,
}

/// What lasts as long as the connection, and counts it.
struct Presence {
    event_loop: Rc<EventLoop>,
    _entry: Entry,
    _held: Held,
}

pub(crate) async fn serve(event_loop: Rc<EventLoop>, dealt: Dealt) {
    let Dealt { stream, peer, is_secured, refused, held } = dealt;
    let watch = Rc::new(Watch::new(Rc::clone(&event_loop.clock), &event_loop.shared.config, refused.is_some()));
    let _entry = event_loop.connections.enter(&watch);
    let _presence = Presence { event_loop: Rc::clone(&event_loop), _entry, _held: held };
    // Boxed, as is all that does not last: what a connection holds while it rests is multiplied by thousands.
    let opened = within(&watch, Box::pin(open(&event_loop, stream, is_secured, &watch))).await;
    let (socket, is_http2) = match opened {
        Some(Ok(opened)) => opened,
        // In most cases it went away, or does not speak TLS.
        Some(Err(error)) => return tracing::debug!(%error, "a connection did not begin"),
        None => return,
    };
    let client = Client::new(event_loop, watch, peer, is_secured, refused);
    match (is_http2, refused) {
        (false, _) => http1::serve(client, socket).await,
        (true, None) => Box::pin(http2::serve(client, socket)).await,
        (true, Some(_)) => {}
    }
}

/// Secures the connection, and finds out whether HTTP/2 is spoken on it.
async fn open(
    event_loop: &EventLoop,
    stream: std::net::TcpStream,
    is_secured: bool,
    watch: &Rc<Watch>,
) -> io::Result<(Socket, bool)> {
    let stream = TcpStream::from_std(stream)?;
    let tls = event_loop.shared.tls.as_ref().filter(|_| is_secured);
    let Some(tls) = tls else {
        let mut socket = Socket::new(Either::Left(stream), Rc::clone(watch));
        let is_http2 = socket.begins_http2().await?;
        return Ok((socket, is_http2));
    };
    let stream = tls.acceptor().accept(stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let stream: Stream = Either::Right(Box::new(stream));
    Ok((Socket::new(stream, Rc::clone(watch)), is_http2))
}

/// `None` if the connection's deadline comes first.
pub(crate) async fn within<T>(watch: &Watch, work: impl Future<Output = T>) -> Option<T> {
    unless(watch, || watch.is_overdue(), work).await
}

/// `None` if it is over first, which is looked at whenever the watch wakes.
pub(crate) async fn unless<T>(watch: &Watch, is_over: impl Fn() -> bool, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        watch.register(cx);
        if is_over() { Poll::Ready(None) } else { work.as_mut().poll(cx).map(Some) }
    })
    .await
}

impl Client {
    fn new(
        event_loop: Rc<EventLoop>,
        watch: Rc<Watch>,
        peer: SocketAddr,
        is_secured: bool,
        refused: Option<Kind>,
    ) -> Client {
        let origin = Origin::of(peer.ip(), if is_secured { "https" } else { "http" });
        Client { event_loop, watch, address: peer.ip(), origin, refused, tunnel: Cell::default() }
    }

    /// One of its requests, which has a deadline of its own.
    pub(crate) fn request(&self, watch: &Rc<Watch>) -> Client {
        Client {
            event_loop: Rc::clone(&self.event_loop),
            watch: Rc::clone(watch),
            address: self.address,
            origin: self.origin.clone(),
            refused: self.refused,
            tunnel: Cell::default(),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.event_loop.count(false);
    }
}
