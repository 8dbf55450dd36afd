//! A connection of HTTP/1.1: one request after the other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use crate::connection::{Client, unless, within};
use crate::forward;
use crate::socket::Socket;
use crate::watch::{Phase, Watch};

/// What a client is told whose head does not come; there is no request to answer properly.
const HEAD_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How a stretch of requests ended.
enum End {
    Closed(hyper::Result<()>),
    Overdue(Phase),
    /// Nothing has come for a while, and nothing is left to be sent.
    Rests,
}

pub(crate) async fn serve(client: Client, mut socket: Socket) {
    let client = Rc::new(client);
    let watch = Rc::clone(&client.watch);
    socket.expect_requests();
    loop {
        let (end, unread);
        // Boxed, so that what only requests need takes no place while there are none.
        (end, socket, unread) = Box::pin(serve_stretch(&client, socket)).await;
        match end {
            // The client's doing in most cases: it went away, or sent no HTTP.
            End::Closed(Err(error)) => return tracing::debug!(%error, "connection ended"),
            End::Closed(Ok(())) => {
                if let Some(tunnel) = client.tunnel.take() {
                    Box::pin(tunnel.run(socket, unread, &watch)).await;
                }
                return;
            }
            End::Overdue(Phase::Head) => return Box::pin(turn_away(socket, &watch)).await,
            End::Overdue(_) => return,
            End::Rests => {
                watch.rest_no_further();
                socket.put_back(&unread);
                drop(unread);
                // A client that says nothing more, or goes away, is not spoken to.
                if !until_more(&client, &mut socket).await {
                    return;
                }
            }
        }
    }
}

/// Serves requests until the connection ends, or the client lets it rest: ten thousand that rest should not hold ten thousand buffers.
async fn serve_stretch(client: &Rc<Client>, socket: Socket) -> (End, Socket, Bytes) {
    let (watch, event_loop) = (&client.watch, &client.event_loop);
    let service = service_fn(|request| {
        let answer = forward::answer(Rc::clone(client), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = event_loop.http.serve_connection(TokioIo::new(socket), service);
    let mut is_told = false;
    let end = poll_fn(|cx| {
        watch.register(cx);
        if event_loop.is_draining() && !is_told {
            is_told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        // While a request waits for its answer, its deadline is its own matter.
        if watch.phase() != Phase::Busy && watch.is_overdue() {
            return Poll::Ready(End::Overdue(watch.phase()));
        }
        match Pin::new(&mut connection).poll(cx) {
            Poll::Pending if watch.may_rest() && !is_told => Poll::Ready(End::Rests),
            polled => polled.map(End::Closed),
        }
    })
    .await;
    let http1::Parts { io, read_buf, .. } = connection.into_parts();
    (end, io.into_inner(), read_buf)
}

/// Whether the client says something more before its time is over, or ours.
async fn until_more(client: &Client, socket: &mut Socket) -> bool {
    let is_over = || client.watch.is_overdue() || client.event_loop.is_draining();
    unless(&client.watch, is_over, socket.wait()).await.is_some_and(|said| said.is_ok())
}

/// Says that the head took too long.
async fn turn_away(mut socket: Socket, watch: &Watch) {
    let said = socket.say(HEAD_TIMEOUT);
    tracing::debug!(?said, "a head took too long");
    // The head's deadline has passed; this one bounds what a client that reads nothing can delay.
    watch.close();
    drop(within(watch, socket.shutdown()).await);
}
