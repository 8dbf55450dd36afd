//! Clients that leave in the middle of a submit: their job is there whole or not at all, and whoever repeats it under its key gets one job.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tests::ledger::job_id;
use tests::{Cluster, Setup, scenario, wait_until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::SOON;

/// Gives back what it got.
const TASKS: &str = "[task.\"echo_*\"]\nkind = \"command\"\nprogram = \"cat\"\n";
/// More than one read of a socket takes.
const PAYLOAD_BYTES: usize = 200_000;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// Its side is closed, as a program that ended does it.
    Closing,
    /// With a reset, as a machine that lost its memory of the connection does it.
    Resetting,
}

/// One submit, of which so many bytes are sent.
struct Submit {
    task: String,
    key: String,
    body: Value,
    head: String,
    text: String,
}

impl Submit {
    fn new(task: String, chunked: bool) -> Self {
        let body = json!({"task": task, "payload": {"text": "x".repeat(PAYLOAD_BYTES)}});
        let key = format!("\"{task}\"");
        let (length, text) = if chunked {
            ("transfer-encoding: chunked".to_owned(), in_chunks(&body.to_string()))
        } else {
            (format!("content-length: {}", body.to_string().len()), body.to_string())
        };
        let head = format!(
            "POST /longtask HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n{length}\r\n\r\n"
        );
        Self { task, key, body, head, text }
    }

    fn bytes(&self) -> usize {
        self.head.len() + self.text.len()
    }

    /// Where clients leave: in each part of the request, right before and after its borders, and when all is sent.
    fn cuts(&self) -> Vec<usize> {
        let (head, all) = (self.head.len(), self.bytes());
        let mut cuts = vec![0, 1, 9, head / 2, head - 3, head - 2, head - 1, head, head + 1, head + 40];
        cuts.extend([head + self.text.len() / 3, all - self.text.len() / 3, all - 3, all - 2, all - 1, all]);
        cuts
    }

    async fn send_part(&self, to: SocketAddr, count: usize) -> Result<TcpStream> {
        let request = [self.head.as_bytes(), self.text.as_bytes()].concat();
        let mut stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request.get(..count).unwrap_or(&request)).await?;
        Ok(stream)
    }
}

async fn leave(mut stream: TcpStream, leaves: Leaves) -> Result<()> {
    match leaves {
        Leaves::Closing => stream.shutdown().await?,
        Leaves::Resetting => stream.set_zero_linger()?,
    }
    Ok(())
}

fn in_chunks(text: &str) -> String {
    let (first, second) = text.split_at(text.len() / 2);
    format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len())
}

/// Repeats the submit twice, whole, and finds one job with all that belongs to it. Says whether the part had made it.
async fn repeated_names_one_job(cluster: &Cluster, submit: &Submit) -> Result<bool> {
    let client = cluster.client();
    let mut ids = Vec::new();
    let mut replayed = Vec::new();
    for _ in 0..2 {
        let headers = [("idempotency-key", submit.key.as_str())];
        let answer = client.submit_with(Method::POST, "/longtask", &headers, &submit.body).await?;
        replayed.push(answer.header("idempotent-replayed") == "true");
        ids.push(job_id(&answer.expect(202)?).to_owned());
    }
    ensure!(ids[0] == ids[1] && replayed[1], "{ids:?}, replayed: {replayed:?}");
    let listed = client.list(&format!("task={}&", submit.task)).await?;
    ensure!(listed.len() == 1 && job_id(&listed[0]) == ids[0], "{listed:?}");
    let job = client.succeeded(&ids[0], SOON).await?;
    ensure!(job["result"] == submit.body["payload"], "it is not whole: {}", job["result"]);
    Ok(replayed[0])
}

#[tokio::test]
async fn submits_whose_clients_leave_make_one_whole_job_or_none() -> Result<()> {
    scenario(Setup::embedded().tasks(TASKS).slots("8"), async |cluster| {
        let mut made: BTreeMap<bool, usize> = BTreeMap::new();
        for (door, name) in [("lb", "a"), ("gateway-0", "b")] {
            let to = cluster.address(door)?;
            for (chunked, leaves) in [
                (false, Leaves::Closing),
                (false, Leaves::Resetting),
                (true, Leaves::Closing),
                (true, Leaves::Resetting),
            ] {
                let what = format!("echo_{name}_{chunked}_{leaves:?}").to_lowercase();
                for (number, count) in Submit::new(what.clone(), chunked).cuts().into_iter().enumerate() {
                    let submit = Submit::new(format!("{what}_{number:02}"), chunked);
                    leave(submit.send_part(to, count).await?, leaves).await?;
                    let was_made = repeated_names_one_job(cluster, &submit).await?;
                    ensure!(count == submit.bytes() || !was_made, "{what}: a job was made of {count} bytes");
                    *made.entry(was_made).or_default() += 1;
                }
                let submit = Submit::new(format!("{what}_made"), chunked);
                let stream = submit.send_part(to, submit.bytes()).await?;
                wait_until(SOON, "its job is made", async || {
                    let listed = cluster.http("lb")?.get(&format!("/jobs?task={}", submit.task)).await?.expect(200)?;
                    Ok(listed["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1))
                })
                .await?;
                // It leaves without having read the answer.
                leave(stream, leaves).await?;
                ensure!(
                    repeated_names_one_job(cluster, &submit).await?,
                    "{what}: the job that was there was not found"
                );
            }
        }
        println!(
            "of {} submits that were broken off, {} had made their job",
            made.values().sum::<usize>(),
            made.get(&true).unwrap_or(&0)
        );
        Ok(())
    })
    .await
}
