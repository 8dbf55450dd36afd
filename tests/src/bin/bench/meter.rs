//! CPU time and memory of the parts of a contender, each a process with all its descendants.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use tests::usage::{Usage, cpu_of_self_and_ended_children, cpu_of_tree};

use crate::record::Run;

/// Name and process of each part; parts of one name are added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    parts: Vec<(String, u32)>,
}

/// A reading of all parts and of the load generator.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    parts: BTreeMap<String, Duration>,
    generator: Duration,
}

impl Meter {
    pub(crate) fn add(&mut self, name: &str, pid: u32) {
        self.parts.push((name.to_owned(), pid));
    }

    pub(crate) fn read(&self) -> Result<Reading> {
        let mut parts = BTreeMap::new();
        for (name, pid) in &self.parts {
            let cpu = cpu_of_tree(*pid).with_context(|| format!("{name} has ended"))?;
            *parts.entry(name.clone()).or_default() += cpu;
        }
        Ok(Reading { parts, generator: cpu_of_self_and_ended_children()? })
    }

    /// The run with what it cost since `before`, for each of its operations.
    pub(crate) fn charge(&self, before: &Reading, mut run: Run) -> Result<Run> {
        let now = self.read()?;
        let each = |now: Duration, then: Duration| per_operation(now.saturating_sub(then), run.operations);
        run.cpu_us = now.parts.iter().map(|(name, &cpu)| (name.clone(), each(cpu, before.parts[name]))).collect();
        run.generator_us = each(now.generator, before.generator);
        for (name, pid) in &self.parts {
            *run.resident_mib.entry(name.clone()).or_default() += mib(Usage::of(*pid)?.resident_bytes);
        }
        Ok(run)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
fn per_operation(cpu: Duration, operations: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / operations.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a size is far below 2^52")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1_u32 << 20)
}
