//! Tells those who wait here what other stores have committed.

use std::sync::Arc;

use chassis::health::Health;
use tokio::sync::{mpsc, oneshot};

use crate::hub::Hub;
use crate::storage::postgres::{Follower, Replaced, Told};
use crate::writer::Writer;

/// Follows until the database is replaced.
pub(crate) async fn follow(
    follower: Follower,
    hub: Arc<Hub>,
    writer: Writer,
    health: Health,
    replaced: oneshot::Sender<Replaced>,
) {
    // One place: a look that is wanted already is not wanted twice.
    let (wanted, mut wants) = mpsc::channel(1);
    let told = follower.follow(|told| match told {
        Told::There => health.found("database"),
        Told::Away(reason) => health.lost("database", reason),
        Told::Committed(signals) => hub.publish(*signals),
        Told::OthersWrote => drop(wanted.try_send(())),
    });
    let nudging = async {
        while wants.recv().await.is_some() {
            // Their rows may be ready while their link to the broker is down.
            writer.nudge().await;
        }
    };
    tokio::select! {
        reason = told => drop(replaced.send(reason)),
        () = nudging => {}
    }
}
