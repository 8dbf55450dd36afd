//! Which addresses may be reached on somebody's behalf. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Which of the addresses that are not public may be reached: none, those of some networks, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    #[default]
    Public,
    Networks(Vec<Network>),
    All,
}

impl Reach {
    /// Whether this address may be reached.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::All => true,
            Self::Public => is_public(address),
            Self::Networks(networks) => is_public(address) || networks.iter().any(|network| network.contains(address)),
        }
    }
}

/// What is not public (IANA's registries of special-purpose addresses): this machine, private networks, those of providers (RFC 6598), links, where
/// clouds keep their metadata (169.254.169.254, `fd00:ec2::254`), documentation, multicast, and what carries an IPv4 address inside.
const SPECIAL_4: [(Ipv4Addr, u8); 14] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// Within `2000::/3`, of which alone addresses are given out.
const SPECIAL_6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const GIVEN_OUT_6: Network = Network { base: IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), prefix: 3 };

fn is_public(address: IpAddr) -> bool {
    let within = |base: IpAddr, prefix: u8| Network { base, prefix }.contains(address);
    match address {
        IpAddr::V4(_) => !SPECIAL_4.iter().any(|(base, prefix)| within((*base).into(), *prefix)),
        IpAddr::V6(_) => {
            GIVEN_OUT_6.contains(address) && !SPECIAL_6.iter().any(|(base, prefix)| within((*base).into(), *prefix))
        }
    }
}

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |base: u128, address: u128, bits: u8| {
            let differing = (base ^ address).checked_shr(u32::from(bits - self.prefix)).unwrap_or(0);
            differing == 0
        };
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => same(base.to_bits().into(), address.to_bits().into(), 32),
            (IpAddr::V6(base), IpAddr::V6(address)) => same(base.to_bits(), address.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let accepted = "a network such as 10.0.0.0/8 or fd00::/8, or an address";
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix.parse::<u8>().map_err(|_| accepted)?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| accepted)?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix <= bits { Ok(Self { base, prefix }) } else { Err(accepted) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// As a setting: nothing, networks separated by commas, or `all`.
impl FromStr for Reach {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" => Ok(Self::Public),
            "all" => Ok(Self::All),
            list => {
                let networks: Result<_, _> = list.split(',').map(|network| network.trim().parse()).collect();
                networks.map(Self::Networks).map_err(|_| {
                    "networks separated by commas, such as 10.0.0.0/8,fd00::/8, or all, or empty: only public addresses"
                })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|accepted| de::Error::custom(format_args!("must be {accepted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(reach: &str, address: &str) -> bool {
        let reach: Reach = reach.parse().expect("a reach");
        reach.admits(address.parse().expect("an address"))
    }

    #[test]
    fn only_public_addresses_are_reached_unless_others_are_named() {
        for public in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "2606:4700::1111"] {
            assert!(admits("", public), "{public}");
        }
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ];
        for private in private {
            assert!(!admits("", private), "{private}");
            assert!(admits("all", private), "{private}");
        }
    }

    #[test]
    fn named_networks_are_reached_besides() {
        let check = |reach: &str, address: &str, expected: bool| {
            assert_eq!(admits(reach, address), expected, "{reach} {address}")
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", true);
        check("10.0.0.0/8", "127.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("10.0.0.0/8, 127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
        check("0.0.0.0/0", "127.0.0.1", true);
        check("::/0", "::1", true);
        check("::/0", "127.0.0.1", false);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["10.0.0.0/33", "10.0.0/8", "::/129", "private", "10.0.0.0/8,", "10.0.0.0/-1"] {
            assert!(bad.parse::<Reach>().is_err(), "{bad}");
        }
    }
}
