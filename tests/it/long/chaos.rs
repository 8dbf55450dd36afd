//! `longshore chaos` itself: a short trial holds every promise, and one that is interrupted leaves nothing behind.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::binaries::binary;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Starting, draining and judging come on top of the seconds.
const TRIAL_WITHIN: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(60);

/// It and everything that it starts put their files here.
fn trial(folder: &std::path::Path, arguments: &str) -> Result<Child> {
    let mut command = Command::new(binary("longshore")?);
    command.arg("chaos").args(arguments.split(' ')).current_dir(folder).env("TMPDIR", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// The report and the history of a trial that held every promise.
pub(super) async fn held(arguments: &str) -> Result<(Value, String)> {
    let folder = tempfile::tempdir()?;
    let trial = trial(folder.path(), &format!("{arguments} --json report.json --history history.jsonl"))?;
    let output = timeout(TRIAL_WITHIN, trial.wait_with_output()).await.context("the trial did not end")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&std::fs::read(folder.path().join("report.json")).context(said)?)?;
    ensure!(output.status.success() && report["held"] == true, "{report:#}");
    Ok((report, std::fs::read_to_string(folder.path().join("history.jsonl"))?))
}

#[tokio::test]
async fn short_trial_holds_every_promise() -> Result<()> {
    let (report, history) = held("--seed 11 --seconds 60 --jobs 1500").await?;
    let counts = &report["counts"];
    ensure!(counts["accepted"].as_u64() > Some(1_000) && counts["terminal"] == counts["accepted"], "{counts}");
    ensure!(counts["handlers_started"].as_u64() > Some(50) && counts["reads"].as_u64() > Some(100), "{counts}");
    ensure!(report["recoveries"].as_array().is_some_and(|faults| faults.len() >= 2), "{report:#}");
    ensure!(history.lines().count() > 5_000 && history.contains(r#""event":"stored""#));
    Ok(())
}

/// Processes whose command line names the folder.
fn left_behind(folder: &std::path::Path) -> Result<Vec<String>> {
    let name = folder.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let place = std::fs::read_link(path.join("cwd")).unwrap_or_default();
        if place.starts_with(folder) || String::from_utf8_lossy(&line).contains(&name) {
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    Ok(found)
}

#[tokio::test]
async fn interrupted_trial_leaves_no_process_and_no_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut trial = trial(folder.path(), "--seed 1 --seconds 60 --jobs 600")?;
    let mut lines = BufReader::new(trial.stderr.take().context("piped")?).lines();
    let begun = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("1/") {
                return Ok(());
            }
        }
        anyhow::bail!("it ended before its first fault")
    };
    timeout(SOON * 2, begun).await.context("it did not begin")??;
    let pid = trial.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).context("it runs")?;
    kill_process(pid, Signal::INT)?;
    let status = timeout(SOON, trial.wait()).await.context("it did not end")??;
    ensure!(status.code() == Some(130), "{status}");
    tests::wait_until(SOON, "nothing is left of it", async || {
        let processes = left_behind(folder.path())?;
        let files = std::fs::read_dir(folder.path())?.count();
        ensure!(processes.is_empty() && files == 0, "{files} files, {processes:?}");
        Ok(true)
    })
    .await
}
