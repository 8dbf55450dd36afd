//! Many who want the same: after an invalidation (R9), and when the one whose request began the load leaves, or the load hangs (R10).

use std::net::SocketAddr;

use chassis::testing::wait_until;
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::SOON;
use crate::system::{LONG_LEASE_MS, System};

const GATEWAYS: usize = 3;
const READERS: usize = 60;

/// A hot key is invalidated, and all its readers at all gateways miss at once.
#[tokio::test]
async fn r09_herd_after_an_invalidation_costs_the_store_one_load() {
    let system = System::with(GATEWAYS, LONG_LEASE_MS).await;
    system.change("a", 1);
    for gateway in 0..GATEWAYS {
        system.near(gateway, "a").await;
    }
    for value in 2..5 {
        system.put("a", value).await;
        let (reads, loads) = (system.cache.asked("/read/a"), system.store.asked("/data/a"));
        let held = system.store.hold_answers("/data/a");
        let readers = join_all((0..READERS).map(|reader| system.data(reader % GATEWAYS, "a")));
        let release = async {
            let asked = async || system.cache.asked("/read/a") == reads + GATEWAYS;
            wait_until(SOON, "each gateway asks the shared cache", asked).await;
            held.caught(1).await;
            held.release();
        };
        let (values, ()) = tokio::join!(readers, release);
        assert!(values.iter().all(|read| *read == json!(value)), "{values:?}");
        assert_eq!(system.store.asked("/data/a"), loads + 1);
        assert_eq!(system.cache.asked("/read/a"), reads + GATEWAYS, "and the shared cache one read of each gateway");
    }
}

/// The client whose request began the load leaves while it is under way; some wait for it by then, others come later.
#[tokio::test]
async fn r10_others_are_answered_when_the_leader_of_a_load_leaves() {
    let system = System::start().await;
    system.change("a", 1);
    let held = system.cache.hold_answers("/read/a");
    let leader = asks(system.gateway_address(0), "/data/a").await;
    held.caught(1).await;
    let leaving = async {
        answered(&system).await;
        drop(leader);
        answered(&system).await;
        let release = async {
            answered(&system).await;
            held.release();
        };
        tokio::join!(join_all((0..5).map(|_| system.data(0, "a"))), release).0
    };
    let (before, after) = tokio::join!(join_all((0..5).map(|_| system.data(0, "a"))), leaving);
    assert_eq!((before, after), (vec![json!(1); 5], vec![json!(1); 5]));
    assert_eq!(system.cache.asked("/read/a"), 1, "nobody had to begin again");
}

/// The same in the shared cache: a gateway gives its read up.
#[tokio::test]
async fn r10_others_are_answered_when_the_leader_of_a_shared_load_leaves() {
    let system = System::start().await;
    system.change("a", 1);
    let held = system.store.hold_answers("/data/a");
    let leader = asks(system.sequencer_address(), "/read/a").await;
    held.caught(1).await;
    drop(leader);
    let release = async {
        system.shared("my_data").await;
        held.release();
    };
    let (after, ()) = tokio::join!(join_all((0..5).map(|_| system.shared("a"))), release);
    assert!(after.iter().all(|(value, _)| *value == json!(1)), "{after:?}");
    assert_eq!(system.store.asked("/data/a"), 1);
}

/// A client that has asked, and whose connection ends when it is dropped.
async fn asks(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// The gateway answers something else: what was sent before has reached it.
async fn answered(system: &System) {
    system.near(0, "my_data").await;
}

/// The store does not answer a load at all: all who wait for it are told in time, and the next one begins anew.
#[tokio::test]
async fn r10_load_that_hangs_is_given_up_and_poisons_nothing() {
    let system = System::start().await;
    system.change("a", 1);
    let held = system.store.hold_questions("/data/a");
    let answers = join_all((0..3).map(|_| system.get(0, "a"))).await;
    assert!(answers.iter().all(|told| told.status == 503), "{answers:?}");
    held.release();
    assert_eq!(system.data(0, "a").await, json!(1));
}
