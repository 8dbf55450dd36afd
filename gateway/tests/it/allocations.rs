//! What a near hit allocates: a bound that nobody passes by accident, counted on the thread that serves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use chassis::testing::wait_until;
use http::Method;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::gateway::{SOON, TestGateway, call};
use crate::sequencer::ScriptedSequencer;

const HITS: u64 = 2_000;
/// The request's id, and the fields of the answer. Answered by a route it would be 31.
const PER_HIT_MAX: u64 = 5;

/// One client on one connection: `hits` reads, one after the other, with this field in each head.
fn read(address: SocketAddr, hits: u64, field: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("a socket");
    let request = format!("GET /data/a HTTP/1.1\r\nhost: a\r\n{field}\r\n");
    let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
    for _ in 0..hits {
        stream.write_all(request.as_bytes()).expect("sent");
        let (mut line, mut length, mut is_hit) = (String::new(), 0, false);
        while line != "\r\n" {
            line.clear();
            assert!(answers.read_line(&mut line).expect("an answer") > 0, "the connection ended");
            is_hit |= line.trim_end() == "cache-status: longshore-near; hit";
            if let Some(stated) = line.strip_prefix("content-length: ") {
                length = stated.trim_end().parse().expect("a number");
            }
        }
        answers.read_exact(&mut vec![0; length]).expect("a body");
        assert!(is_hit, "not from the near cache");
    }
    stream
}

#[test]
fn a_near_hit_allocates_little() {
    check(&[], &[]);
}

/// Who calls is known without anything being allocated.
#[test]
fn a_near_hit_of_a_known_key_allocates_no_more() {
    let first = tempfile::NamedTempFile::new().expect("a file");
    let key = "0123456789abcdef0123456789abcdef";
    std::fs::write(first.path(), key).expect("written");
    let path = first.path().display().to_string();
    let settings = [("LONGSHORE_AUTH", "1"), ("LONGSHORE_ADMIN_KEY_FILE", path.as_str())];
    let authorization = format!("Bearer {key}");
    check(&settings, &[("authorization", &authorization)]);
}

fn check(settings: &[(&str, &str)], headers: &[(&'static str, &str)]) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (_sequencer, gateway) = runtime.block_on(async {
        let sequencer = ScriptedSequencer::start().await;
        sequencer.value("a", "{\"a\": [1, 2, 3]}");
        let cache_url = sequencer.address.to_string();
        let cache = [("LONGSHORE_CACHE_URL", cache_url.as_str())];
        let gateway = TestGateway::start_with(&[&cache[..], settings].concat()).await;
        let read = || call(Method::GET, "/data/a", headers, "");
        let is_held = async || gateway.send(read()).await.header("cache-status") == Some("longshore-near; hit");
        wait_until(SOON, "the near cache holds it", is_held).await;
        (sequencer, gateway)
    });
    let field: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let serve = |hits: u64| {
        let (done, ended) = oneshot::channel();
        let address = gateway.address;
        let field = field.clone();
        let client = thread::spawn(move || drop(done.send(read(address, hits, &field))));
        runtime.block_on(ended).expect("the client ended");
        client.join().expect("it did not fail");
    };
    serve(10);
    // The difference is what the hits take, not the connections and what goes on beside them.
    let few = allocation_counter::measure(|| serve(HITS)).count_total;
    let many = allocation_counter::measure(|| serve(2 * HITS)).count_total;
    let per_hit = many.saturating_sub(few) / HITS;
    assert!((1..=PER_HIT_MAX).contains(&per_hit), "{per_hit} allocations for a near hit");
}
