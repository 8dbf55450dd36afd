//! A TCP proxy between two programs that can hold back either direction, delay, reset and refuse connections; before a broker it knows the
//! frames of AMQP. The kernels of small machines often lack netem, and packet filters need root; this needs neither.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::amqp_frames::{Frame, Frames, Method};
use crate::ports::free_address;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// Each chunk arrives this much later; the rate sinks with it.
    Delayed(Duration),
    /// One chunk in so many, counted over all connections, arrives this much later, as if it had been lost and sent again: what comes
    /// after it on its connection waits, other connections overtake it.
    Lossy {
        one_in: u64,
        late_by: Duration,
    },
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

/// What becomes of the frames that carry one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRule {
    pub direction: Direction,
    pub method: Method,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives. Only for methods without content, whose next frame would make no sense otherwise.
    Swallowed,
    /// The first half of it arrives, then the connection is reset.
    CutInside,
}

/// What the proxy forwards as one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Anything,
    Amqp,
}

#[derive(Clone, Copy, Debug)]
struct Conditions {
    accepting: bool,
    to_server: Flow,
    to_client: Flow,
    /// Connections made under a smaller number are reset.
    cuts: u64,
    rule: Option<FrameRule>,
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

    /// Before a RabbitMQ node: it forwards frame by frame, so that frame rules can be given.
    pub async fn start_before_broker(upstream: SocketAddr) -> Result<Self> {
        Self::listen(free_address()?, upstream, Speaks::Amqp).await
    }

    /// At an address that the caller knows to be free.
    pub async fn start_at(address: SocketAddr, upstream: SocketAddr) -> Result<Self> {
        Self::listen(address, upstream, Speaks::Anything).await
    }

    async fn listen(address: SocketAddr, upstream: SocketAddr, speaks: Speaks) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (conditions, receiver) = watch::channel(Conditions::open(0));
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept_all(listener, address, upstream, speaks, receiver));
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

    /// Until it heals, every frame of this method meets this fate. Only before a broker.
    pub fn set_rule(&self, rule: FrameRule) {
        self.conditions.send_modify(|conditions| conditions.rule = Some(rule));
    }

    /// Nothing arrives on either side, and nobody is told.
    pub fn partition(&self) {
        self.set_flow(Direction::ToServer, Flow::Held);
        self.set_flow(Direction::ToClient, Flow::Held);
    }

    /// Ends every hindrance; what was held back arrives now.
    pub fn heal(&self) {
        self.conditions.send_modify(|conditions| *conditions = Conditions::open(conditions.cuts));
    }
}

impl Conditions {
    fn open(cuts: u64) -> Self {
        Self { accepting: true, to_server: Flow::Open, to_client: Flow::Open, cuts, rule: None }
    }

    fn flow(&self, direction: Direction) -> Flow {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }

    fn fate(&self, direction: Direction, frame: &Frame) -> Option<Fate> {
        let meant = |rule: &FrameRule| rule.direction == direction && frame.method == Some(rule.method);
        self.rule.filter(meant).map(|rule| rule.fate)
    }
}

async fn accept_all(
    first: TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    speaks: Speaks,
    mut conditions: watch::Receiver<Conditions>,
) {
    let mut connections = JoinSet::new();
    let chunks = Arc::new(AtomicU64::new(0));
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
                    connections.spawn(forward(client, upstream, speaks, Arc::clone(&chunks), conditions.clone()));
                }
            }
            _ = conditions.changed() => {}
            Some(_) = connections.join_next() => {}
        }
        listener = Some(open);
    }
}

async fn forward(
    mut client: TcpStream,
    upstream: SocketAddr,
    speaks: Speaks,
    chunks: Arc<AtomicU64>,
    mut conditions: watch::Receiver<Conditions>,
) {
    let born_under = conditions.borrow().cuts;
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        reset(&client);
        return;
    };
    let was_cut = {
        let (mut client_read, mut client_write) = client.split();
        let (mut server_read, mut server_write) = server.split();
        let pumps = [Direction::ToServer, Direction::ToClient].map(|direction| Pump {
            direction,
            speaks,
            conditions: conditions.clone(),
            frames: Frames::default(),
            chunks: Arc::clone(&chunks),
        });
        let [to_server, to_client] = pumps;
        let to_server = to_server.run(&mut client_read, &mut server_write);
        let to_client = to_client.run(&mut server_read, &mut client_write);
        tokio::select! {
            ended = async { tokio::try_join!(to_server, to_client) } => ended.is_err(),
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

/// One direction of one connection.
struct Pump {
    direction: Direction,
    speaks: Speaks,
    conditions: watch::Receiver<Conditions>,
    frames: Frames,
    /// Of all connections.
    chunks: Arc<AtomicU64>,
}

impl Pump {
    async fn run(
        mut self,
        from: &mut (impl AsyncReadExt + Unpin),
        to: &mut (impl AsyncWriteExt + Unpin),
    ) -> Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from.read(&mut buffer).await?;
            // Not for no time at all: the shortest sleep takes a millisecond.
            if let Some(delay) = self.delay() {
                tokio::time::sleep(delay).await;
            }
            // What was read before the flow was held waits here with the rest.
            let released = self.conditions.wait_for(|now| now.flow(self.direction) != Flow::Held).await.is_ok();
            ensure!(released, "the proxy was dropped");
            if count == 0 {
                to.write_all(&self.frames.rest()).await?;
                to.shutdown().await?;
                return Ok(());
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            match self.speaks {
                Speaks::Anything => to.write_all(bytes).await?,
                Speaks::Amqp => self.forward_frames(bytes, to).await?,
            }
        }
    }

    /// By how much this chunk is late.
    fn delay(&self) -> Option<Duration> {
        match self.conditions.borrow().flow(self.direction) {
            Flow::Delayed(delay) => Some(delay),
            Flow::Lossy { one_in, late_by } => {
                self.chunks.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_in).then_some(late_by)
            }
            Flow::Open | Flow::Held => None,
        }
    }

    async fn forward_frames(&mut self, bytes: &[u8], to: &mut (impl AsyncWriteExt + Unpin)) -> Result<()> {
        for frame in self.frames.push(bytes) {
            let fate = self.conditions.borrow().fate(self.direction, &frame);
            match fate {
                None => to.write_all(&frame.bytes).await?,
                Some(Fate::Swallowed) => {}
                Some(Fate::CutInside) => {
                    to.write_all(frame.bytes.get(..frame.bytes.len() / 2).unwrap_or_default()).await?;
                    bail!("cut inside a frame");
                }
            }
        }
        Ok(())
    }
}
