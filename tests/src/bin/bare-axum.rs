//! What a read costs at least: a bare axum handler that answers a fixed body, on as many threads as a gateway has. For `bench reads`.
//!
//!     bare-axum ADDRESS THREADS BODY-FILE

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

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
        let answer = async move || ([(CONTENT_TYPE, "application/json")], body);
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        axum::serve(listener, Router::new().route("/data/{key}", get(answer))).await.context("serving")
    })
}
