//! What `docker compose up` promises, step by step: a first job without a manual step, closed containers, the client scripts, an event
//! published at the broker, each container killed under load, more workers, and everything still there after `down` and `up`.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep_until};

use super::{Project, docker};
use crate::client::Client;
use crate::http::Http;
use crate::seed;
use crate::wait::eventually;

/// One job each, while containers are killed.
const SUBMIT_EVERY: Duration = Duration::from_millis(100);
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// A killed worker's lease, and the jobs that gathered meanwhile.
const ENDED_WITHIN: Duration = Duration::from_secs(120);
const APPLIED_WITHIN: Duration = Duration::from_secs(1);
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// `admin` and `guest`, each with the password that everybody knows.
const ADMIN: &str = "Basic YWRtaW46YWRtaW4tZGV2";
const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";
const SLOTS: usize = 8;
const SCALED: usize = 4;
const SCALING: [&str; 2] = ["--scale", "worker=4"];
/// Images that have more in them than a program: tasks are programs, and so is a broker.
const WITH_SHELL: [&str; 2] = ["worker", "rabbitmq"];

/// The client scripts, and a Python that has `requests`.
#[derive(Debug)]
pub struct Scripts {
    pub folder: PathBuf,
    pub python: PathBuf,
    pub rounds: usize,
}

#[derive(Debug)]
pub struct Check<'a> {
    project: &'a Project,
    client: Client,
    say: fn(&str),
}

impl<'a> Check<'a> {
    /// `say` is told of each step that held.
    pub fn new(project: &'a Project, say: fn(&str)) -> Result<Self> {
        let client = Client::new(at(project.port("PORT_LB")?));
        Ok(Self { project, client, say })
    }

    pub async fn run(&self, scripts: Option<&Scripts>) -> Result<()> {
        self.first_job().await?;
        self.containers_are_closed().await?;
        self.ui_is_for_admin().await?;
        if let Some(scripts) = scripts {
            self.scripts_pass(scripts).await?;
        }
        self.event_invalidates().await?;
        self.kills_lose_nothing().await?;
        self.more_workers().await?;
        self.state_survives().await?;
        self.backup_is_restored().await
    }

    fn http(&self) -> &Http {
        self.client.http()
    }

    async fn first_job(&self) -> Result<()> {
        let began = Instant::now();
        self.project.up(&["--build"]).await?;
        let up = began.elapsed();
        let id = self.client.accepted(&json!({"task": "noop"})).await?;
        self.client.succeeded(&id, SEEN_WITHIN).await?;
        (self.say)(&format!(
            "up --build --wait in {} s, the first submit was answered 202 and its job ran",
            up.as_secs()
        ));
        Ok(())
    }

    async fn containers_are_closed(&self) -> Result<()> {
        let containers = self.project.containers().await?;
        for container in &containers {
            let name = container.name();
            ensure!(container.laxities().is_empty(), "{name}: {:?}", container.laxities());
            ensure!(container.is_healthy(), "{name}: {}", container.state());
            let shell = docker(&["exec", container.id(), "/bin/sh", "-c", ":"]).await.is_ok();
            ensure!(shell == WITH_SHELL.contains(&container.service()), "{name} has a shell: {shell}");
        }
        (self.say)(&format!(
            "{} containers: not root, read-only, no capabilities, limited, on 127.0.0.1 only",
            containers.len()
        ));
        Ok(())
    }

    async fn ui_is_for_admin(&self) -> Result<()> {
        let ui = at(self.project.port("PORT_RABBITMQ_UI")?);
        let whoami = async |who| ui.send(Method::GET, "/api/whoami", &[("authorization", who)], None).await;
        let admin = whoami(ADMIN).await?.expect(200)?;
        ensure!(admin["name"] == "admin", "{admin}");
        whoami(GUEST).await?.expect(401)?;
        let version = ui.send(Method::GET, "/api/overview", &[("authorization", ADMIN)], None).await?.expect(200)?;
        (self.say)(&format!("RabbitMQ {}: the management UI lets admin in, guest not", version["rabbitmq_version"]));
        Ok(())
    }

    async fn scripts_pass(&self, scripts: &Scripts) -> Result<()> {
        let before = self.client.list("").await?.len();
        seed::run_scripts(&scripts.folder, &scripts.python, scripts.rounds, self.http()).await?;
        self.client.settled(ENDED_WITHIN).await?;
        let logs = self.project.compose(&["logs", "--no-color", "worker"], SEEN_WITHIN).await?;
        seed::each_task_was_run_and_logged(&self.client, before, &logs).await?;
        (self.say)(&format!("the client scripts pass, {} invalidations", scripts.rounds));
        Ok(())
    }

    /// As an operator does it at the management UI.
    async fn event_invalidates(&self) -> Result<()> {
        eventually(SEEN_WITHIN, "the key is cached", async || {
            Ok((self.http().get("/data").await?.expect(200)?["cached"] == true).then_some(()))
        })
        .await?;
        let event = json!({"properties": {}, "routing_key": "", "payload": r#"{"key":"my_data"}"#, "payload_encoding": "string"});
        let path = "/api/exchanges/longshore/cache.invalidate/publish";
        let ui = at(self.project.port("PORT_RABBITMQ_UI")?);
        let routed = ui.send(Method::POST, path, &[("authorization", ADMIN)], Some(&event)).await?.expect(200)?;
        ensure!(routed["routed"] == true, "{routed}");
        // Not a wait for something to happen: the promise is about reads that begin later than this.
        sleep_until(Instant::now() + APPLIED_WITHIN).await;
        let read = self.http().get("/data").await?.expect(200)?;
        ensure!(read["cached"] == false, "{read}");
        (self.say)("an event published at the broker invalidated within a second");
        Ok(())
    }

    async fn kills_lose_nothing(&self) -> Result<()> {
        self.http().put("/data/price", &json!({"data": {"eur": 12}})).await?.expect(200)?;
        let done = Cell::new(false);
        let submit = async {
            let (mut tick, mut refused) = (interval(SUBMIT_EVERY), 0_usize);
            while !done.get() {
                tick.tick().await;
                // Refused or without an answer is honest; only what was accepted is owed.
                let answer = self.client.submit(&json!({"task": "noop"})).await;
                refused += usize::from(!answer.is_ok_and(|answer| answer.status == 202));
            }
            refused
        };
        let kill = async {
            let result = self.kill_each().await;
            done.set(true);
            result
        };
        let (refused, killed) = futures_util::join!(submit, kill);
        let killed = killed?;
        self.client.reconcile(ENDED_WITHIN).await?;
        let failed = self.client.list("status=failed").await?;
        ensure!(failed.is_empty(), "failed: {failed:?}");
        let jobs = self.client.list("").await?.len();
        (self.say)(&format!(
            "kill -9 of {killed}, each healed: {jobs} jobs, none lost, {refused} submits refused meanwhile"
        ));
        self.price_is_kept().await
    }

    async fn kill_each(&self) -> Result<String> {
        let mut healed = Vec::new();
        for victim in self.project.containers().await? {
            let began = Instant::now();
            self.project.kill_and_heal(&victim).await?;
            healed.push(format!("{} ({} s)", victim.name(), began.elapsed().as_secs()));
        }
        Ok(healed.join(", "))
    }

    async fn price_is_kept(&self) -> Result<()> {
        let price = self.http().get("/data/price").await?.expect(200)?;
        ensure!(price["data"] == json!({"eur": 12}), "{price}");
        Ok(())
    }

    async fn more_workers(&self) -> Result<()> {
        self.project.up(&SCALING).await?;
        let ui = at(self.project.port("PORT_RABBITMQ_UI")?);
        eventually(SEEN_WITHIN, "all workers consume", async || {
            let path = "/api/consumers/longshore";
            let consumers = ui.send(Method::GET, path, &[("authorization", ADMIN)], None).await?.expect(200)?;
            let consumers = consumers.as_array().context("a list")?.iter();
            let slots = consumers.filter(|consumer| consumer["queue"]["name"] == "jobs.default");
            let slots: u64 = slots.filter_map(|consumer| consumer["prefetch_count"].as_u64()).sum();
            ensure!(slots == (SCALED * SLOTS) as u64, "{slots} slots consume");
            Ok(Some(()))
        })
        .await?;
        let ids = self.client.accepted_all(SCALED * SLOTS, |_| json!({"task": "noop"})).await?;
        for id in ids {
            self.client.succeeded(&id, ENDED_WITHIN).await?;
        }
        (self.say)(&format!("--scale worker=4: {} slots consume", SCALED * SLOTS));
        Ok(())
    }

    async fn state_survives(&self) -> Result<()> {
        let shown = |mut jobs: Vec<Value>| {
            jobs.sort_by_key(|job| job["job_id"].to_string());
            jobs
        };
        let before = shown(self.client.list("").await?);
        self.project.down().await?;
        let left = self.project.containers().await?;
        ensure!(left.is_empty(), "`down` left containers: {left:?}");
        let began = Instant::now();
        self.project.up(&[]).await?;
        let up = began.elapsed();
        let after = shown(self.client.list("").await?);
        ensure!(before == after, "{} jobs before, {} after", before.len(), after.len());
        self.price_is_kept().await?;
        let id = self.client.accepted(&json!({"task": "noop"})).await?;
        self.client.succeeded(&id, SEEN_WITHIN).await?;
        self.client.reconcile(ENDED_WITHIN).await?;
        (self.say)(&format!(
            "down and up (in {} s): all {} jobs and the data are as before",
            up.as_secs(),
            before.len()
        ));
        Ok(())
    }

    /// By the commands of docs/operations.md.
    async fn backup_is_restored(&self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let copy = folder.path().join("backup.db").display().to_string();
        self.compose(&["run", "--rm", "longshore", "backup", "/data/backup.db"]).await?;
        self.compose(&["cp", "store-svc:/data/backup.db", &copy]).await?;
        self.http().put("/data/price", &json!({"data": {"eur": 13}})).await?.expect(200)?;
        self.compose(&["stop", "store-svc"]).await?;
        self.compose(&["cp", &copy, "store-svc:/data/restore.db"]).await?;
        self.compose(&["run", "--rm", "longshore", "restore", "/data/restore.db"]).await?;
        self.compose(&["start", "store-svc"]).await?;
        eventually(ENDED_WITHIN, "the data is as it was backed up", async || {
            self.price_is_kept().await?;
            Ok(Some(()))
        })
        .await?;
        let id = self.client.accepted(&json!({"task": "noop"})).await?;
        self.client.succeeded(&id, SEEN_WITHIN).await?;
        (self.say)("a backup made while it ran is what a restore brings back");
        Ok(())
    }

    async fn compose(&self, arguments: &[&str]) -> Result<()> {
        self.project.compose(arguments, SEEN_WITHIN).await.map(drop)
    }
}

fn at(port: u16) -> Http {
    Http::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).with_deadline(REQUEST_WITHIN)
}
