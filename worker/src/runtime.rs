//! What all slots of a worker share.

use std::sync::Arc;
use std::time::Duration;

use chassis::broker::Broker;
use chassis::shutdown::Shutdown;

use crate::executor::HandlerPool;
use crate::guard::Guard;
use crate::registry::Registry;
use crate::session::Session;
use crate::store::Store;

#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    pub(crate) registry: Registry,
    /// For handlers written in Rust, if there are any.
    pub(crate) pool: Option<HandlerPool>,
    /// Ends the programs of `command` tasks if this process cannot.
    pub(crate) guard: Option<Arc<Guard>>,
    pub(crate) session: Arc<Session>,
    pub(crate) shutdown: Shutdown,
    pub(crate) hand_over: Duration,
    pub(crate) retention_ms: i64,
}
