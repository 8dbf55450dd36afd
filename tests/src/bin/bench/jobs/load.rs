//! The load of jobs, the same for everybody: a fixed number of clients, each on a kept connection of its own, each submitting the next job as
//! soon as the one before was accepted.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

pub(crate) const CLIENTS: usize = 64;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const BODY: &[u8] = br#"{"task":"noop"}"#;

/// Submits `total` jobs one by one; every one must be answered 202. Gives the time that each answer took, sorted.
pub(crate) async fn submit(address: SocketAddr, total: u64) -> Result<Vec<Duration>> {
    let left = Cell::new(total);
    let took = RefCell::new(Vec::new());
    try_join_all((0..CLIENTS).map(|_| client(address, &left, &took))).await?;
    let mut took = took.into_inner();
    took.sort_unstable();
    Ok(took)
}

async fn client(address: SocketAddr, left: &Cell<u64>, took: &RefCell<Vec<Duration>>) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let work = async {
        while left.get() > 0 {
            left.set(left.get() - 1);
            let begun_at = Instant::now();
            timeout(ANSWER_WITHIN, one(address, &mut sender)).await.context("a submit was not answered")??;
            took.borrow_mut().push(begun_at.elapsed());
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = work => done,
        ended = connection => {
            ended?;
            bail!("the connection was closed although it should be kept")
        }
    }
}

async fn one(address: SocketAddr, sender: &mut http1::SendRequest<Full<Bytes>>) -> Result<()> {
    let request = Request::post("/longtask")
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from_static(BODY)))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status == StatusCode::ACCEPTED, "a submit was answered {status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// The `percent`th percentile of sorted times, in milliseconds.
pub(crate) fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}
