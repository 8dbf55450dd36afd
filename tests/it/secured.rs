//! Everything behind the gateways over TLS, and nobody among the programs who has no key.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chassis::testing::certificates::Authority;
use chassis::testing::postgres::ScratchCluster;
use chassis::testing::rabbit::{NodeConfig, ScratchNode, free_port};
use http::StatusCode;
use serde_json::json;
use tests::binaries::binary;
use tests::rabbit::own_urls;
use tests::{Cluster, Setup, eventually, scenario};
use tokio::process::Command;
use tokio::task::spawn_blocking;

use crate::SOON;

const INTERNAL_KEY: &str = "the-internal-key-0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "another-internal-key-0123456789abcdef0123456789ab";
const PROGRAMS: [&str; 4] = ["gateway", "worker", "cache-svc", "store-svc"];

/// A node and a cluster that speak TLS, and what is needed to believe them.
struct Secured {
    folder: tempfile::TempDir,
    node: ScratchNode,
    amqps: u16,
    cluster: ScratchCluster,
}

impl Secured {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        let certified = authority.certify(&["localhost"])?;
        let file = |name: &str, text: &str| -> Result<String> {
            let path = folder.path().join(name);
            std::fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let root = file("ca.pem", authority.root())?;
        let amqps = free_port()?;
        let settings = vec![
            format!("listeners.ssl.1 = 127.0.0.1:{amqps}"),
            format!("ssl_options.cacertfile = {root}"),
            format!("ssl_options.certfile = {}", file("server.pem", &certified.certificate)?),
            format!("ssl_options.keyfile = {}", file("server.key", &certified.key)?),
        ];
        let node = ScratchNode::start_with(NodeConfig { settings, ..NodeConfig::default() }).await?;
        let cluster = spawn_blocking(move || -> Result<_> {
            let mut cluster = ScratchCluster::start()?;
            cluster.secure(&certified.certificate, &certified.key)?;
            Ok(cluster)
        });
        let cluster = cluster.await.context("starting a cluster")??;
        file("internal.key", INTERNAL_KEY)?;
        file("other.key", OTHER_KEY)?;
        Ok(Self { folder, node, amqps, cluster })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `AMQP_URL` by program, over TLS.
    fn urls(&self) -> BTreeMap<String, String> {
        let secured = |url: String| {
            let url = url.replacen("amqp://", "amqps://", 1);
            url.replacen(&self.node.amqp_address().to_string(), &format!("localhost:{}", self.amqps), 1)
        };
        own_urls(&self.node).into_iter().map(|(program, url)| (program, secured(url))).collect()
    }

    /// A fresh one, by the name in the certificate.
    fn database(&self, sslmode: &str) -> Result<String> {
        Ok(format!("{}?sslmode={sslmode}", self.cluster.fresh_database()?.replace("127.0.0.1", "localhost")))
    }

    fn setup(&self) -> Result<Setup> {
        let database = self.database("verify-full")?;
        let mut setup = Setup::rabbitmq(self.urls()).postgres(database.clone(), 2).gateways(2).workers(1);
        // One of them reads its passwords from files.
        for (variable, value) in [("AMQP_URL", &self.urls()["store-svc"]), ("DATABASE_URL", &database)] {
            let file = self.folder.path().join(variable);
            std::fs::write(&file, value)?;
            setup = setup.set("store-svc-1", variable, "").set(
                "store-svc-1",
                &format!("{variable}_FILE"),
                file.display().to_string(),
            );
        }
        for program in PROGRAMS {
            setup = setup.set(program, "SSL_CERT_FILE", self.path("ca.pem")).set(
                program,
                "LONGSHORE_INTERNAL_KEY_FILE",
                self.path("internal.key"),
            );
        }
        Ok(setup)
    }
}

async fn works(cluster: &mut Cluster) -> Result<()> {
    let id = cluster.client().accepted(&json!({"task": "noop"})).await?;
    cluster.client().succeeded(&id, SOON).await?;
    let http = cluster.client().http();
    let first = cluster.http("gateway-0")?;
    ensure!(http.put("/data/price", &json!({"data": 1})).await?.status.is_success(), "written");
    ensure!(first.get("/data/price").await?.expect(200)?["data"] == 1, "read");
    ensure!(http.put("/data/price", &json!({"data": 2})).await?.status.is_success(), "written again");
    ensure!(first.get("/data/price").await?.expect(200)?["data"] == 2, "nothing older is read");
    Ok(())
}

async fn strangers_are_refused(cluster: &Cluster) -> Result<()> {
    for member in ["store-svc", "store-svc-1", "cache-svc"] {
        let (stranger, other) = (cluster.http(member)?, cluster.http(member)?.with_key(OTHER_KEY));
        let refused = stranger.get("/queues").await?;
        ensure!(refused.status == StatusCode::UNAUTHORIZED, "{member}: {refused}");
        other.get("/queues").await?.problem(401)?;
        ensure!(stranger.get("/ready").await?.status == StatusCode::OK, "{member} says whether it is ready");
    }
    cluster.http("store-svc")?.with_key(INTERNAL_KEY).get("/queues").await?.expect(200)?;
    Ok(())
}

async fn said_by_doctor(secured: &Secured, database: &str, trusts: Option<&str>) -> Result<String> {
    let mut command = Command::new(binary("longshore")?);
    command
        .args(["doctor", "--program", "store-svc"])
        .env_clear()
        .kill_on_drop(true)
        .current_dir(secured.folder.path());
    command.env("AMQP_URL", &secured.urls()["store-svc"]).env("DATABASE_URL", database);
    // The system's own authorities are not those of a test.
    command.env("SSL_CERT_FILE", trusts.unwrap_or("/dev/null")).env("SSL_CERT_DIR", secured.folder.path().join("none"));
    let output = command.output().await?;
    Ok([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

#[tokio::test]
async fn everything_works_over_tls_and_between_programs_that_know_each_other() -> Result<()> {
    let secured = Secured::start().await?;
    scenario(secured.setup()?, async |cluster| {
        works(cluster).await?;
        strangers_are_refused(cluster).await?;
        let unsecured = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                         WHERE NOT ssl AND usename <> 'postgres' AND client_addr IS NOT NULL";
        ensure!(secured.cluster.sql("postgres", unsecured)? == "0", "every connection to PostgreSQL is encrypted");
        let over_tls = "SELECT count(*) > 2 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl";
        ensure!(secured.cluster.sql("postgres", over_tls)? == "t", "both stores are connected");
        eventually(SOON, "every connection to RabbitMQ is encrypted", async || {
            let connections = secured.node.ctl(&["list_connections", "--silent", "ssl"]).await?;
            let all: Vec<&str> = connections.lines().map(str::trim).collect();
            ensure!(all.len() > 3 && all.iter().all(|ssl| *ssl == "true"), "{connections}");
            Ok(Some(()))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn who_is_not_to_be_trusted_is_told_apart_from_who_is_away() -> Result<()> {
    let secured = Secured::start().await?;
    let database = secured.database("require")?;
    let trusted = secured.path("ca.pem");
    let good = said_by_doctor(&secured, &database, Some(&trusted)).await?;
    ensure!(good.contains("RabbitMQ 3") || good.contains("RabbitMQ 4"), "{good}");
    ensure!(!good.contains("certificate"), "{good}");
    let stranger = Authority::new()?;
    let other = secured.folder.path().join("other.pem");
    std::fs::write(&other, stranger.root())?;
    let untrusted = said_by_doctor(&secured, &database, Some(&other.display().to_string())).await?;
    ensure!(untrusted.matches("invalid peer certificate").count() == 2, "{untrusted}");
    let without = said_by_doctor(&secured, &database, None).await?;
    ensure!(without.matches("SSL_CERT_FILE").count() == 2, "{without}");
    let misnamed = said_by_doctor(&secured, &database.replace("localhost", "127.0.0.1"), Some(&trusted)).await?;
    ensure!(misnamed.contains("certificate not valid for name"), "{misnamed}");
    Ok(())
}

/// A worker with another key is let into nothing, and says so; with the right one it works.
#[tokio::test]
async fn a_worker_of_another_system_gets_no_job() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, key: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, key)?;
        Ok(path.display().to_string())
    };
    let (own, other) = (file("own", INTERNAL_KEY)?, file("other", OTHER_KEY)?);
    let vhost = tests::rabbit::Vhost::fresh().await?;
    let mut setup = Setup::rabbitmq(vhost.urls()).workers(1).gateways(1);
    for program in PROGRAMS {
        setup = setup.set(program, "LONGSHORE_INTERNAL_KEY_FILE", &own);
    }
    scenario(setup, async |cluster| {
        works(cluster).await?;
        let process = cluster.process("worker-0")?;
        let spec = process.spec().clone();
        process.term()?;
        process.exited(SOON).await?;
        process.start_next_as(spec.clone().with("LONGSHORE_INTERNAL_KEY_FILE", &other));
        process.restart()?;
        eventually(SOON, "the worker says that it is not let in", async || {
            let ready = cluster.http("worker-0")?.get("/ready").await?;
            let said = String::from_utf8_lossy(&ready.body).into_owned();
            ensure!(said.contains("LONGSHORE_INTERNAL_KEY_FILE"), "{said}");
            Ok(Some(()))
        })
        .await?;
        let id = cluster.client().accepted(&json!({"task": "noop"})).await?;
        let process = cluster.process("worker-0")?;
        process.term()?;
        process.exited(SOON).await?;
        process.start_next_as(spec);
        cluster.restart("worker-0").await?;
        cluster.client().succeeded(&id, SOON).await?;
        Ok(())
    })
    .await
}
