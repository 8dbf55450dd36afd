//! What a store hears of the commits of others.

use std::time::Duration;

use protocol::ids::{Position, SessionId};
use protocol::store_api::Command;
use store_svc::storage::Signals;
use store_svc::storage::postgres::{Postgres, Told};
use tokio::sync::mpsc;

use super::{own_cluster, try_apply, try_create};
use crate::conformance::heartbeat;
use crate::conformance::postgres::{cluster, fresh_url, open};

const SOON: Duration = Duration::from_secs(20);

/// The next thing told that is wanted.
async fn next<T>(told: &mut mpsc::Receiver<Told>, wanted: impl Fn(Told) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = wanted(told.recv().await.expect("it follows")) {
                return found;
            }
        }
    };
    tokio::time::timeout(SOON, found).await.expect("told in time")
}

/// Runs a store's blocking work beside the follower.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("done")
}

fn signals(told: Told) -> Option<Signals> {
    match told {
        Told::Committed(signals) => Some(*signals),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_others_are_told() {
    let url = fresh_url();
    let follower = {
        let url = url.clone();
        beside(move || open(&url).follower()).await
    };
    let (tell, mut told) = mpsc::channel(1_000);
    let following = follower.follow(move |what| drop(tell.try_send(what)));
    let test = async {
        next(&mut told, |told| matches!(told, Told::There).then_some(())).await;
        let session = SessionId::generate();
        let at = url.clone();
        let mut other = beside(move || open(&at)).await;
        let (mut other, created) = beside(move || {
            try_apply(&mut other, &[Command::Heartbeat(heartbeat(session, &["a"]))]).expect("registered");
            let created = try_create(&mut other).expect("created").0;
            (other, created)
        })
        .await;
        next(&mut told, |told| signals(told)?.live?.session(session).map(|_| ())).await;
        next(&mut told, |told| (signals(told)?.head == Position(1)).then_some(())).await;
        next(&mut told, |told| matches!(told, Told::OthersWrote).then_some(())).await;
        beside(move || try_apply(&mut other, &[Command::Cancel { job_id: created }]).map(drop))
            .await
            .expect("cancelled");
        next(&mut told, |told| (signals(told)?.head == Position(2)).then_some(())).await;
        // Somebody restores a backup, or begins a history otherwise.
        let name = url.to_string().rsplit('/').next().expect("a name").to_owned();
        beside(move || cluster().sql(&name, "UPDATE longshore.meta SET incarnation = gen_random_uuid()"))
            .await
            .expect("set");
    };
    let (_, ()) =
        tokio::time::timeout(SOON * 3, async { tokio::join!(following, test) }).await.expect("it was replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_is_told_and_what_was_missed_is_caught_up_with() {
    let (mut cluster, url, mut storage) = beside(|| {
        let cluster = own_cluster();
        let url = cluster.fresh_database().expect("a database").parse().expect("a URL");
        let storage = Postgres::open(&url).expect("it opens");
        (cluster, url, storage)
    })
    .await;
    let follower = storage.follower();
    let (tell, mut told) = mpsc::channel(1_000);
    let following = follower.follow(move |what| drop(tell.try_send(what)));
    let test = async {
        next(&mut told, |told| matches!(told, Told::There).then_some(())).await;
        let mut cluster = beside(move || {
            cluster.kill().expect("killed");
            cluster
        })
        .await;
        next(&mut told, |told| matches!(told, Told::Away(_)).then_some(())).await;
        let (cluster, head) = beside(move || {
            cluster.start_again().expect("started");
            drop(storage);
            storage = Postgres::open(&url).expect("it opens");
            (cluster, try_create(&mut storage).expect("created").1)
        })
        .await;
        next(&mut told, |told| (signals(told)?.head == head).then_some(())).await;
        cluster
    };
    tokio::select! {
        replaced = following => panic!("{replaced}"),
        cluster = test => beside(move || drop(cluster)).await,
    }
}
