//! The broker as a part that a program's health names.

use super::{Broker, Link};
use crate::health::Health;
use crate::shutdown::Shutdown;

/// Says in `health` whether the publishing link is up, until the shutdown drains.
pub async fn watch_health(broker: Broker, health: Health, shutdown: Shutdown) {
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
