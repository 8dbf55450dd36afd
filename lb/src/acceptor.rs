//! Accepts connections, within a bound, and deals each to the least busy event loop.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chassis::program::affordable_connections;
use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::core::pick;
use crate::event_loop::Dealt;
use crate::shared::Shared;

/// Connections over the bound that are being told so; yet more are closed without a word.
const REFUSED_AT_ONCE: usize = 128;

/// A failed accept (out of file descriptors) is retried after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Acceptor {
    shared: Arc<Shared>,
    loops: Vec<mpsc::Sender<Dealt>>,
    turn: usize,
    connections_max: usize,
}

impl Acceptor {
    pub(crate) fn new(shared: Arc<Shared>, loops: Vec<mpsc::Sender<Dealt>>) -> Acceptor {
        let connections_max = affordable_connections(shared.config.client_connections_max);
        Acceptor { shared, loops, turn: 0, connections_max }
    }

    /// Accepts until the drain's notice is over, and then what has already connected.
    ///
    /// # Errors
    /// When the listener cannot be waited for.
    pub(crate) async fn run(mut self, listener: std::net::TcpListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let shutdown = self.shared.shutdown.clone();
        let notice = Duration::from_millis(self.shared.config.drain_notice_ms);
        let stopped = async {
            shutdown.draining().await;
            tokio::select! {
                () = tokio::time::sleep(notice) => {}
                () = shutdown.ended() => {}
            }
        };
        tokio::select! {
            () = self.accept(&listener) => {}
            () = stopped => {}
        }
        // Closing the listener resets those that wait to be accepted.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.deal(stream, peer);
        }
        Ok(())
    }

    async fn accept(&mut self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.deal(stream, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn deal(&mut self, stream: TcpStream, peer: SocketAddr) {
        let counts = &self.shared.counts;
        let loads: Vec<usize> = counts.connections.iter().map(|count| count.load(Relaxed)).collect();
        let open: usize = loads.iter().sum();
        let is_refused = open >= self.connections_max;
        if is_refused {
            counts.connections_refused.fetch_add(1, Relaxed);
            if open >= self.connections_max + REFUSED_AT_ONCE {
                return;
            }
        }
        // It leaves this thread's runtime for the one of its loop.
        let stream = match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "a connection was gone before it was served"),
        };
        self.turn = self.turn.wrapping_add(1);
        let Some(place) = pick::event_loop(self.turn, &loads) else { return };
        // Counted here, so that the next deal sees it; the connection counts itself out.
        counts.connections[place].fetch_add(1, Relaxed);
        if let Err(error) = self.loops[place].try_send(Dealt { stream, peer, is_refused }) {
            counts.connections[place].fetch_sub(1, Relaxed);
            counts.connections_refused.fetch_add(1, Relaxed);
            tracing::warn!(%error, event_loop = place, "a loop takes no more connections");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
