//! Data is written, voided and read, and what the client was told is written down. `trickle` is what a trial of everything has of it, `hot`
//! the many clients of a trial of the caches.

pub(super) mod hot;
pub(super) mod keys;
pub(super) mod trickle;

use chassis::clock::{now_ms, now_us};
use harness::Answer;
use http::Method;
use protocol::cache_api::TOKEN_HEADER;
use protocol::envelope::Covered;
use serde_json::{Value, json};

use super::history::{Event, Fate};
use super::traffic::{BALANCER, Client};

/// What `Cache-Status` says when a gateway answered from its own cache.
const NEAR_HIT: &str = "longshore-near; hit";

/// What is to be written, and how.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) removes: bool,
    /// For the fence.
    pub(super) waits: bool,
    /// `If-Match`
    pub(super) only_if: Option<String>,
}

impl Write {
    pub(super) fn put(key: String) -> Self {
        Self { key, removes: false, waits: true, only_if: None }
    }
}

/// What was told of a write.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) fate: Fate,
    /// Shows it to a reader, wherever that one reads.
    pub(super) token: Option<String>,
}

/// What was read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// `ETag`
    pub(super) tag: String,
}

/// A write that its client may still want to see.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) version: u64,
    pub(super) token: String,
}

impl Client<'_> {
    pub(super) async fn write(&self, write: &Write) -> Written {
        let (number, began_us) = (self.numbers.write(), now_us());
        let Write { key, removes, waits, only_if } = write;
        self.recorder.note(Event::Writes { number, key: key.clone(), removes: *removes, began_us });
        let path = format!("/data/{key}{}", if *waits { "" } else { "?wait=0" });
        let headers: Vec<(&str, &str)> = only_if.iter().map(|tag| ("if-match", tag.as_str())).collect();
        let answer = match removes {
            true => self.send(Method::DELETE, &path, &headers, None).await,
            false => self.send(Method::PUT, &path, &headers, Some(&json!({"data": number}))).await,
        };
        let (told_us, written) = (now_us(), written(answer));
        let (at, waited, fate) = (self.at.to_owned(), *waits, written.fate);
        self.recorder.note(Event::Wrote { number, began_us, told_us, at, waited, fate });
        written
    }

    /// Whether it was acknowledged.
    pub(super) async fn void(&self, covered: Covered) -> bool {
        let began_us = now_us();
        let answer = match covered.keys.as_slice() {
            [key] => self.send(Method::DELETE, &format!("/cache/{key}"), &[], None).await,
            _ => self.send(Method::POST, "/cache:invalidate", &[], Some(&json!(covered))).await,
        };
        let told_us = now_us();
        let (status, fenced) = match &answer {
            Ok(answer) => (answer.status.as_u16(), answer.json().is_ok_and(|body| body["fenced"] == true)),
            Err(_) => (0, false),
        };
        let at = self.at.to_owned();
        self.recorder.note(Event::Invalidated { covered, began_us, told_us, at, status, fenced });
        status == 200 && fenced
    }

    /// Only at the balancer a failed read is noted: a gateway itself may be down.
    pub(super) async fn read(&self, key: &str, owed: Option<Owed>) -> Option<Found> {
        let (began_ms, began_us) = (now_ms(), now_us());
        let headers: Vec<(&str, &str)> = owed.iter().map(|owed| (TOKEN_HEADER, owed.token.as_str())).collect();
        let answer = self.send(Method::GET, &format!("/data/{key}"), &headers, None).await;
        let why = match answer {
            Ok(answer) if matches!(answer.status.as_u16(), 200 | 404) => {
                let body = answer.json().unwrap_or_default();
                self.recorder.note(Event::Read {
                    key: key.to_owned(),
                    value: body["data"].as_u64(),
                    began_us,
                    told_us: now_us(),
                    at: self.at.to_owned(),
                    near: answer.header("cache-status") == NEAR_HIT && body["cached"] == true,
                    stale: body["stale"] == true,
                    owed: owed.map(|owed| owed.version),
                });
                return (answer.status == 200).then(|| Found { tag: answer.header("etag").to_owned() });
            }
            Ok(answer) => answer.to_string(),
            Err(error) => error,
        };
        if self.at == BALANCER {
            self.recorder.note(Event::ReadFailed { began_ms, why });
        }
        None
    }
}

fn written(answer: Result<Answer, String>) -> Written {
    let Ok(answer) = answer else { return Written { fate: Fate::Unknown, token: None } };
    let body: Value = answer.json().unwrap_or_default();
    let fate = match (answer.status.as_u16(), body["version"].as_u64()) {
        (200, Some(version)) if body["fenced"] == true => Fate::Acknowledged { version },
        (202, Some(version)) => Fate::Durable { version },
        (503, Some(version)) if body["durable"] == true => Fate::Durable { version },
        (400..500, _) => Fate::Refused,
        _ => Fate::Unknown,
    };
    let token = fate.version().map(|_| answer.header(TOKEN_HEADER).to_owned()).filter(|token| !token.is_empty());
    Written { fate, token }
}
