//! What a read costs at least: a bare axum handler that answers a fixed body with the fields of a gateway's answer, on as many threads as a gateway has. For `bench reads`.
//!
//!     bare-axum ADDRESS THREADS BODY-FILE

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

/// The fields that a gateway's hit has.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_TYPE, "application/json"),
    (CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cache-status"), "longshore-near; hit"),
    (ETAG, "\"7b21aec0f41d39a60ae4f354b4d61558\""),
    (AGE, "0"),
    (HeaderName::from_static("x-request-id"), "0123456789abcdef0123456789abcdef"),
];

fn main() -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [address, threads, body] = arguments.as_slice() else {
        anyhow::bail!("usage: bare-axum ADDRESS THREADS BODY-FILE");
    };
    let threads = threads.to_str().and_then(|threads| threads.parse().ok()).context("THREADS is a number above 0")?;
    let address = address.to_str().context("ADDRESS is host:port")?;
    let body = Bytes::from(std::fs::read(Path::new(body)).context("reading BODY-FILE")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let answer = async move || (HEADERS, body);
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        axum::serve(listener, Router::new().route("/data/{key}", get(answer))).await.context("serving")
    })
}
