//! Slow clients that cost their machine next to nothing: they send and take a piece as rarely as those of slowhttptest, but that program looks at
//! each of its thousands of connections whenever one of them has something, in one system call that a kernel without preemption does not interrupt.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::time::{Instant, sleep_until, timeout};

use super::contenders::{LARGE, SMALL};
use crate::kept::socket_of;

/// From one piece of a connection to its next.
const PERIOD: Duration = Duration::from_secs(5);
/// What the socket of a slow reader takes: the kernel makes it as small as it can.
const WINDOW: u32 = 8;

#[derive(Clone, Copy)]
enum Kind {
    Head,
    Read,
}

/// Clients that connect anew whenever they are sent away, on a thread of their own. They end with this.
pub(super) struct Drip(Option<Runtime>);

impl Drip {
    /// So many of each kind.
    pub(super) fn begin(at: SocketAddr, each: u32) -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let begin = Instant::now();
        for n in 0..each {
            // Evenly, so that no two thousand have their piece at once.
            let first = begin + PERIOD * n / each;
            runtime.spawn(client(Kind::Read, at, first));
            runtime.spawn(client(Kind::Head, at, first));
        }
        Ok(Self(Some(runtime)))
    }
}

impl Drop for Drip {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Whoever drops this may not wait.
            runtime.shutdown_background();
        }
    }
}

async fn client(kind: Kind, at: SocketAddr, first: Instant) {
    let mut next = first;
    loop {
        sleep_until(next).await;
        // Whatever ends it, the next one begins with its next piece.
        connection(kind, at, &mut next).await.err();
        next += PERIOD;
    }
}

/// One piece a period, until it is sent away.
async fn connection(kind: Kind, at: SocketAddr, next: &mut Instant) -> Result<()> {
    let mut stream = open(kind, at).await?;
    let request = match kind {
        Kind::Head => format!("GET {SMALL} HTTP/1.1\r\nhost: gateway\r\n"),
        Kind::Read => format!("GET {LARGE} HTTP/1.1\r\nhost: gateway\r\n\r\n"),
    };
    stream.write_all(request.as_bytes()).await?;
    loop {
        *next += PERIOD;
        match kind {
            Kind::Head => {
                let answer = timeout(next.saturating_duration_since(Instant::now()), stream.read_u8()).await;
                ensure!(answer.is_err(), "sent away");
                stream.write_all(b"x-slow: a\r\n").await?;
            }
            Kind::Read => {
                sleep_until(*next).await;
                stream.read_u8().await?;
            }
        }
    }
}

/// From an address of each kind, by which a balancer may count its clients.
async fn open(kind: Kind, at: SocketAddr) -> Result<TcpStream> {
    let socket = match kind {
        Kind::Head => socket_of(Ipv4Addr::new(127, 0, 0, 3).into())?,
        Kind::Read => {
            let socket = socket_of(Ipv4Addr::new(127, 0, 0, 2).into())?;
            socket.set_recv_buffer_size(WINDOW)?;
            socket
        }
    };
    Ok(socket.connect(at).await?)
}
