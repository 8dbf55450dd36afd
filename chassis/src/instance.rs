//! Which process this is, for people who run several: shown by the store, by RabbitMQ's management UI, and in logs.

use std::net::SocketAddr;

/// `host:pid`, for a program that nobody calls by an address.
#[must_use]
pub fn by_process() -> String {
    format!("{}:{}", host(), std::process::id())
}

/// `host:port`, for a program that serves others.
#[must_use]
pub fn by_port(listen: SocketAddr) -> String {
    format!("{}:{}", host(), listen.port())
}

/// A container's host name is the start of its id, unless it was given one.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
