//! Ports below the range that the kernel hands out for outgoing connections, so that a node can be started again on its own.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const FIRST: u16 = 12_000;
const COUNT: u16 = 8_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback port that nobody listens on and that this process has not given out lately.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> Result<u16> {
    for _ in 0..COUNT {
        let port = FIRST + next_offset();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT - 1)
}

/// Test binaries that run at the same time start far apart, by their process id.
fn next_offset() -> u16 {
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
    (start.wrapping_mul(97) % COUNT + step) % COUNT
}
