//! The harness can be trusted: its processes end, its proxy does what its name says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use harness::amqp_frames::{BASIC_ACK, BASIC_PUBLISH, Method};
use serde_json::{Value, json};
use tests::process::Spec;
use tests::proxy::{Direction, Fate, Flow, FrameRule};
use tests::{Client, Http, Process, TcpProxy, eventually, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(10);

fn shell(folder: &Path, script: &str) -> Spec {
    Spec {
        name: "shell".to_owned(),
        binary: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: BTreeMap::new(),
        folder: folder.to_owned(),
    }
}

/// One letter of /proc/PID/stat: S sleeping, T stopped, Z zombie.
fn state(pid: u32) -> Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("stat")?;
    Ok(fields.chars().take(1).collect())
}

#[tokio::test]
async fn process_can_be_paused_resumed_killed_and_restarted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut process = Process::start(shell(folder.path(), "echo started; exec cat /dev/zero >/dev/null"))?;
    wait_until(SOON, "it runs", async || Ok(process.log().contains("started"))).await?;
    process.pause()?;
    wait_until(SOON, "it is stopped", async || Ok(state(process.pid())? == "T")).await?;
    process.resume()?;
    wait_until(SOON, "it goes on", async || Ok(state(process.pid())? != "T")).await?;
    process.kill_9()?;
    ensure!(process.term().is_err(), "an ended process must not be signalled: its pid may be somebody else's");
    process.restart()?;
    wait_until(SOON, "it runs again", async || Ok(process.log().matches("started").count() == 2)).await?;
    process.term()?;
    let status = process.exited(SOON).await?;
    ensure!(!status.success(), "ended by a signal: {status}");
    Ok(())
}

#[tokio::test]
async fn dropped_process_takes_its_children_along() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let process = Process::start(shell(folder.path(), "cat /dev/zero >/dev/null & echo $!; wait"))?;
    let child: u32 =
        eventually(SOON, "the child's pid", async || Ok(process.log().lines().next().and_then(|pid| pid.parse().ok())))
            .await?;
    ensure!(state(child).is_ok(), "the child runs");
    drop(process);
    // Its new parent may take a moment to reap it.
    wait_until(SOON, "the child is gone", async || Ok(state(child).map_or(true, |state| state == "Z"))).await
}

/// An echo server that lives as long as the set.
async fn echo(tasks: &mut JoinSet<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    Ok(address)
}

async fn round_trip(stream: &mut TcpStream, letter: u8) -> Result<()> {
    stream.write_all(&[letter]).await?;
    ensure!(stream.read_u8().await? == letter);
    Ok(())
}

/// The echo of a byte does not arrive within a moment in which it otherwise always does.
async fn nothing_arrives(stream: &mut TcpStream) -> Result<()> {
    let answer = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
    ensure!(answer.is_err(), "got {answer:?}");
    Ok(())
}

#[tokio::test]
async fn proxy_resets_standing_connections_and_serves_new_ones() -> Result<()> {
    let mut tasks = JoinSet::new();
    let proxy = TcpProxy::start(echo(&mut tasks).await?).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    round_trip(&mut stream, b'a').await?;
    proxy.cut();
    let error = stream.read_u8().await.expect_err("the connection was cut");
    ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "{error:?}");
    round_trip(&mut TcpStream::connect(proxy.address()).await?, b'b').await
}

#[tokio::test]
async fn proxy_refuses_until_healed_and_keeps_standing_connections() -> Result<()> {
    let mut tasks = JoinSet::new();
    let proxy = TcpProxy::start(echo(&mut tasks).await?).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    round_trip(&mut stream, b'a').await?;
    proxy.refuse();
    wait_until(SOON, "connections are refused", async || Ok(TcpStream::connect(proxy.address()).await.is_err()))
        .await?;
    round_trip(&mut stream, b'b').await?;
    proxy.heal();
    wait_until(SOON, "connections are accepted", async || {
        round_trip(&mut TcpStream::connect(proxy.address()).await?, b'c').await.map(|()| true)
    })
    .await
}

#[tokio::test]
async fn proxy_holds_either_direction_and_delivers_when_healed() -> Result<()> {
    let mut tasks = JoinSet::new();
    let proxy = TcpProxy::start(echo(&mut tasks).await?).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.set_flow(direction, Flow::Held);
        stream.write_all(b"x").await?;
        nothing_arrives(&mut stream).await?;
        proxy.heal();
        ensure!(stream.read_u8().await? == b'x');
    }
    proxy.set_flow(Direction::ToClient, Flow::Delayed(Duration::from_millis(300)));
    stream.write_all(b"y").await?;
    nothing_arrives(&mut stream).await?;
    ensure!(stream.read_u8().await? == b'y');
    Ok(())
}

#[tokio::test]
async fn one_chunk_in_so_many_comes_late_and_other_connections_overtake_it() -> Result<()> {
    let mut tasks = JoinSet::new();
    let proxy = TcpProxy::start(echo(&mut tasks).await?).await?;
    let mut overtaken = TcpStream::connect(proxy.address()).await?;
    let mut other = TcpStream::connect(proxy.address()).await?;
    for stream in [&mut overtaken, &mut other] {
        round_trip(stream, b'a').await?;
    }
    let late_by = Duration::from_millis(300);
    proxy.set_flow(Direction::ToClient, Flow::Lossy { one_in: 3, late_by });
    let sent = Instant::now();
    overtaken.write_all(b"1").await?;
    nothing_arrives(&mut overtaken).await?;
    for letter in [b'2', b'3'] {
        round_trip(&mut other, letter).await?;
    }
    ensure!(overtaken.read_u8().await? == b'1' && sent.elapsed() >= late_by);
    other.write_all(b"4").await?;
    nothing_arrives(&mut other).await
}

/// A client of a system that tells this of its queues and jobs.
async fn client_of(tasks: &mut JoinSet<()>, queues: Value, jobs: Value) -> Result<Client> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = Client::new(Http::new(listener.local_addr()?));
    let told = |body: Value| get(async move || body.to_string());
    let system = Router::new().route("/queues", told(queues)).route("/jobs", told(jobs));
    tasks.spawn(async { axum::serve(listener, system).await.expect("it serves") });
    Ok(client)
}

#[tokio::test]
async fn jobs_have_settled_though_those_that_are_left_end_while_they_are_read() -> Result<()> {
    let mut tasks = JoinSet::new();
    let queues = json!({"queues": [{"depth": {"scheduled": 0, "queued": 1, "running": 2}}]});
    let jobs = json!({"jobs": [
        {"job_id": "c", "status": "queued"}, {"job_id": "b", "status": "running"}, {"job_id": "a", "status": "succeeded"},
    ]});
    let client = client_of(&mut tasks, queues, jobs).await?;
    client.leave("c");
    let told = client.settled(Duration::from_millis(500)).await.expect_err("nobody leaves b").to_string();
    ensure!(told.contains("not {\"job_id\":\"b\""), "{told}");
    client.leave("b");
    client.settled(SOON).await
}

/// A method frame on channel 1 without arguments.
fn method_frame((class, method): Method) -> Vec<u8> {
    let numbers = [class.to_be_bytes(), method.to_be_bytes()].concat();
    [&[1, 0, 1, 0, 0, 0, 4], numbers.as_slice(), &[0xce]].concat()
}

#[tokio::test]
async fn proxy_before_a_broker_loses_one_kind_of_frame() -> Result<()> {
    let mut tasks = JoinSet::new();
    let proxy = TcpProxy::start_before_broker(echo(&mut tasks).await?).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    let (ack, publish) = (method_frame(BASIC_ACK), method_frame(BASIC_PUBLISH));
    proxy.set_rule(FrameRule { direction: Direction::ToClient, method: BASIC_ACK, fate: Fate::Swallowed });
    stream.write_all(&[ack.clone(), publish.clone()].concat()).await?;
    let mut first = vec![0; publish.len()];
    stream.read_exact(&mut first).await?;
    ensure!(first == publish, "{first:?}");
    nothing_arrives(&mut stream).await?;
    proxy.heal();
    stream.write_all(&ack).await?;
    stream.read_exact(&mut first).await?;
    ensure!(first == ack, "{first:?}");
    Ok(())
}

#[tokio::test]
async fn proxy_before_a_broker_breaks_the_connection_inside_a_frame() -> Result<()> {
    let mut tasks = JoinSet::new();
    let proxy = TcpProxy::start_before_broker(echo(&mut tasks).await?).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    let publish = method_frame(BASIC_PUBLISH);
    proxy.set_rule(FrameRule { direction: Direction::ToClient, method: BASIC_PUBLISH, fate: Fate::CutInside });
    stream.write_all(&publish).await?;
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read).await;
    ensure!(ended.is_err() && publish.starts_with(&read) && read.len() < publish.len(), "{ended:?} {read:?}");
    Ok(())
}
