//! Ports for the programs under test: below the range that the kernel hands out for outgoing connections, so that a port stays free
//! between the moment it is chosen, the start of its program, and a restart in place.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback address that nobody listens on and that this process has not given out lately.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..COUNT {
        let candidate = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + next_offset()));
        if TcpListener::bind(candidate).is_ok() {
            return Ok(candidate);
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
