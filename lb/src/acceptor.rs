//! Accepts connections, within a bound, and deals each to the least busy event loop.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chassis::program::affordable_connections;
use futures_util::FutureExt;
use protocol::problem::Kind;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::clients::Clients;
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
    clients: Arc<Clients>,
    turn: Cell<usize>,
    connections_max: usize,
}

impl Acceptor {
    pub(crate) fn new(shared: Arc<Shared>, loops: Vec<mpsc::Sender<Dealt>>) -> Acceptor {
        let connections_max = affordable_connections(shared.config.client_connections_max);
        Acceptor { shared, loops, clients: Arc::default(), turn: Cell::new(0), connections_max }
    }

    /// Accepts until the drain's notice is over, and then what has already connected. `secured` is where clients speak TLS.
    ///
    /// # Errors
    /// When a listener cannot be waited for.
    pub(crate) async fn run(
        self,
        plain: std::net::TcpListener,
        secured: Option<std::net::TcpListener>,
    ) -> io::Result<()> {
        let plain = TcpListener::from_std(plain)?;
        let secured = secured.map(TcpListener::from_std).transpose()?;
        let shutdown = self.shared.shutdown.clone();
        let notice = Duration::from_millis(self.shared.config.drain_notice_ms);
        let stopped = async {
            shutdown.draining().await;
            tokio::select! {
                () = tokio::time::sleep(notice) => {}
                () = shutdown.ended() => {}
            }
        };
        let secured_too = async {
            match &secured {
                Some(listener) => self.accept(listener, true).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.accept(&plain, false) => {}
            () = secured_too => {}
            () = stopped => {}
        }
        // Closing a listener resets those that wait to be accepted.
        for (listener, is_secured) in std::iter::once((&plain, false)).chain(secured.iter().map(|it| (it, true))) {
            while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
                self.deal(stream, peer, is_secured);
            }
        }
        Ok(())
    }

    async fn accept(&self, listener: &TcpListener, is_secured: bool) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.deal(stream, peer, is_secured),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn deal(&self, stream: TcpStream, peer: SocketAddr, is_secured: bool) {
        let counts = &self.shared.counts;
        let loads: Vec<usize> = counts.connections.iter().map(|count| count.load(Relaxed)).collect();
        let open: usize = loads.iter().sum();
        let (held, holds) = self.clients.hold(peer.ip());
        let holds_max = self.shared.config.client_connections_per_address_max;
        let refused = match () {
            () if open >= self.connections_max => Some(Kind::TooManyConnections),
            () if holds > holds_max => Some(Kind::RateLimited),
            () => None,
        };
        if refused.is_some() {
            counts.connections_refused.fetch_add(1, Relaxed);
            // Many at once, and those that would have to be secured first, are told nothing.
            let are_many = open >= self.connections_max + REFUSED_AT_ONCE || holds > holds_max + REFUSED_AT_ONCE;
            if are_many || is_secured {
                return;
            }
        }
        // It leaves this thread's runtime for the one of its loop.
        let stream = match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "a connection was gone before it was served"),
        };
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let Some(place) = pick::event_loop(turn, &loads) else { return };
        // Counted here, so that the next deal sees it; the connection counts itself out.
        counts.connections[place].fetch_add(1, Relaxed);
        if let Err(error) = self.loops[place].try_send(Dealt { stream, peer, is_secured, refused, held }) {
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
