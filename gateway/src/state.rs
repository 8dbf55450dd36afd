//! What every handler has at hand.

use std::ops::Deref;
use std::sync::Arc;

use chassis::shutdown::Shutdown;
use protocol::key::QueueName;
use tokio::sync::Semaphore;

use crate::console::overview::Overview;
use crate::data::Data;
use crate::jobs::bells::Bells;
use crate::jobs::events::Streams;
use crate::jobs::waiters::Waiters;
use crate::store::Store;

/// One gateway. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Gateway(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) bells: Bells,
    pub(crate) data: Data,
    pub(crate) waiters: Waiters,
    pub(crate) streams: Streams,
    pub(crate) overview: Overview,
    /// Places of workers that wait for jobs.
    pub(crate) pulls: Semaphore,
    /// The queues that jobs may name.
    pub(crate) queues: Vec<QueueName>,
    pub(crate) shutdown: Shutdown,
}

impl Gateway {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Gateway {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
