//! A TCP proxy between two programs that can hold back either direction, delay, reset and refuse connections. The kernels of small
//! machines often lack netem, and packet filters need root; this needs neither.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ports::free_address;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// Each chunk arrives this much later; the rate sinks with it.
    Delayed(Duration),
    /// A black hole that heals as TCP heals: nothing arrives until the flow is open again, then everything does, unless the connection is
    /// cut before.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the program that connected.
    ToServer,
    ToClient,
}

#[derive(Clone, Copy, Debug)]
struct Conditions {
    accepting: bool,
    to_server: Flow,
    to_client: Flow,
    /// Connections made under a smaller number are reset.
    cuts: u64,
}

/// Forwards from its own address to `upstream` until it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    conditions: watch::Sender<Conditions>,
    /// Aborted when dropped.
    _acceptor: JoinSet<()>,
}

impl TcpProxy {
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        Self::start_at(free_address()?, upstream).await
    }

    /// At an address that the caller knows to be free.
    pub async fn start_at(address: SocketAddr, upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (conditions, receiver) =
            watch::channel(Conditions { accepting: true, to_server: Flow::Open, to_client: Flow::Open, cuts: 0 });
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept_all(listener, address, upstream, receiver));
        Ok(Self { address, conditions, _acceptor: acceptor })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection that stands; new ones are served.
    pub fn cut(&self) {
        self.conditions.send_modify(|conditions| conditions.cuts += 1);
    }

    /// Answers new connections with "connection refused"; those that stand go on.
    pub fn refuse(&self) {
        self.conditions.send_modify(|conditions| conditions.accepting = false);
    }

    pub fn set_flow(&self, direction: Direction, flow: Flow) {
        self.conditions.send_modify(|conditions| match direction {
            Direction::ToServer => conditions.to_server = flow,
            Direction::ToClient => conditions.to_client = flow,
        });
    }

    /// Nothing arrives on either side, and nobody is told.
    pub fn partition(&self) {
        self.set_flow(Direction::ToServer, Flow::Held);
        self.set_flow(Direction::ToClient, Flow::Held);
    }

    /// Ends every hindrance; what was held back arrives now.
    pub fn heal(&self) {
        self.conditions.send_modify(|conditions| {
            *conditions =
                Conditions { accepting: true, to_server: Flow::Open, to_client: Flow::Open, cuts: conditions.cuts };
        });
    }
}

async fn accept_all(
    first: TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    mut conditions: watch::Receiver<Conditions>,
) {
    let mut connections = JoinSet::new();
    let mut listener = Some(first);
    loop {
        if !conditions.borrow_and_update().accepting {
            listener = None;
            if conditions.wait_for(|now| now.accepting).await.is_err() {
                return;
            }
        }
        let open = match listener.take() {
            Some(open) => open,
            // The port is ours and below the range for outgoing connections: only a moment can stand between us and it.
            None => match TcpListener::bind(address).await {
                Ok(open) => open,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(forward(client, upstream, conditions.clone()));
                }
            }
            _ = conditions.changed() => {}
            Some(_) = connections.join_next() => {}
        }
        listener = Some(open);
    }
}

async fn forward(mut client: TcpStream, upstream: SocketAddr, mut conditions: watch::Receiver<Conditions>) {
    let born_under = conditions.borrow().cuts;
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        reset(&client);
        return;
    };
    let was_cut = {
        let (mut client_read, mut client_write) = client.split();
        let (mut server_read, mut server_write) = server.split();
        let to_server = pump(&mut client_read, &mut server_write, conditions.clone(), |now| now.to_server);
        let to_client = pump(&mut server_read, &mut client_write, conditions.clone(), |now| now.to_client);
        tokio::select! {
            (sent, received) = async { tokio::join!(to_server, to_client) } => sent.is_err() || received.is_err(),
            _ = conditions.wait_for(|now| now.cuts > born_under) => true,
        }
    };
    if was_cut {
        reset(&client);
        reset(&server);
    }
}

/// With a zero linger the close that follows sends RST.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut conditions: watch::Receiver<Conditions>,
    flow: impl Fn(&Conditions) -> Flow,
) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if let Flow::Delayed(delay) = { flow(&conditions.borrow()) } {
            tokio::time::sleep(delay).await;
        }
        // What was read before the flow was held waits here with the rest.
        let released = conditions.wait_for(|now| flow(now) != Flow::Held).await.is_ok();
        ensure!(released, "the proxy was dropped");
        if count == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}
