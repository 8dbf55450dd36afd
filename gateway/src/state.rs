//! What every handler has at hand.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use chassis::shutdown::Shutdown;
use http::request::Parts as Head;
use protocol::key::QueueName;
use tokio::sync::Semaphore;

use crate::access::{Access, Caller};
use crate::console::overview::Overview;
use crate::data::Data;
use crate::jobs::bells::Bells;
use crate::jobs::events::Streams;
use crate::jobs::waiters::Waiters;
use crate::store::{Store, Stores};

/// One gateway. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Edge(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) stores: Stores,
    pub(crate) bells: Bells,
    pub(crate) data: Data,
    pub(crate) access: Access,
    pub(crate) waiters: Waiters,
    pub(crate) streams: Streams,
    pub(crate) overview: Overview,
    /// Places of workers that wait for jobs.
    pub(crate) pulls: Semaphore,
    /// The queues that jobs may name.
    pub(crate) queues: Vec<QueueName>,
    pub(crate) shutdown: Shutdown,
}

impl Edge {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn access(&self) -> Access {
        self.0.access.clone()
    }
}

/// The gateway as one caller sees it: what it asks of the store, it asks for the caller's tenant. Nothing else reaches the store for a client.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    edge: Edge,
    pub(crate) store: Store,
    pub(crate) caller: Caller,
}

impl Gateway {
    fn of(edge: &Edge, caller: Caller) -> Self {
        Self { edge: edge.clone(), store: edge.0.stores.of(&caller), caller }
    }

    /// The same for another caller.
    pub(crate) fn as_seen_by(&self, caller: Caller) -> Self {
        Self::of(&self.edge, caller)
    }
}

impl Deref for Gateway {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.edge.0
    }
}

impl FromRequestParts<Edge> for Gateway {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Head, edge: &Edge) -> Result<Self, Infallible> {
        let known = head.extensions.get::<Caller>().cloned();
        Ok(Self::of(edge, known.unwrap_or_else(|| edge.0.access.unasked())))
    }
}
