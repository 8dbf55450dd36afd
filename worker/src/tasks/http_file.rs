//! What a task file says about an `http` task.

use std::ops::RangeInclusive;

use chassis::outbound::{Reach, Target, Trust};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::api::RESULT_BYTES_MAX;
use protocol::webhook::SECRETS_MAX;

use super::around::Around;
use super::file::{TaskFileError, bound};
use super::http::HttpTask;
use super::reader::TaskTable;

pub(super) const KEYS: [&str; 8] =
    ["url", "secrets", "headers", "allow_private", "ca_file", "response_bytes", "retry_on", "report_later"];

/// Failures of the client's side; the others are retried anyway, or are none.
const RETRY_ON: RangeInclusive<u64> = 400..=499;
/// What the connection and the signature say themselves.
const OURS: [&str; 8] =
    ["host", "connection", "content-type", "content-length", "transfer-encoding", "user-agent", "upgrade", "expect"];
const OUR_PREFIXES: [&str; 2] = ["webhook-", "longshore-"];

pub(super) fn http(table: &TaskTable<'_>, around: &Around) -> Result<HttpTask, TaskFileError> {
    let url = table.required_text("url", "where jobs are sent, https://…")?;
    let target = url.parse::<Target>().map_err(|accepted| table.error("url", &format!("must be {accepted}")))?;
    let reach = reach(table)?;
    if target.literal().is_some_and(|address| !reach.admits(address)) {
        let detail = format!("is at {}, which is not a public address; allow_private = true allows it", target.host());
        return Err(table.error("url", &detail));
    }
    Ok(HttpTask {
        target,
        secrets: secrets(table, around)?,
        headers: headers(table)?,
        reach,
        trust: trust(table, around)?,
        response_bytes: bound(table, "response_bytes", 0..=RESULT_BYTES_MAX as u64, HttpTask::RESPONSE_BYTES)?,
        retry_on: table.integers("retry_on", RETRY_ON)?,
        report_later: table.flag("report_later")?.unwrap_or(false),
        public_url: None,
    })
}

fn secrets(table: &TaskTable<'_>, around: &Around) -> Result<Vec<protocol::webhook::Secret>, TaskFileError> {
    let places = table.texts("secrets")?;
    if !(1..=SECRETS_MAX).contains(&places.len()) {
        let detail = format!("must name 1 to {SECRETS_MAX} secrets, as file:PATH or env:LONGSHORE_SECRET_NAME");
        return Err(table.error("secrets", &detail));
    }
    let read = |place: &String| around.secret(place).map_err(|detail| table.error("secrets", &detail));
    places.iter().map(read).collect()
}

fn reach(table: &TaskTable<'_>) -> Result<Reach, TaskFileError> {
    if table.is_array("allow_private") {
        let networks = table.texts("allow_private")?;
        let parsed: Result<_, _> = networks.iter().map(|network| network.parse()).collect();
        return parsed.map(Reach::Networks).map_err(|accepted: &str| {
            table.error("allow_private", &format!("has a network that is none; accepted: {accepted}"))
        });
    }
    Ok(if table.flag("allow_private")?.unwrap_or(false) { Reach::All } else { Reach::Public })
}

fn headers(table: &TaskTable<'_>) -> Result<HeaderMap, TaskFileError> {
    let mut headers = HeaderMap::new();
    for (name, value) in table.text_map("headers")? {
        let refused = |why: &str| table.error("headers", &format!("has `{}`, {why}", name.escape_debug()));
        let lower = name.to_ascii_lowercase();
        if OURS.contains(&lower.as_str()) || OUR_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
            return Err(refused("which is set by the worker itself"));
        }
        let name = HeaderName::try_from(&name).map_err(|_| refused("which is no name of a header"))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| refused("whose value is none of a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn trust(table: &TaskTable<'_>, around: &Around) -> Result<Trust, TaskFileError> {
    match table.text("ca_file")? {
        None => Ok(Trust::public()),
        Some(path) => Trust::with_file(&around.folder.join(path)).map_err(|detail| table.error("ca_file", &detail)),
    }
}
