//! Watches what the gateway depends on, so that `/ready` and metrics say what is missing. It serves what it can without it.

use std::time::Duration;

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
