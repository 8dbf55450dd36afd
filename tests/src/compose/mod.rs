//! The system as containers: a Docker Compose project of its own name, its containers within reach to be looked at and killed, all gone
//! when it is over.

pub mod check;
mod container;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

pub use container::Container;

use crate::wait::eventually;

/// Of what docker said before it failed.
const ERROR_LINES: usize = 40;
/// The first build compiles everything, perhaps on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(40 * 60);
const DOCKER_WITHIN: Duration = Duration::from_secs(180);
/// A health check every few seconds, after the restart policy has waited, and a broker that boots.
const HEALED_WITHIN: Duration = Duration::from_secs(120);

/// What `docker-compose.yml` publishes, by the variable that names the port on this machine.
pub const PORTS: [(&str, u16); 8] = [
    ("PORT_LB", 8000),
    ("PORT_GATEWAY_1", 5000),
    ("PORT_GATEWAY_2", 5003),
    ("PORT_GATEWAY_3", 5006),
    ("PORT_STORE", 5002),
    ("PORT_CACHE", 5004),
    ("PORT_RABBITMQ", 5672),
    ("PORT_RABBITMQ_UI", 15672),
];
/// Images that the project builds.
const BUILT: [&str; 6] = ["gateway", "lb", "cache-svc", "store-svc", "worker", "commands"];

#[derive(Debug)]
pub struct Project {
    pub name: String,
    /// Holds `docker-compose.yml`.
    pub folder: PathBuf,
    /// What a person would put into `.env`.
    pub variables: BTreeMap<String, String>,
}

impl Project {
    /// The port on this machine of one of [`PORTS`].
    pub fn port(&self, variable: &str) -> Result<u16> {
        let port = self.variables.get(variable).with_context(|| format!("no {variable}"))?;
        port.parse().with_context(|| format!("{variable}={port}"))
    }

    /// `docker compose` with these arguments; what it printed.
    pub async fn compose(&self, arguments: &[&str], within: Duration) -> Result<String> {
        let mut command = Command::new("docker");
        command.args(["compose", "--project-name", &self.name]).args(arguments);
        command.current_dir(&self.folder).envs(&self.variables);
        run(&mut command, within).await
    }

    /// Builds, starts, and returns when every health check has passed.
    pub async fn up(&self, arguments: &[&str]) -> Result<()> {
        let arguments = [&["up", "--detach", "--wait"], arguments].concat();
        self.compose(&arguments, UP_WITHIN).await.map(drop)
    }

    /// Stops and removes the containers; the volumes stay.
    pub async fn down(&self) -> Result<()> {
        self.compose(&["down", "--remove-orphans"], DOCKER_WITHIN).await.map(drop)
    }

    /// Removes everything of the project: containers, networks, volumes, and the images that it built.
    pub async fn remove(&self) -> Result<()> {
        self.compose(&["--profile", "*", "down", "--volumes", "--remove-orphans"], DOCKER_WITHIN).await?;
        let images = BUILT.map(|image| format!("{}-{image}", self.name));
        // Some may never have been built.
        docker(&[&["image", "rm", "--force"], images.each_ref().map(String::as_str).as_slice()].concat()).await.ok();
        Ok(())
    }

    pub async fn containers(&self) -> Result<Vec<Container>> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let ids = docker(&["ps", "--all", "--quiet", "--filter", &label]).await?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let described: Vec<Value> = serde_json::from_str(&docker(&[&["inspect"], ids.as_slice()].concat()).await?)?;
        let mut containers: Vec<Container> = described.into_iter().map(Container::new).collect();
        containers.sort_by(|left, right| left.name().cmp(right.name()));
        Ok(containers)
    }

    pub async fn container(&self, name: &str) -> Result<Container> {
        let mut containers = self.containers().await?;
        containers.retain(|container| container.name() == name);
        containers.pop().with_context(|| format!("no container {name}"))
    }

    /// Kills the container's first process from outside, as the kernel would when memory runs out, and waits until the restart policy has
    /// started it again and its health check has passed.
    pub async fn kill_and_heal(&self, victim: &Container) -> Result<()> {
        let pid = rustix::process::Pid::from_raw(victim.pid()?).context("a running container has a process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .with_context(|| format!("killing {}, process {pid:?} of this machine; it takes root", victim.name()))?;
        eventually(HEALED_WITHIN, &format!("{} runs again", victim.name()), async || {
            let now = self.container(victim.name()).await?;
            ensure!(now.restarts() > victim.restarts(), "it was not restarted: {}", now.state());
            ensure!(now.is_healthy(), "it is not healthy: {}", now.state());
            Ok(Some(()))
        })
        .await
    }
}

/// `docker` with these arguments; what it printed.
pub async fn docker(arguments: &[&str]) -> Result<String> {
    run(Command::new("docker").args(arguments), DOCKER_WITHIN).await
}

async fn run(command: &mut Command, within: Duration) -> Result<String> {
    let what = format!("{:?}", command.as_std());
    let output = tokio::time::timeout(within, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let output = output.with_context(|| format!("{what} did not end within {within:?}"))?.context("starting docker")?;
    if !output.status.success() {
        // Why a build failed is on standard output.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let skipped = said.lines().count().saturating_sub(ERROR_LINES);
        bail!("{what}: {}\n{}", output.status, said.lines().skip(skipped).collect::<Vec<_>>().join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
