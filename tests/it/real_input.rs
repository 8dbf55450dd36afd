//! Real work on real input: the shipped `checksum` task over files of this machine, compared with `sha256sum`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{Cluster, Setup, scenario};
use tokio::process::Command;

use crate::SOON;

const FILES: usize = 500;
/// Larger files would measure the disk.
const LARGEST_BYTES: u64 = 1024 * 1024;

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace is above this crate")
}

/// The first so many regular files under `/usr/share`, without symbolic links, in the order of their names in each folder.
fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/usr/share")];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.len() <= LARGEST_BYTES && entry.path().to_str().is_some() {
                found.push(entry.path());
            }
            if found.len() == FILES {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

async fn sha256sums(files: &[PathBuf]) -> Result<BTreeMap<String, String>> {
    let output = Command::new("sha256sum").arg("--zero").args(files).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    let pairs = lines.split_terminator('\0').map(|line| line.split_once("  ").context("a sum and a path"));
    pairs.map(|pair| pair.map(|(sum, path)| (path.to_owned(), sum.to_owned()))).collect()
}

async fn checksums(cluster: &mut Cluster) -> Result<()> {
    let files = files()?;
    ensure!(files.len() == FILES, "only {} files under /usr/share", files.len());
    let sums = sha256sums(&files).await?;
    let client = cluster.client();
    let ids =
        client.accepted_all(FILES, |number| json!({"task": "checksum", "payload": {"path": files[number]}})).await?;
    client.settled(Duration::from_secs(180)).await?;
    for (id, file) in ids.iter().zip(&files) {
        let job = client.succeeded(id, SOON).await?;
        let expected = sums.get(&file.display().to_string()).context("sha256sum told of every file")?;
        ensure!(job["result"]["sha256"] == *expected, "{}: {job}, not {expected}", file.display());
    }
    Ok(())
}

async fn missing_file(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    let missing = "/usr/share/there-is-no-such-file";
    let body = json!({"task": "checksum", "payload": {"path": missing}, "max_attempts": 2});
    let id = client.accepted(&body).await?;
    let job = client.ended(&id, SOON).await?;
    ensure!(job["status"] == "failed" && job["attempt"] == 2 && job["error"]["kind"] == "failed", "{job}");
    let message = job["error"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("No such file"), "the program's stderr is not in {message:?}");
    Ok(())
}

#[tokio::test]
async fn checksums_of_500_files_equal_those_of_sha256sum() -> Result<()> {
    let setup = Setup::embedded().task_file(root()?.join("examples/tasks.toml"));
    scenario(setup, async |cluster| {
        checksums(cluster).await?;
        missing_file(cluster).await
    })
    .await
}
