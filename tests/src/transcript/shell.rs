//! One `sh` for a page. It runs the blocks one after the other, each when it is told to, so that variables, jobs and what runs in the
//! background last from block to block, as in a terminal. It is a process of its own like every program under test: gone when dropped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Process, Spec};
use crate::wait::eventually;

/// Of the shell's `PATH`; a page adds to it what it needs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// On a terminal, curl draws no meter beside an answer.
const CURLRC: &str = "silent\nshow-error\n";

#[derive(Debug)]
pub struct Shell {
    process: Process,
    /// Scripts and signs, beside the folder in which the commands run.
    notes: TempDir,
    /// How much of the output was there when the present block began.
    seen: usize,
    block: usize,
}

impl Shell {
    /// A shell in `folder` that is about to run `blocks`.
    pub fn start(folder: &Path, blocks: &[String], more: &[(String, String)]) -> Result<Self> {
        let notes = tempfile::Builder::new().prefix("longshore-shell-").tempdir()?;
        let mut script = format!("cd {} || exit 1\n", folder.display());
        for (number, commands) in blocks.iter().enumerate() {
            let (block, go, status) =
                (file(&notes, number, "sh"), file(&notes, number, "go"), file(&notes, number, "status"));
            fs::write(&block, commands)?;
            writeln!(script, "until [ -e {} ]; do sleep 0.02; done", go.display())?;
            writeln!(script, ". {} </dev/null", block.display())?;
            // Renamed, so that it is never read half written.
            writeln!(script, "echo $? >{0}.new; mv {0}.new {0}", status.display())?;
        }
        // It leads the group of all that the page left in the background, so it must be there to be ended with them.
        script.push_str("exec sleep infinity\n");
        let main = notes.path().join("page.sh");
        fs::write(&main, script)?;
        fs::write(notes.path().join(".curlrc"), CURLRC)?;
        let home = notes.path().display().to_string();
        let mut environment = BTreeMap::from([("HOME".to_owned(), home), ("PATH".to_owned(), PATH.to_owned())]);
        environment.extend(more.iter().cloned());
        let spec = Spec {
            name: "page".to_owned(),
            binary: PathBuf::from("sh"),
            arguments: vec![main.display().to_string()],
            environment,
            folder: notes.path().to_owned(),
        };
        Ok(Self { process: Process::start(spec)?, notes, seen: 0, block: 0 })
    }

    /// Runs the next block; returns its exit status.
    pub async fn next(&mut self, within: Duration) -> Result<i32> {
        self.seen = self.process.log().len();
        fs::write(file(&self.notes, self.block, "go"), "")?;
        let status = file(&self.notes, self.block, "status");
        self.block += 1;
        let ended = eventually(within, "the commands end", async || {
            if let Ok(text) = fs::read_to_string(&status) {
                return Ok(Some(text.trim().parse::<i32>()?));
            }
            if let Some(ended) = self.process.ended()? {
                return Ok(Some(ended.code().context("the shell was killed")?));
            }
            Ok(None)
        });
        match ended.await {
            Ok(code) if status.exists() => Ok(code),
            Ok(code) => bail!("the shell ended with {code}; it printed\n{}", self.printed()),
            Err(error) => Err(error.context(format!("it printed\n{}", self.printed()))),
        }
    }

    /// What was printed since the present block began, by it or in the background.
    pub fn printed(&self) -> String {
        self.process.log().split_off(self.seen)
    }
}

fn file(notes: &TempDir, number: usize, what: &str) -> PathBuf {
    notes.path().join(format!("{number}.{what}"))
}
