//! What the numbers were measured on.

use std::collections::BTreeMap;
use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::programs::Installed;
use crate::record::Machine;

const PINGORA: &str = include_str!("../../../bench/balancer/pingora/Cargo.toml");

/// Read before anything runs.
pub(crate) async fn describe(installed: &Installed) -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let (processors, memory, load) = (read("/proc/cpuinfo")?, read("/proc/meminfo")?, read("/proc/loadavg")?);
    let after = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([':', ' ', '\t']).trim().to_owned()
    };
    let memory_kib: u64 = after(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(Machine {
        cores: available_parallelism()?.get(),
        processor: after(&processors, "model name"),
        memory_mib: memory_kib / 1024,
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        load_before: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        versions: versions(installed).await?,
    })
}

async fn versions(installed: &Installed) -> Result<BTreeMap<String, String>> {
    let python = installed.python("python")?.display().to_string();
    let node = installed.node_modules()?;
    let mut versions = BTreeMap::new();
    let commands: [(&str, &[&str]); 8] = [
        ("HAProxy", &["haproxy", "-v"]),
        ("nginx", &["nginx", "-v"]),
        ("Redis", &["redis-server", "--version"]),
        ("wrk", &["wrk", "-v"]),
        ("Node", &["node", "--version"]),
        ("Python", &[&python, "--version"]),
        ("slowhttptest", &["dpkg-query", "--show", "--showformat=${Version}", "slowhttptest"]),
        ("RabbitMQ", &["dpkg-query", "--show", "--showformat=${Version}", "rabbitmq-server"]),
    ];
    for (name, command) in commands {
        versions.insert(name.to_owned(), said(command).await);
    }
    versions.insert("Pingora".to_owned(), pinned(PINGORA, "pingora").unwrap_or("unknown").to_owned());
    for package in ["fastapi", "celery", "uvicorn"] {
        let program = format!("import importlib.metadata as m; print(m.version('{package}'))");
        versions.insert(package.to_owned(), said(&[&python, "-c", &program]).await);
    }
    for package in ["fastify", "bullmq"] {
        let text = fs::read_to_string(node.join(package).join("package.json"))?;
        let json: serde_json::Value = serde_json::from_str(&text)?;
        versions.insert(package.to_owned(), json["version"].as_str().unwrap_or("unknown").to_owned());
    }
    Ok(versions)
}

/// The exact version that a manifest asks for.
fn pinned<'a>(manifest: &'a str, package: &str) -> Option<&'a str> {
    let of_package = |line: &'a str| line.strip_prefix(package)?.trim_start().strip_prefix('=');
    manifest.lines().find_map(of_package)?.split_once("\"=")?.1.split('"').next()
}

/// The first thing in the first line of its output that begins with a digit.
async fn said(command: &[&str]) -> String {
    let [program, arguments @ ..] = command else { return String::new() };
    let Ok(output) = Command::new(program).args(arguments).output().await else { return "not found".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    version_in(&String::from_utf8_lossy(&text))
}

fn version_in(text: &str) -> String {
    let words = text.lines().next().unwrap_or_default().split([' ', '/', '=']);
    let mut words = words.map(|word| word.trim_start_matches('v'));
    words.find(|word| word.starts_with(|letter: char| letter.is_ascii_digit())).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let check = |said: &str, version: &str| assert_eq!(version_in(said), version, "{said}");
        check("HAProxy version 2.6.12-1+deb12u4 2024/01/01 - https://haproxy.org/", "2.6.12-1+deb12u4");
        check("nginx version: nginx/1.22.1\n", "1.22.1");
        check("Redis server v=7.0.15 sha=00000000:0", "7.0.15");
        check("v20.20.2\n", "20.20.2");
        check("", "unknown");
    }

    #[test]
    fn a_pinned_version_is_found_in_a_manifest() {
        let manifest =
            "[package]\nversion = \"1.0.0\"\n[dependencies]\na-b = \"=1.2.3\"\na = { version = \"=4.5.6\" }\n";
        let check = |package: &str, version| assert_eq!(pinned(manifest, package), version, "{package}");
        check("a-b", Some("1.2.3"));
        check("a", Some("4.5.6"));
        check("b", None);
    }
}
