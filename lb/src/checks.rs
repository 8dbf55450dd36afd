//! Questions to the network about backends: what addresses a name has, and whether `/ready` is well.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::core::health::Check;
use crate::plan::{BACKENDS_MAX, Target};

/// What is read of an answer to a check.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The backends behind the targets, with the weight of each.
pub(crate) async fn resolve(targets: &[Target]) -> BTreeMap<SocketAddr, u32> {
    let mut backends = BTreeMap::new();
    for Target { address, weight } in targets {
        match tokio::net::lookup_host(address.authority().as_str()).await {
            Ok(found) => backends.extend(found.map(|backend| (backend, *weight))),
            Err(error) => tracing::warn!(%error, backend = %address, "the name of a backend is not found"),
        }
    }
    backends.into_iter().take(BACKENDS_MAX).collect()
}

/// Whether there is anything to look up again.
pub(crate) fn has_names(targets: &[Target]) -> bool {
    targets.iter().any(|target| target.address.authority().as_str().parse::<SocketAddr>().is_err())
}

pub(crate) async fn check(address: SocketAddr, limit: Duration) -> Check {
    match tokio::time::timeout(limit, ask(address)).await {
        Ok(Ok(status)) if (200..300).contains(&status) => Check::Ready,
        Ok(Ok(_)) => Check::Declines,
        Ok(Err(_)) | Err(_) => Check::Silent,
    }
}

/// The status that `/ready` has.
async fn ask(address: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /ready HTTP/1.1\r\nhost: {address}\r\nuser-agent: longshore-lb\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    status_of(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    let status = line.get(2..5).filter(|_| line.get(1) == Some(&b' '))?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Option<u16>) {
        assert_eq!(status_of(answer.as_bytes()), expected, "{answer}");
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        check("HTTP/1.1 200 OK\r\n\r\n", Some(200));
        check("HTTP/1.0 503", Some(503));
        for bad in ["", "HTTP/1.1", "HTTP/1.1 2", "HTTP/2 200", "HTTP/1.1 2x0", "SSH-2.0-x"] {
            check(bad, None);
        }
    }
}
