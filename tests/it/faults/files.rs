//! A gateway that may open few files, and a broker that allows few channels.

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::{NodeConfig, ScratchNode};
use serde_json::json;
use tests::rabbit::own_urls;
use tests::{Client, Cluster, Setup, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::SOON;

const FILES: usize = 96;
/// Half of the files are the gateway's own.
const SERVED: usize = FILES / 2;
const GATEWAY: &str = "gateway-0";

/// A connection that is kept, and the status of a first answer on it. `None`: it was closed.
async fn connect(cluster: &Cluster) -> Result<(TcpStream, Option<u16>)> {
    let mut stream = TcpStream::connect(cluster.address(GATEWAY)?).await?;
    stream.write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.ok();
    let mut head = [0; 12];
    let status = match stream.read_exact(&mut head).await {
        Ok(_) => Some(std::str::from_utf8(&head)?.get(9..12).context("a status")?.parse()?),
        Err(_) => None,
    };
    Ok((stream, status))
}

#[tokio::test]
async fn gateway_short_of_files_turns_clients_away_and_keeps_what_it_needs_itself() -> Result<()> {
    let settings = vec!["channel_max = 8".to_owned()];
    let node = ScratchNode::start_with(NodeConfig { settings, ..NodeConfig::default() }).await?;
    let folder = tempfile::tempdir()?;
    let mut plan = Setup::rabbitmq(own_urls(&node)).gateways(1).slots("32").plan(folder.path())?;
    let gateway = plan.specs.iter_mut().find(|spec| spec.name == GATEWAY).context("a gateway")?;
    let binary = std::mem::replace(&mut gateway.binary, "/bin/sh".into());
    gateway.arguments = vec!["-c".to_owned(), format!("ulimit -n {FILES}; exec {}", binary.display())];
    let mut cluster = Cluster::start_planned(plan, folder).await?;
    // On a connection that was there before.
    let client = Client::new(cluster.http(GATEWAY)?);
    client.settled(SOON).await?;
    let before = cluster.process(GATEWAY)?.usage()?.open_files;

    // The balancer and this client hold some.
    let mut open = Vec::new();
    for _ in 0..3 * FILES {
        open.push(connect(&cluster).await?);
    }
    let served = open.iter().filter(|(_, status)| *status == Some(200)).count();
    ensure!((SERVED - 8..=SERVED).contains(&served), "{served} connections were served");
    ensure!(open.iter().all(|(_, status)| matches!(status, None | Some(200 | 503))), "{open:?}");
    let files = cluster.process(GATEWAY)?.usage()?.open_files;
    ensure!(files < FILES, "{files} files are open");

    for _ in 0..50 {
        client.accepted(&json!({"task": "noop"})).await?;
    }
    client.settled(SOON).await?;
    drop(open);
    wait_until(SOON, "clients are served again", async || Ok(connect(&cluster).await?.1 == Some(200))).await?;
    let gateway = cluster.process(GATEWAY)?;
    wait_until(SOON, "the files are closed", async || Ok(gateway.usage()?.open_files <= before + 4)).await
}
