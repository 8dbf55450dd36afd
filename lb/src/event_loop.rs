//! One event loop: a thread with a runtime of its own that serves the connections dealt to it. Nothing on it is shared with other loops but
//! what `Shared` holds, so nothing on it needs a lock.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use protocol::problem::Kind;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::clients::Held;
use crate::connection;
use crate::pool::Pools;
use crate::shared::Shared;
use crate::watch::{Clock, Registry};

/// How often deadlines are looked at, so how late they may be noticed.
const TICK: Duration = Duration::from_millis(100);

/// So many connections are looked at in one go: each costs a miss of the cache, and whoever asks for something meanwhile waits.
const LOOK: usize = 256;

/// Kept connections are looked through every so many ticks.
const SWEEP_TICKS: u64 = 10;

/// Requests' heads may be as large as this (more are answered 431).
pub(crate) const HEAD_BYTES_MAX: u16 = 16 << 10;

/// What is read or written at a time at most, so what a connection may hold of a body. Many programs write 64 KiB at a time: those and the head before
/// them are one call of the kernel each way, not two.
pub(crate) const BUFFER_BYTES: usize = 80 << 10;

/// A connection on its way from the acceptor to its loop.
#[derive(Debug)]
pub(crate) struct Dealt {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// The client speaks TLS on it.
    pub(crate) is_secured: bool,
    /// Over a bound: to be told so and closed.
    pub(crate) refused: Option<Kind>,
    pub(crate) held: Held,
}

/// What the connections of one loop share.
pub(crate) struct EventLoop {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: usize,
    pub(crate) clock: Rc<Clock>,
    pub(crate) connections: Rc<Registry>,
    pub(crate) http: http1::Builder,
    pub(crate) access_log: AccessLog,
    pools: RefCell<Rc<Pools>>,
    is_draining: Cell<bool>,
}

/// Serves what is dealt until the dealing and all connections have ended, or the shutdown has.
///
/// # Errors
/// When the thread gets no runtime.
pub(crate) fn run(shared: Arc<Shared>, number: usize, dealt: mpsc::Receiver<Dealt>) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(serve(Rc::new(EventLoop::new(shared, number)), dealt));
    Ok(())
}

async fn serve(event_loop: Rc<EventLoop>, mut dealt: mpsc::Receiver<Dealt>) {
    let connections = TaskTracker::new();
    let shutdown = event_loop.shared.shutdown.clone();
    let accept = async {
        while let Some(dealt) = dealt.recv().await {
            connections.spawn_local(connection::serve(Rc::clone(&event_loop), dealt));
        }
        event_loop.drain();
        connections.close();
        connections.wait().await;
    };
    tokio::select! {
        () = accept => {}
        () = event_loop.tick() => {}
        () = shutdown.ended() => {
            if !connections.is_empty() {
                tracing::warn!(event_loop = event_loop.number, connections = connections.len(), "cut at the deadline");
            }
        }
    }
}

impl EventLoop {
    fn new(shared: Arc<Shared>, number: usize) -> EventLoop {
        let mut http = http1::Builder::new();
        // Deadlines are the watch's; the number of fields is hyper's own bound of 100.
        http.header_read_timeout(None).max_header_size(HEAD_BYTES_MAX.into()).max_buf_size(BUFFER_BYTES);
        let pools =
            Pools::of(shared.membership.load_full(), shared.config.backend_idle_max, shared.config.backend_idle_ms);
        let access_log = AccessLog::new(shared.config.access_log);
        EventLoop {
            shared,
            number,
            clock: Rc::default(),
            connections: Rc::default(),
            http,
            access_log,
            pools: RefCell::new(Rc::new(pools)),
            is_draining: Cell::new(false),
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// The pools of the present membership.
    pub(crate) fn pools(&self) -> Rc<Pools> {
        let membership = self.shared.membership.load();
        let mut pools = self.pools.borrow_mut();
        if !pools.is_of(&membership) {
            let config = &self.shared.config;
            let next = pools.changed_to(Arc::clone(&membership), config.backend_idle_max, config.backend_idle_ms);
            *pools = Rc::new(next);
        }
        Rc::clone(&pools)
    }

    /// Another connection; false says that one has ended.
    pub(crate) fn count(&self, opened: bool) {
        let Some(count) = self.shared.counts.connections.get(self.number) else { return };
        if opened {
            count.fetch_add(1, Relaxed)
        } else {
            count.fetch_sub(1, Relaxed)
        };
    }

    fn drain(&self) {
        self.is_draining.set(true);
        self.connections.wake_all();
    }

    /// Moves the loop's clock, and wakes who is overdue. Never ends.
    async fn tick(&self) {
        let start = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0.. {
            ticks.tick().await;
            self.clock.set(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
            self.access_log.flush();
            let mut looked_at = 0;
            while self.connections.wake_overdue(looked_at, LOOK) {
                looked_at += LOOK;
                tokio::task::yield_now().await;
            }
            if number % SWEEP_TICKS == 0 {
                self.pools().sweep(self.clock.now_ms());
            }
        }
    }
}
