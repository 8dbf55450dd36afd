//! Asks a program how it is, as container checks do where there is no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::client::{Call, Http};
use crate::config::{Address, ExitWith};

/// Whether the process answers.
pub const LIVE: &str = "/live";
/// Whether it should be sent work.
pub const READY: &str = "/ready";

const DEADLINE: Duration = Duration::from_secs(3);

/// What the program says of itself on one of its own paths.
///
/// # Errors
/// When it cannot be reached, or says that it is not well: exit status 1 and the sentence.
pub async fn ask(address: &Address, path: &str) -> Result<String, ExitWith> {
    let sick = |sentence| ExitWith { status: 1, sentence };
    let answer = Http::new().send(address, &Call::get(path).within(DEADLINE)).await;
    let answer = answer.map_err(|error| sick(error.to_string()))?;
    let body = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
    if answer.status.is_success() {
        Ok(body)
    } else {
        Err(sick(format!("{address}{path} answered {}: {body}", answer.status)))
    }
}

/// Where a program that listens there is reached from its own machine: one that listens everywhere is asked on loopback.
///
/// # Errors
/// Port 0 says of no running program where it listens.
pub fn own_address(listen: SocketAddr) -> Result<Address, ExitWith> {
    if listen.port() == 0 {
        let sentence = "LONGSHORE_LISTEN has port 0, which is any free one, so nobody knows whom to ask; name a port.";
        return Err(ExitWith { status: 1, sentence: sentence.to_owned() });
    }
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(host, listen.port()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_asked_where_it_listens() {
        let check = |listen: &str, expected: Option<&str>| {
            let found = own_address(listen.parse().expect("an address")).map(|address| address.to_string());
            assert_eq!(found.ok().as_deref(), expected, "{listen}");
        };
        check("127.0.0.1:5000", Some("127.0.0.1:5000"));
        check("0.0.0.0:5000", Some("127.0.0.1:5000"));
        check("[::]:5000", Some("[::1]:5000"));
        check("192.0.2.7:5000", Some("192.0.2.7:5000"));
        check("127.0.0.1:0", None);
    }
}
