//! `PROGRAM health`, which container checks call: it asks the program that runs under the same settings.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::binaries::binary;
use tests::cluster::program_of;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, scenario};
use tokio::process::Command;

use crate::SOON;
use crate::tidy::metrics::{documented, whole};

const MEMBERS: [&str; 5] = ["lb", "gateway-0", "cache-svc", "store-svc", "worker-0"];

struct Asked {
    status: Option<i32>,
    said: String,
}

async fn ask(program: &str, listen: &str) -> Result<Asked> {
    let mut command = Command::new(binary(program)?);
    command.arg("health").env_clear().env("LONGSHORE_LISTEN", listen).kill_on_drop(true);
    // Settings are checked as when serving; nobody connects there.
    command.env("LONGSHORE_INSECURE", "1").env("AMQP_URL", "amqp://nobody:nothing@127.0.0.1:1/longshore");
    let output = command.output().await?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok(Asked { status: output.status.code(), said })
}

/// Whatever a program shows is in the operator's table of metrics.
async fn its_metrics_are_documented(cluster: &Cluster, member: &str) -> Result<()> {
    let answer = cluster.http(member)?.get("/metrics").await?;
    let (text, documented) = (String::from_utf8_lossy(&answer.body), documented()?);
    let shown = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let unknown: Vec<&str> = shown.filter(|name| !documented.contains(whole(name))).collect();
    ensure!(
        text.contains("# TYPE ") && unknown.is_empty(),
        "{member} shows {unknown:?}, which docs/operations.md does not name"
    );
    Ok(())
}

async fn each_program_is_asked(cluster: &mut Cluster) -> Result<()> {
    let id = cluster.client().accepted(&json!({"task": "noop"})).await?;
    cluster.client().succeeded(&id, SOON).await?;
    for member in MEMBERS {
        let (program, address) = (program_of(member), cluster.address(member)?);
        for listen in [address.to_string(), format!("0.0.0.0:{}", address.port())] {
            let Asked { status, said } = ask(program, &listen).await?;
            ensure!(
                status == Some(0) && said.contains(program) && said.contains("ready"),
                "{member}: {status:?} {said}"
            );
        }
        its_metrics_are_documented(cluster, member).await?;
    }
    Ok(())
}

#[tokio::test]
async fn programs_say_how_they_are() -> Result<()> {
    scenario(Setup::rabbitmq(Vhost::fresh().await?.urls()).workers(1), each_program_is_asked).await
}

#[tokio::test]
async fn a_program_that_is_not_there_is_sick() -> Result<()> {
    for member in MEMBERS {
        let program = program_of(member);
        // A port of the range that is never given out for connections.
        let Asked { status, said } = ask(program, "127.0.0.1:1").await?;
        ensure!(status == Some(1) && said.contains("cannot be reached"), "{program}: {status:?} {said}");
        let Asked { status, said } = ask(program, "127.0.0.1:0").await?;
        ensure!(status == Some(1) && said.contains("name a port"), "{program}: {status:?} {said}");
        let Asked { status, said } = ask(program, "nowhere").await?;
        ensure!(status == Some(64) && said.contains("LONGSHORE_LISTEN"), "{program}: {status:?} {said}");
    }
    Ok(())
}
