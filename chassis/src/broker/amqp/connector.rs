//! Makes connections: a probe, then deadpool-lapin as the factory. A connection is held by one owner for a whole session and never goes
//! back to the pool, because the pool cannot tell a half-dead one from a good one.

use std::time::Duration;

use deadpool_lapin::{Hook, HookError, Manager, Object, Pool, Runtime};
use lapin::ConnectionProperties;
use lapin::uri::AMQPUri;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::failure::Failure;
use super::probe::{Place, probe};
use crate::broker::ConnectOptions;

/// One session, and the former one while it closes.
const CONNECTIONS_MAX: usize = 2;
const WAIT: Duration = Duration::from_secs(3);
const CREATE: Duration = Duration::from_secs(5);
const RECYCLE: Duration = Duration::from_secs(1);
const CLOSE: Duration = Duration::from_secs(1);
/// lapin keeps two buffers of 32 frames for each connection: 8 MiB with RabbitMQ's own 128 KiB, 1 MiB with this. RabbitMQ 4.1 accepts
/// no less than 8 KiB.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

#[derive(Debug)]
pub(super) struct Connector {
    place: Place,
    pool: Pool,
}

impl Connector {
    /// `side` is what the connection is for; with the program and the process it is the name that the management UI shows.
    pub(super) fn new(uri: &AMQPUri, options: &ConnectOptions, side: &str, runtime: Handle) -> Self {
        let mut uri = uri.clone();
        let heartbeat = u16::try_from(options.heartbeat.as_secs().max(1)).unwrap_or(u16::MAX);
        uri.query.heartbeat.get_or_insert(heartbeat);
        uri.query.frame_max.get_or_insert(FRAME_BYTES_MAX);
        let name = format!("{} {side}", options.who());
        let product = format!("Longshore {}", options.program.as_str());
        let properties = move || {
            ConnectionProperties::default()
                .with_connection_name(name.clone().into())
                .with_client_property("product".into(), product.clone().into())
                .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
        };
        let manager = Manager::new(uri.to_string(), properties, async_rs::Runtime::tokio_with_handle(runtime));
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CREATE))
            .recycle_timeout(Some(RECYCLE))
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::sync_fn(|connection: &mut lapin::Connection, _| {
                if connection.status().blocked() { Err(HookError::message("blocked")) } else { Ok(()) }
            }))
            .build()
            .expect("a pool with timeouts only fails without a runtime, and it has one");
        Self { place: Place::of(&uri), pool }
    }

    pub(super) async fn connect(&self) -> Result<Object, Failure> {
        let unreachable = |source| Failure::Unreachable { address: self.place.to_string(), source };
        probe(&self.place).await.map_err(unreachable)?;
        self.pool.get().await.map_err(|error| Failure::Connect(error.to_string()))
    }
}

/// Ends a connection for good, with a word to the broker where that is possible.
pub(super) async fn close(connection: &lapin::Connection) {
    // A connection that does not close is dropped, which ends its socket.
    drop(timeout(CLOSE, connection.close(200, "goodbye".into())).await);
}
