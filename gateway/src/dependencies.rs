//! Watches what the gateway depends on, so that `/ready` and metrics say what is missing. It serves what it can without it.

use std::time::Duration;

use chassis::broker::{Broker, Link};
use chassis::client::{Call, StoreClient};
use chassis::health::Health;
use chassis::shutdown::Shutdown;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks the store every second whether it lives.
pub(crate) async fn watch_store(store: StoreClient, health: Health, shutdown: Shutdown) {
    let call = Call::get("/live").within(LOOK_EVERY);
    let watch = async {
        loop {
            match store.peer().call(&call).await {
                Ok(_) => health.found("store"),
                Err(error) => health.lost("store", error.to_string()),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = watch => {}
        () = shutdown.draining() => {}
    }
}

/// Follows the state of the publishing link.
pub(crate) async fn watch_broker(broker: Broker, health: Health, shutdown: Shutdown) {
    let mut link = broker.link();
    let watch = async {
        loop {
            match &*link.borrow_and_update() {
                Link::Up => health.found("broker"),
                Link::Blocked => health.lost("broker", "it has an alarm and takes no messages"),
                Link::Down { reason } => health.lost("broker", reason.clone()),
            }
            if link.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = shutdown.draining() => {}
    }
}
