//! Longshore alone: what it costs a gateway that many wait for a job. All of them are told how it ended.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use serde_json::json;
use tests::rabbit::own_urls;
use tests::{Cluster, Setup, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::report::say;

const WAITERS: usize = 10_000;
/// For the connection and what waits on it.
const BYTES_EACH_MAX: u64 = 20 << 10;
/// How many come at a time: this is about those who wait, not about a rush.
const GROUP: usize = 500;
const SOON: Duration = Duration::from_secs(20);
const GATEWAY: &str = "gateway-0";

pub(crate) async fn run() -> Result<()> {
    let node = ScratchNode::start().await?;
    let mut cluster = Cluster::start(&Setup::rabbitmq(own_urls(&node)).gateways(1).workers(1)).await?;
    // What is allocated once, whoever comes.
    wait_for_a_job(&mut cluster, 100).await?;
    let each = wait_for_a_job(&mut cluster, WAITERS).await?;
    say("| waiting for a job at one gateway | resident bytes each | bound | |\n|---|---|---|---|");
    let verdict = if each <= BYTES_EACH_MAX { "pass" } else { "MISS" };
    say(&format!("| {WAITERS} | {each} | ≤ {BYTES_EACH_MAX} | {verdict} |\n"));
    Ok(())
}

/// So many wait for a job that never begins, until it is cancelled. How much the gateway grew by each.
async fn wait_for_a_job(cluster: &mut Cluster, waiters: usize) -> Result<u64> {
    let id = cluster.client().accepted(&json!({"task": "nobody_knows_it"})).await?;
    let before = cluster.process(GATEWAY)?.usage()?.resident_bytes;
    let crowd = Crowd::gather(cluster, &id, waiters).await?;
    let grown = cluster.process(GATEWAY)?.usage()?.resident_bytes.saturating_sub(before);
    cluster.client().http().post(&format!("/jobs/{id}/cancel"), &json!(null)).await?.expect(200)?;
    crowd.are_told("\"cancelled\"").await?;
    Ok(grown / u64::try_from(waiters)?)
}

/// Those who wait, each on a connection of its own.
struct Crowd(Vec<TcpStream>);

impl Crowd {
    async fn gather(cluster: &Cluster, id: &str, count: usize) -> Result<Self> {
        let address = cluster.address(GATEWAY)?;
        let request = format!("GET /jobs/{id} HTTP/1.1\r\nhost: a\r\nprefer: wait=30\r\n\r\n");
        let mut crowd = Vec::with_capacity(count);
        while crowd.len() < count {
            for _ in 0..GROUP.min(count - crowd.len()) {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(request.as_bytes()).await?;
                crowd.push(stream);
            }
            let here = f64::from(u32::try_from(crowd.len())?);
            let waiting = async || anyhow::Ok(cluster.metrics(GATEWAY).await?.sum("longshore_waiters", &[]));
            wait_until(SOON, "all of them wait", async || Ok(waiting().await? >= here)).await?;
        }
        Ok(Self(crowd))
    }

    /// Each is told how the job ended.
    async fn are_told(self, how: &'static str) -> Result<()> {
        let mut answers = JoinSet::new();
        for mut stream in self.0 {
            answers.spawn(async move {
                let (mut answer, mut piece) = (String::new(), [0; 4_096]);
                while !answer.contains(how) {
                    let read = stream.read(&mut piece).await?;
                    ensure!(read > 0, "the connection ended after {answer:?}");
                    answer += &String::from_utf8_lossy(piece.get(..read).unwrap_or_default());
                }
                ensure!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
                Ok(())
            });
        }
        let told = timeout(SOON, answers.join_all()).await.context("somebody is still waiting")?;
        told.into_iter().collect()
    }
}
