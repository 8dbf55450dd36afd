//! A Redis of one's own, without a service: as durable as the contender needs it, asked in its own protocol.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::Process;
use tests::ports::free_address;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::programs;

/// When what was written is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// An fsync before each answer: what was acknowledged survives a power cut.
    Always,
    /// An fsync each second: a power cut loses up to two seconds of acknowledged writes.
    EverySecond,
    /// A cache.
    None,
}

#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Durability {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Always => &["--appendonly", "yes", "--appendfsync", "always"],
            Self::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
            Self::None => &["--appendonly", "no"],
        }
    }
}

impl Redis {
    pub(crate) async fn start(folder: &Path, name: &str, durability: Durability) -> Result<Self> {
        let address = free_address()?;
        let data = folder.join(name);
        std::fs::create_dir(&data)?;
        let (port, data) = (address.port().to_string(), data.display().to_string());
        let mut arguments = vec!["--bind", "127.0.0.1", "--port", &port, "--dir", &data, "--save", ""];
        arguments.extend(durability.arguments());
        let mut process = programs::start(folder, name, "redis-server", &arguments, &[])?;
        programs::until(&mut process, async || Ok((ask(address, 0, "PING").await? == "+PONG").then_some(()))).await?;
        Ok(Self { address, process })
    }

    pub(crate) fn url(&self, database: u8) -> String {
        format!("redis://{}/{database}", self.address)
    }
}

/// The answer to one command that is answered in one line, as it came.
pub(crate) async fn ask(address: SocketAddr, database: u8, command: &str) -> Result<String> {
    let mut stream = BufStream::new(TcpStream::connect(address).await?);
    stream.write_all(format!("SELECT {database}\r\n{command}\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut lines = stream.lines();
    let mut answer = String::new();
    for _ in ["to SELECT", "to the command"] {
        answer = lines.next_line().await?.with_context(|| format!("Redis gave no answer to {command}"))?;
        ensure!(!answer.starts_with('-'), "Redis to {command}: {answer}");
    }
    Ok(answer)
}

/// The answer as a number.
pub(crate) async fn count(address: SocketAddr, database: u8, command: &str) -> Result<u64> {
    let answer = ask(address, database, command).await?;
    answer.trim_start_matches(':').parse().with_context(|| format!("Redis to {command}: {answer}"))
}
