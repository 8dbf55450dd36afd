//! One connection of a client, from its first byte to its last.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::event_loop::{Dealt, EventLoop};
use crate::fields::Origin;
use crate::forward;
use crate::socket::Socket;
use crate::tunnel::Tunnel;
use crate::watch::{Phase, Watch};

/// What a client is told whose head does not come; there is no request to answer properly.
const HEAD_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Who is being served.
pub(crate) struct Client {
    pub(crate) event_loop: Rc<EventLoop>,
    pub(crate) watch: Rc<Watch>,
    pub(crate) origin: Origin,
    pub(crate) is_refused: bool,
    /// Begins after the answer that is being written.
    pub(crate) tunnel: Cell<Option<Tunnel>>,
}

/// How a connection ended.
enum End {
    Closed(hyper::Result<()>),
    Overdue(Phase),
}

/// Counts the connection for as long as it lives.
struct Counted(Rc<EventLoop>);

pub(crate) async fn serve(event_loop: Rc<EventLoop>, dealt: Dealt) {
    let _counted = Counted(Rc::clone(&event_loop));
    let stream = match TcpStream::from_std(dealt.stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection cannot be served"),
    };
    let watch = Rc::new(Watch::new(Rc::clone(&event_loop.clock), &event_loop.shared.config, dealt.is_refused));
    let _entry = event_loop.connections.enter(&watch);
    let client = Rc::new(Client {
        event_loop: Rc::clone(&event_loop),
        watch: Rc::clone(&watch),
        origin: Origin::of(dealt.peer.ip()),
        is_refused: dealt.is_refused,
        tunnel: Cell::default(),
    });
    let asking = Rc::clone(&client);
    let service = service_fn(move |request| {
        let answer = forward::answer(Rc::clone(&asking), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let socket = TokioIo::new(Socket::new(stream, Rc::clone(&watch)));
    let mut connection = event_loop.http.serve_connection(socket, service);
    let mut is_told = false;
    let end = poll_fn(|cx| {
        watch.register(cx);
        if event_loop.is_draining() && !is_told {
            is_told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        // While a request is being answered, its deadline is its own matter.
        if watch.phase() != Phase::Busy && watch.is_overdue() {
            return Poll::Ready(End::Overdue(watch.phase()));
        }
        Pin::new(&mut connection).poll(cx).map(End::Closed)
    })
    .await;
    match end {
        // The client's doing in most cases: it went away, or sent no HTTP.
        End::Closed(Err(error)) => tracing::debug!(%error, "connection ended"),
        End::Overdue(Phase::Head) => turn_away(connection.into_parts().io.into_inner(), &watch).await,
        End::Closed(Ok(())) => {
            if let Some(tunnel) = client.tunnel.take() {
                let http1::Parts { io, read_buf, .. } = connection.into_parts();
                tunnel.run(io.into_inner(), read_buf, &watch).await;
            }
        }
        End::Overdue(_) => {}
    }
}

/// Says that the head took too long.
async fn turn_away(mut socket: Socket, watch: &Watch) {
    // The watch's deadline has passed; closing sets the next one.
    let said = socket.say(HEAD_TIMEOUT);
    tracing::debug!(?said, "a head took too long");
    let mut closing = std::pin::pin!(socket.shutdown());
    poll_fn(|cx| {
        watch.register(cx);
        let closed = closing.as_mut().poll(cx).is_ready();
        if closed || (watch.phase() == Phase::Closing && watch.is_overdue()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count(false);
    }
}
