//! What a connection is after its client and a backend have agreed on another protocol: bytes both ways, until one side closes or both are
//! silent for too long.

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use crate::connection::within;
use crate::pool::InFlight;
use crate::record::Record;
use crate::socket::Socket;
use crate::watch::Watch;

/// A backend's side of it.
pub(crate) struct Tunnel {
    pub(crate) switched: Switched,
    pub(crate) in_flight: InFlight,
    pub(crate) record: Record,
}

/// A connection on which another protocol is spoken from now on.
pub(crate) struct Switched {
    pub(crate) stream: TcpStream,
    /// What came right behind the answer's head.
    pub(crate) early: Bytes,
}

impl Tunnel {
    /// Passes bytes on; `early` came right behind the request's head.
    pub(crate) async fn run(self, mut socket: Socket, early: Bytes, watch: &Watch) {
        let Tunnel { switched: Switched { mut stream, early: answered }, in_flight, mut record } = self;
        watch.tunnel();
        let copying = async {
            stream.write_all(&early).await?;
            socket.write_all(&answered).await?;
            copy_bidirectional(&mut socket, &mut stream).await
        };
        match within(watch, copying).await {
            Some(Ok((_, to_client))) => {
                record.passed(to_client);
                record.ended();
            }
            Some(Err(error)) => tracing::debug!(%error, "a tunnel broke"),
            None => tracing::debug!("a tunnel was silent for too long"),
        }
        drop(in_flight);
    }
}
