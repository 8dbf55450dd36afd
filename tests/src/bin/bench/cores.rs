//! Cores kept apart: whatever loads the machine has the last one to itself, what is measured has all others.

use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};

/// These processes, and this one, stay off the last core, and so does what they start. They have it again with the end of this.
pub(crate) struct Apart {
    processes: Vec<u32>,
    last: usize,
}

impl Apart {
    pub(crate) fn keep(others: &[u32]) -> Result<Self> {
        let cores = available_parallelism()?.get();
        ensure!(cores > 1, "there is one core only: what loads it cannot be kept apart from what is measured");
        let apart = Self { processes: [&[std::process::id()], others].concat(), last: cores - 1 };
        apart.allow(&format!("0-{}", apart.last - 1))?;
        Ok(apart)
    }

    /// The core that nothing else runs on, as `taskset` names it.
    pub(crate) fn free(&self) -> String {
        self.last.to_string()
    }

    fn allow(&self, cores: &str) -> Result<()> {
        for process in &self.processes {
            let mut command = Command::new("taskset");
            command.args(["--all-tasks", "--cpu-list", "--pid", cores, &process.to_string()]);
            let said = command.output().context("running taskset (on Debian or Ubuntu: apt-get install util-linux)")?;
            ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
        Ok(())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Err(error) = self.allow(&format!("0-{}", self.last)) {
            eprintln!("bench: {error:#}");
        }
    }
}
