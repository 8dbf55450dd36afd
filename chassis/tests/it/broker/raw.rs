//! Just enough AMQP by hand to publish what no client library would: a message id that is not UTF-8.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HAS_MESSAGE_ID: u16 = 1 << 7;

pub(crate) async fn publish_broken(broker: SocketAddr, vhost: &str, exchange: &str, routing_key: &str) {
    let mut stream = TcpStream::connect(broker).await.unwrap();
    stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    answer(&mut stream).await;
    let mut start_ok = method(10, 11);
    start_ok.extend([0; 4]);
    short(&mut start_ok, b"PLAIN");
    let login = b"\0admin\0admin-dev";
    start_ok.extend(u32::try_from(login.len()).unwrap().to_be_bytes());
    start_ok.extend(login);
    short(&mut start_ok, b"en_US");
    send(&mut stream, METHOD, 0, &start_ok).await;
    answer(&mut stream).await;
    let mut tune_ok = method(10, 31);
    tune_ok.extend(16_u16.to_be_bytes());
    tune_ok.extend(131_072_u32.to_be_bytes());
    tune_ok.extend(0_u16.to_be_bytes());
    send(&mut stream, METHOD, 0, &tune_ok).await;
    let mut open = method(10, 40);
    short(&mut open, vhost.as_bytes());
    open.extend([0, 0]);
    send(&mut stream, METHOD, 0, &open).await;
    answer(&mut stream).await;
    let mut open = method(20, 10);
    open.push(0);
    send(&mut stream, METHOD, 1, &open).await;
    answer(&mut stream).await;
    let mut publish = method(60, 40);
    publish.extend([0, 0]);
    short(&mut publish, exchange.as_bytes());
    short(&mut publish, routing_key.as_bytes());
    publish.push(0);
    send(&mut stream, METHOD, 1, &publish).await;
    let body = b"broken";
    let mut header = method(60, 0);
    header.extend((body.len() as u64).to_be_bytes());
    header.extend(HAS_MESSAGE_ID.to_be_bytes());
    short(&mut header, b"\xff\xfe");
    send(&mut stream, HEADER, 1, &header).await;
    send(&mut stream, BODY, 1, body).await;
    let mut close = method(20, 40);
    close.extend([0, 200, 0, 0, 0, 0, 0]);
    send(&mut stream, METHOD, 1, &close).await;
    answer(&mut stream).await;
}

fn method(class: u16, method: u16) -> Vec<u8> {
    [class.to_be_bytes(), method.to_be_bytes()].concat()
}

fn short(payload: &mut Vec<u8>, text: &[u8]) {
    payload.push(u8::try_from(text.len()).unwrap());
    payload.extend(text);
}

async fn send(stream: &mut TcpStream, kind: u8, channel: u16, payload: &[u8]) {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame.push(0xCE);
    stream.write_all(&frame).await.unwrap();
}

async fn answer(stream: &mut TcpStream) {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut payload = vec![0; length as usize + 1];
    stream.read_exact(&mut payload).await.unwrap();
}
