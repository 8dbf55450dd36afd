//! A TCP proxy before the node that can cut connections and swallow what the broker answers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    answers_lost: bool,
    /// Connections made under a smaller number are cut.
    cuts: u64,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    conditions: watch::Sender<Conditions>,
    _acceptor: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (conditions, receiver) = watch::channel(Conditions::default());
        let mut acceptor = JoinSet::new();
        acceptor.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, upstream, receiver.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, conditions, _acceptor: acceptor }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn cut(&self) {
        self.conditions.send_modify(|conditions| conditions.cuts += 1);
    }

    pub(crate) fn lose_answers(&self, lost: bool) {
        self.conditions.send_modify(|conditions| conditions.answers_lost = lost);
    }
}

async fn forward(client: TcpStream, upstream: SocketAddr, mut conditions: watch::Receiver<Conditions>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let born = conditions.borrow().cuts;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = conditions.clone();
    let back = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read) = from_server.read(&mut buffer).await {
            let lost = answers.borrow().answers_lost;
            if read == 0 || (!lost && to_client.write_all(&buffer[..read]).await.is_err()) {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = back => {}
        _ = conditions.wait_for(|now| now.cuts > born) => {}
    }
}
