//! HTTP/2 by clients of other houses: they are served, and what one of them does to the balancer costs the others nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::Balancer;
use super::backends::Backend;

const LIMIT: Duration = Duration::from_secs(120);

/// What a program says; an error if it fails.
async fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let running = Command::new(program).args(arguments).kill_on_drop(true).output();
    let output = timeout(LIMIT, running).await.context("it does not end")?.with_context(|| program.to_owned())?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(said)
}

async fn python(balancer: &Balancer, folder: &Path, case: &str) -> Result<()> {
    let script = folder.join("http2_client.py");
    std::fs::write(&script, include_str!("http2_client.py"))?;
    let port = balancer.address.port().to_string();
    said("/usr/bin/python3", &[&script.display().to_string(), &port, case]).await.map(drop)
}

#[tokio::test]
async fn python_and_h2load_are_served_and_floods_cost_nobody_else_anything() -> Result<()> {
    let (backend, folder) = (Backend::axum().await?, TempDir::new()?);
    let balancer = Balancer::before(&backend).await?;
    let address = format!("http://{}/data", balancer.address);
    for case in ["serves", "resets", "pings", "settings", "windows"] {
        python(&balancer, folder.path(), case).await?;
        let load = said("h2load", &["-n", "2000", "-c", "10", "-m", "50", &address]).await?;
        ensure!(load.contains("2000 succeeded, 0 failed"), "after {case}: {load}");
    }
    balancer.stop().await
}
