//! What all threads of one balancer share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use chassis::health::Health;
use chassis::shutdown::Shutdown;
use http::StatusCode;
use tokio::time::Instant;

use crate::backend::Membership;
use crate::config::Config;
use crate::core::budget::Budget;
use crate::rate_limit::RateLimit;
use crate::room::Room;
use crate::tls::{Certificate, Tls};

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) health: Health,
    pub(crate) shutdown: Shutdown,
    /// Replaced as a whole by the control thread.
    pub(crate) membership: ArcSwap<Membership>,
    /// Of repeats.
    pub(crate) budget: Budget,
    pub(crate) room: Arc<Room>,
    /// None: nobody speaks TLS.
    pub(crate) tls: Option<Tls>,
    /// None: everybody may ask as often as it likes.
    pub(crate) rate_limit: Option<RateLimit>,
    /// What all times count from.
    pub(crate) started: Instant,
    /// The turn of the next request.
    cursor: AtomicUsize,
    pub(crate) counts: Counts,
}

/// What is counted of the balancer itself.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections of clients, by loop.
    pub(crate) connections: Vec<AtomicUsize>,
    pub(crate) connections_refused: AtomicU64,
    /// Requests over the rate limit.
    pub(crate) rate_limited: AtomicU64,
    /// Answers by the first digit of their status; 0 for requests whose client left before.
    pub(crate) answers: [AtomicU64; 6],
}

impl Shared {
    pub(crate) fn new(config: Config, certificate: Option<Certificate>, shutdown: Shutdown, loops: usize) -> Shared {
        let connections = (0..loops).map(|_| AtomicUsize::new(0)).collect();
        Shared {
            rate_limit: RateLimit::new(&config),
            tls: certificate.map(Tls::new),
            config,
            health: Health::new("lb"),
            shutdown,
            membership: ArcSwap::default(),
            budget: Budget::default(),
            room: Arc::default(),
            started: Instant::now(),
            cursor: AtomicUsize::new(0),
            counts: Counts { connections, ..Counts::default() },
        }
    }

    /// Whether a backend that works on so many requests may have one more.
    pub(crate) fn has_room(&self, working: u64) -> bool {
        self.config.backend_in_flight_max == 0 || working < self.config.backend_in_flight_max
    }

    pub(crate) fn next_turn(&self) -> usize {
        self.cursor.fetch_add(1, Relaxed)
    }
}

impl Counts {
    /// Connections of clients.
    pub(crate) fn open(&self) -> usize {
        self.connections.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub(crate) fn answered(&self, status: Option<StatusCode>) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        if let Some(count) = self.answers.get(class) {
            count.fetch_add(1, Relaxed);
        }
    }
}
