//! The access log: a line for each request that is over, on standard error.
//!
//! Lines are kept for a tick at most and written together, because a call of the kernel for each takes longer than to make it; so SIGKILL costs the
//! last ones. Where the log is text for people, a line goes with all others, at once.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use chassis::clock::wall_ms;
use protocol::time::Timestamp;
use serde::{Serialize, Serializer};
use tracing::Level;

pub(crate) const TARGET: &str = "lb::access";

/// What has come together is written when it is so much.
const FULL_BYTES: usize = 32 << 10;

/// That of one loop.
#[derive(Debug)]
pub(crate) struct AccessLog {
    is_on: bool,
    is_json: bool,
    lines: RefCell<Vec<u8>>,
}

/// One request; what there is nothing to say of is left out.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    /// Without its query, which may hold what does not belong into a log.
    pub(crate) path: &'a str,
    #[serde(serialize_with = "by_debug")]
    pub(crate) version: http::Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<&'a str>,
    /// 0: there was no answer.
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<&'a str>,
    pub(crate) attempts: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) failed: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cut_by: Option<&'static str>,
    #[serde(serialize_with = "in_ms")]
    pub(crate) head_ms: Duration,
    #[serde(serialize_with = "in_ms")]
    pub(crate) room_ms: Duration,
    #[serde(serialize_with = "in_ms")]
    pub(crate) connect_ms: Duration,
    #[serde(serialize_with = "in_ms")]
    pub(crate) answer_ms: Duration,
    #[serde(serialize_with = "in_ms")]
    pub(crate) duration_ms: Duration,
    pub(crate) bytes: u64,
}

/// As the other lines of the log are.
#[derive(Serialize)]
struct Event<'a> {
    timestamp: Timestamp,
    level: &'static str,
    #[serde(flatten)]
    line: &'a Line<'a>,
    target: &'static str,
}

impl AccessLog {
    pub(crate) fn new(is_wanted: bool) -> AccessLog {
        let is_on = is_wanted && tracing::enabled!(target: TARGET, Level::INFO);
        AccessLog { is_on, is_json: chassis::telemetry::is_json(), lines: RefCell::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        if !self.is_json {
            return tracing::info!(target: TARGET, "{}", line.as_text());
        }
        let mut lines = self.lines.borrow_mut();
        line.as_json(Timestamp::from_unix_ms(wall_ms()), &mut lines);
        if lines.len() >= FULL_BYTES {
            write(&mut lines);
        }
    }

    /// Writes what has come together.
    pub(crate) fn flush(&self) {
        write(&mut self.lines.borrow_mut());
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A log that cannot be written costs no request, as everywhere.
fn write(lines: &mut Vec<u8>) {
    if !lines.is_empty() {
        io::stderr().lock().write_all(lines).ok();
        lines.clear();
    }
}

impl Line<'_> {
    fn as_json(&self, timestamp: Timestamp, into: &mut Vec<u8>) {
        let event = Event { timestamp, level: "INFO", line: self, target: TARGET };
        // Neither the line nor a vector can refuse.
        serde_json::to_writer(&mut *into, &event).unwrap_or_default();
        into.push(b'\n');
    }

    /// `name=value`, as in other lines.
    fn as_text(&self) -> String {
        let Ok(serde_json::Value::Object(members)) = serde_json::to_value(self) else { return String::new() };
        let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}={value}")).collect();
        members.join(" ")
    }
}

/// To the microsecond.
fn in_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}

fn by_debug<S: Serializer>(version: &http::Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{version:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            client: IpAddr::from([127, 0, 0, 1]),
            method: "GET",
            path: "/jobs/\"1\"",
            version: http::Version::HTTP_11,
            request_id: None,
            status: 200,
            backend: Some("127.0.0.1:5000"),
            attempts: 1,
            failed: "",
            cut_by: None,
            head_ms: Duration::ZERO,
            room_ms: Duration::ZERO,
            connect_ms: Duration::from_micros(12),
            answer_ms: Duration::from_nanos(1_234_567),
            duration_ms: Duration::from_secs(2),
            bytes: 17,
        }
    }

    #[test]
    fn a_line_is_an_object_of_what_is_known() {
        let mut text = Vec::new();
        line().as_json(Timestamp::from_unix_ms(1_767_225_600_123), &mut text);
        let expected = r#"{"timestamp":"2026-01-01T00:00:00.123Z","level":"INFO","client":"127.0.0.1","method":"GET","path":"/jobs/\"1\"","version":"HTTP/1.1","status":200,"backend":"127.0.0.1:5000","attempts":1,"head_ms":0.0,"room_ms":0.0,"connect_ms":0.012,"answer_ms":1.235,"duration_ms":2000.0,"bytes":17,"target":"lb::access"}"#;
        assert_eq!(String::from_utf8(text).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn for_people_it_has_the_same_in_text() {
        let text = Line { failed: "127.0.0.1:5003 connect", cut_by: Some("client"), ..line() }.as_text();
        for part in
            ["client=\"127.0.0.1\"", "failed=\"127.0.0.1:5003 connect\"", "cut_by=\"client\"", "connect_ms=0.012"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
