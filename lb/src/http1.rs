//! A connection of HTTP/1.1: one request after the other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use crate::connection::{Client, within};
use crate::forward;
use crate::socket::Socket;
use crate::watch::{Phase, Watch};

/// What a client is told whose head does not come; there is no request to answer properly.
const HEAD_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How a connection ended.
enum End {
    Closed(hyper::Result<()>),
    Overdue(Phase),
}

pub(crate) async fn serve(client: Client, socket: Socket) {
    let client = Rc::new(client);
    let (watch, event_loop) = (Rc::clone(&client.watch), Rc::clone(&client.event_loop));
    let asking = Rc::clone(&client);
    let service = service_fn(move |request| {
        let answer = forward::answer(Rc::clone(&asking), request);
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
    let said = socket.say(HEAD_TIMEOUT);
    tracing::debug!(?said, "a head took too long");
    watch.answering();
    // Closing sets the next deadline.
    drop(within(watch, socket.shutdown()).await);
}
