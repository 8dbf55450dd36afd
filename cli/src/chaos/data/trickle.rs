//! A few writers, each with a key of its own, and a reader at each place.

use std::time::Duration;

use futures_util::future::{join, join_all};
use protocol::envelope::Covered;
use tokio::time::sleep;

use super::Write;
use super::keys::Keys;
use crate::chaos::history::Fate;
use crate::chaos::traffic::Client;

const WRITERS: usize = 3;
const WRITE_EVERY: Duration = Duration::from_millis(250);
const READ_EVERY: Duration = Duration::from_millis(60);
/// Every so many writes are followed by a plain invalidation.
const INVALIDATES_EVERY: u64 = 5;

pub(in crate::chaos) fn keys() -> Keys {
    Keys::new("chaos", WRITERS)
}

/// For ever: writers at the first of the places, a reader at each.
pub(in crate::chaos) async fn work(places: &[&Client<'_>], keys: &Keys) {
    let writers = places.iter().take(1).flat_map(|client| (0..WRITERS).map(|writer| write(client, keys, writer)));
    let readers = places.iter().map(|client| read(client, keys));
    join(join_all(writers), join_all(readers)).await;
}

async fn write(client: &Client<'_>, keys: &Keys, writer: usize) {
    for turn in 1_u64.. {
        let key = keys.get(writer);
        let written = client.write(&Write::put(key.clone())).await;
        if written.fate == Fate::Unknown {
            keys.give_up(&key);
        } else if turn.is_multiple_of(INVALIDATES_EVERY) {
            // Changes nothing: what was acknowledged must still be read.
            client.void(Covered::key(key)).await;
        }
        sleep(WRITE_EVERY).await;
    }
}

async fn read(client: &Client<'_>, keys: &Keys) {
    for turn in 0_usize.. {
        client.read(&keys.get(turn), None).await;
        sleep(READ_EVERY).await;
    }
}
