//! The ports of a set-up: free, held by the program that is meant to hold them, or by somebody else, who is named.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chassis::asking::{READY, own_address};
use chassis::client::{Call, Http};
use chassis::config::Address;
use chassis::finding::Finding;
use chassis::health::VERSION;
use serde_json::Value;

use super::setup::Listen;

const CHECK: &str = "port";
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A port, looked at.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) program: &'static str,
    /// A program of ours holds it, and it is the right one.
    pub(super) is_ours: bool,
    finding: Finding,
}

impl Port {
    pub(super) fn finding(self) -> Finding {
        self.finding
    }
}

pub(super) async fn look(listens: &[Listen]) -> Vec<Port> {
    let mut ports = Vec::new();
    for listen in listens {
        ports.push(one(listen).await);
    }
    ports
}

async fn one(listen: &Listen) -> Port {
    let &Listen { program, variable, address } = listen;
    let port = |is_ours, finding| Port { program, is_ours, finding };
    if address.port() == 0 {
        return port(false, Finding::ok(CHECK, format!("any free one for {program}")));
    }
    match chassis::listen::listen(address).await {
        Ok(_) => port(false, Finding::ok(CHECK, format!("{address} is free for {program}"))),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let asked = match own_address(address) {
                Ok(asked) => report(&asked).await,
                Err(_) => None,
            };
            let is_ours = asked.as_ref().is_some_and(|report| report["program"] == program);
            port(is_ours, held(listen, asked.as_ref(), process_at(address.port()).as_deref()))
        }
        Err(error) => {
            let advice = format!("choose another address: {variable}");
            port(false, Finding::fault(CHECK, format!("{program} cannot listen at {address}: {error}"), advice))
        }
    }
}

/// What a program says of itself, if it is one of ours.
pub(super) async fn report(address: &Address) -> Option<Value> {
    let answer = Http::new().send(address, &Call::get(READY).within(ANSWER_WITHIN)).await.ok()?;
    let report: Value = serde_json::from_slice(&answer.body).ok()?;
    (report["program"].is_string() && report["status"].is_string()).then_some(report)
}

fn held(listen: &Listen, report: Option<&Value>, process: Option<&str>) -> Finding {
    let Listen { program, variable, address } = listen;
    let by = process.map_or_else(|| "another program".to_owned(), |process| format!("process {process}"));
    match report {
        Some(report) if report["program"] == *program => {
            condition(CHECK, &format!("{address} is held by {program}, {by}"), report)
        }
        other => {
            let says = other.map_or_else(String::new, |report| {
                format!(", which is our {}", report["program"].as_str().unwrap_or_default())
            });
            let found = format!("{address}, meant for {program}, is held by {by}{says}");
            Finding::fault(CHECK, found, format!("stop it, or choose another address: {variable}"))
        }
    }
}

/// How a program of ours is, by its own report.
pub(super) fn condition(check: &'static str, who: &str, report: &Value) -> Finding {
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    let (status, version) = (text("status"), text("version"));
    if version != VERSION {
        let found = format!("{who}: it is version {version}, this is {VERSION}");
        return Finding::warning(check, found, "start the same version everywhere");
    }
    if status == "ready" {
        return Finding::ok(check, format!("{who}: ready"));
    }
    let reasons = report["reasons"].as_object();
    let reasons =
        reasons.into_iter().flatten().map(|(part, why)| format!("{part}: {}", why.as_str().unwrap_or_default()));
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({reasons})") };
    Finding::warning(
        check,
        format!("{who}: {status}{reasons}"),
        "start what it lacks; it serves what it can until then",
    )
}

/// The process that listens at a port, as `7 (nginx)`, if we may see it.
fn process_at(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listener(table, port))?;
    let socket = format!("socket:[{inode}]");
    let is_it = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.as_str()))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().filter(|entry| is_number(&entry.file_name()));
    let process = processes.map(|entry| entry.path()).find(|process| is_it(process))?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("{} ({})", process.file_name()?.to_string_lossy(), name.trim()))
}

/// Of the other entries of /proc some are names of this process.
fn is_number(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

/// The socket that listens at a port, by the kernel's table (proc(5)): the local address is the second column, 0A is "listen", the tenth the inode.
fn listener(table: &str, port: u16) -> Option<u64> {
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let at_port = |row: &Vec<&str>| row.get(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
    let mut listening = rows.filter(|row| at_port(row) && row.get(3) == Some(&"0A"));
    listening.next()?.get(9)?.parse().ok()
}

/// For messages: an address as one calls it.
pub(super) fn called(address: SocketAddr) -> String {
    own_address(address).map_or_else(|_| address.to_string(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use chassis::finding::Level;
    use serde_json::json;

    use super::*;

    #[test]
    fn who_listens_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n   1: 0100007F:1F41 0100007F:1F40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100";
        assert_eq!((listener(table, 8000), listener(table, 8001), listener("", 8000)), (Some(4_711), None, None));
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let process = process_at(holder.local_addr().expect("bound").port()).expect("this process");
        assert!(process.starts_with(&std::process::id().to_string()), "{process}");
    }

    #[test]
    fn a_port_is_held_by_the_right_one_or_a_stranger() {
        let listen = Listen {
            program: "gateway",
            variable: "LONGSHORE_LISTEN",
            address: "127.0.0.1:5000".parse().expect("one"),
        };
        let check = |report: Option<Value>, expected: Level, says: &str| {
            let found = held(&listen, report.as_ref(), Some("7 (nginx)"));
            assert!(found.level == expected && found.found.contains(says), "{found:?}");
        };
        let ours = |status: &str, version: &str| json!({"program": "gateway", "status": status, "version": version, "reasons": {"store": "away"}});
        check(None, Level::Fault, "is held by process 7 (nginx)");
        check(Some(json!({"program": "worker", "status": "ready"})), Level::Fault, "which is our worker");
        check(Some(ours("ready", VERSION)), Level::Ok, "ready");
        check(Some(ours("degraded", VERSION)), Level::Warning, "store: away");
        check(Some(ours("ready", "0.0.1")), Level::Warning, "version 0.0.1");
    }
}
