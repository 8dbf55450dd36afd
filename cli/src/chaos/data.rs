//! Writes growing numbers under a few keys and reads them everywhere, through the balancer and at each gateway.

use std::cell::RefCell;
use std::time::Duration;

use chassis::clock::now_ms;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::history::{Event, Fate};
use super::traffic::Client;

const WRITERS: usize = 3;
const WRITE_EVERY: Duration = Duration::from_millis(250);
const READ_EVERY: Duration = Duration::from_millis(60);
/// Every so many writes are followed by a plain invalidation.
const INVALIDATES_EVERY: u64 = 5;

/// The keys that are written now. Each has one writer, which takes another key when it does not know what became of a write: that write
/// may still happen, and would be no stale value then.
#[derive(Debug)]
pub(super) struct Keys(RefCell<[String; WRITERS]>);

impl Keys {
    pub(super) fn new() -> Self {
        Self(RefCell::new(std::array::from_fn(|writer| format!("chaos-{writer}-0"))))
    }

    fn get(&self, writer: usize) -> String {
        self.0.borrow()[writer].clone()
    }
}

/// For ever.
pub(super) async fn write_all(client: &Client<'_>, keys: &Keys) {
    join_all((0..WRITERS).map(|writer| write(client, keys, writer))).await;
}

async fn write(client: &Client<'_>, keys: &Keys, writer: usize) {
    for value in 1_u64.. {
        let (key, began_ms) = (keys.get(writer), now_ms());
        let answer = client.send(Method::PUT, &format!("/data/{key}"), &[], Some(&json!({"data": value}))).await;
        let fate = match &answer {
            Ok(answer) if answer.status == 200 => Fate::Acknowledged,
            Ok(answer) if answer.status.is_client_error() => Fate::Unpromised,
            Ok(answer) if answer.json().is_ok_and(|body| body["durable"] == true) => Fate::Unpromised,
            Ok(_) | Err(_) => Fate::Unknown,
        };
        client.recorder.note(Event::Wrote { key: key.clone(), value, began_ms, fate });
        if fate == Fate::Unknown {
            keys.0.borrow_mut()[writer] = format!("chaos-{writer}-{value}");
        } else if value.is_multiple_of(INVALIDATES_EVERY) {
            // Changes nothing: what was acknowledged must still be read.
            drop(client.send(Method::DELETE, &format!("/cache/{key}"), &[], None).await);
        }
        sleep(WRITE_EVERY).await;
    }
}

/// For ever, at one place. Only at the balancer a failed read is noted: a gateway itself may be down.
pub(super) async fn read(client: &Client<'_>, keys: &Keys, at: &str, is_balancer: bool) {
    for turn in 0_usize.. {
        let (key, began_ms) = (keys.get(turn % WRITERS), now_ms());
        let answer = client.send(Method::GET, &format!("/data/{key}"), &[], None).await;
        let failed = match &answer {
            Ok(answer) if answer.status == 200 => {
                let value = answer.json().ok().and_then(|body: Value| body["data"].as_u64());
                client.recorder.note(Event::Read { key, value, began_ms, at: at.to_owned() });
                None
            }
            Ok(answer) if answer.status == 404 => {
                client.recorder.note(Event::Read { key, value: None, began_ms, at: at.to_owned() });
                None
            }
            Ok(answer) => Some(answer.to_string()),
            Err(error) => Some(error.clone()),
        };
        if let (Some(why), true) = (failed, is_balancer) {
            client.recorder.note(Event::ReadFailed { began_ms, why });
        }
        sleep(READ_EVERY).await;
    }
}
