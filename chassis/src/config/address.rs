//! Checked values that several programs' settings have: where to listen, whom to call, lists of names.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use http::uri::Authority;
use protocol::key::QueueName;
use serde::de::Error as _;

use super::fault::Fault;
use serde::{Deserialize, Deserializer};

/// Where a program listens: `127.0.0.1:5000`; `localhost` means 127.0.0.1, port 0 any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// Where a service can be reached over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    // With a port, without user info.
    authority: Authority,
}

/// One or more addresses, comma-separated in a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Vec<Address>);

/// One or more names, comma-separated in a variable: letters, digits, `.`, `_` and `-`, at most 64 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Address {
    /// A port of this machine.
    pub fn loopback(port: u16) -> Address {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
    }

    /// `host:port`, as a Host header has it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl Addresses {
    /// The given ones, of which there is at least one.
    pub fn new(first: Address, others: impl IntoIterator<Item = Address>) -> Addresses {
        Addresses(std::iter::once(first).chain(others).collect())
    }

    pub fn as_slice(&self) -> &[Address] {
        &self.0
    }
}

impl Names {
    /// The names as those of queues; what is wrong with one is noted.
    pub fn queues(&self, faults: &mut Vec<Fault>) -> Vec<QueueName> {
        let mut queues = Vec::new();
        for name in self.as_slice() {
            match QueueName::try_from(name.as_str()) {
                Ok(queue) => queues.push(queue),
                Err(error) => faults.push(Fault::sentence(format!("LONGSHORE_QUEUES has {name:?}, which {error}."))),
            }
        }
        queues
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        let authority = Authority::try_from(address.to_string());
        Address { authority: authority.expect("a socket address has the form of an authority") }
    }
}

impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Addresses {
        Addresses(vec![address.into()])
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authority.fmt(f)
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Listen, Self::Err> {
        let accepted = "an IP address and a port, such as 127.0.0.1:5000 or [::1]:5000";
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| accepted)?;
            return Ok(Listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        text.parse().map(Listen).map_err(|_| accepted)
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Address, Self::Err> {
        let accepted = "host:port or http://host:port, several of them separated by commas";
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let (host, port) = bare.rsplit_once(':').ok_or(accepted)?;
        let authority = bare.parse::<Authority>().map_err(|_| accepted)?;
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        if host.is_empty() || !is_port || authority.as_str().contains('@') {
            return Err(accepted);
        }
        Ok(Address { authority })
    }
}

impl FromStr for Addresses {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Addresses, Self::Err> {
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map(Addresses)
    }
}

impl FromStr for Names {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Names, Self::Err> {
        let accepted =
            "one or more distinct names (letters, digits, '.', '_', '-', at most 64 of them), separated by commas";
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            let is_name = (1..=64).contains(&name.len()) && name.bytes().all(allowed);
            if !is_name || names.iter().any(|known| known == name) {
                return Err(accepted);
            }
            names.push(name.to_owned());
        }
        Ok(Names(names))
    }
}

macro_rules! deserialize_from_text {
    ($($type:ty),+) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|accepted| D::Error::custom(format_args!("must be {accepted}")))
            }
        }
    )+};
}

deserialize_from_text!(Listen, Address, Addresses, Names);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[&str]>) {
        let parsed = text.parse::<Addresses>();
        let shown: Option<Vec<_>> = parsed.ok().map(|list| list.as_slice().iter().map(ToString::to_string).collect());
        assert_eq!(shown, expected.map(|list| list.iter().map(|text| (*text).to_owned()).collect()), "{text}");
    }

    #[test]
    fn addresses_are_hosts_and_ports_or_http_urls() {
        check("127.0.0.1:5000", Some(&["127.0.0.1:5000"]));
        check("http://store:5002/", Some(&["store:5002"]));
        check("a:1, http://b:2,[::1]:3", Some(&["a:1", "b:2", "[::1]:3"]));
        for bad in ["", "store", "store:", ":5002", "store:99999", "store:0", "https://store:5002", "a:1,,b:2"] {
            check(bad, None);
        }
        for bad in ["http://user@store:5002", "http://store:5002/path", "a b:1", "amqp://store:5672"] {
            check(bad, None);
        }
    }

    #[test]
    fn listen_addresses_are_literal() {
        assert_eq!("localhost:5000".parse::<Listen>().unwrap().0.to_string(), "127.0.0.1:5000");
        assert_eq!("[::1]:0".parse::<Listen>().unwrap().0.to_string(), "[::1]:0");
        for bad in ["5000", ":5000", "example.com:80", "127.0.0.1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_distinct_and_plain() {
        assert_eq!("default, reports".parse::<Names>().unwrap().as_slice(), ["default", "reports"]);
        for bad in ["", "a,,b", "a,a", "a b", "ä"] {
            assert!(bad.parse::<Names>().is_err(), "{bad}");
        }
    }
}
