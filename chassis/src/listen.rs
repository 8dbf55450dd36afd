//! Where a program listens.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted; the system's own bound may be lower (`net.core.somaxconn`). Beyond it a connect is dropped and comes again
/// after a second or more, so bursts of clients must fit.
pub const BACKLOG: u32 = 4_096;

/// Listens at an address, also right after another process did.
///
/// # Errors
/// When it is taken, or not ours.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::try_join_all;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_clients_waits_for_nothing_but_to_be_accepted() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connects = try_join_all((0..500).map(|_| TcpStream::connect(address)));
        // Nobody accepts: those beyond the backlog would try again for ever.
        assert_eq!(timeout(Duration::from_secs(20), connects).await.unwrap().unwrap().len(), 500);
    }

    #[tokio::test]
    async fn what_is_taken_is_refused() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let refused = listen(listener.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}
