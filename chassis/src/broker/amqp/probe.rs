//! Asks a broker for its first byte before lapin connects: lapin's connect to a peer that accepts and stays silent (a stopped broker)
//! leaks a thread until the peer wakes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The protocol header of AMQP 0-9-1.
const HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
const DEADLINE: Duration = Duration::from_secs(2);

/// Whether `address` (`host:port`) speaks AMQP, within two seconds.
///
/// # Errors
/// Refused, silent, or something else.
pub(crate) async fn probe(address: &str) -> io::Result<()> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(HEADER).await?;
        // A broker answers with the frame of connection.start: a method frame, type 1.
        match stream.read_u8().await? {
            1 => Ok(()),
            other => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("not AMQP 0-9-1: it answered {other:#04x}")))
            }
        }
    };
    timeout(DEADLINE, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
