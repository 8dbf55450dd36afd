//! Who holds how many connections, so that no address takes them all. The lock is taken when a connection opens and when it ends, never by
//! a request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Of an IPv6 address, these bits say whose it is: a client has a whole /64.
const NETWORK: u128 = !0 << 64;

/// Connections by address.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of an address, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Held {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    /// One more connection of an address, and how many it has now.
    pub(crate) fn hold(self: &Arc<Self>, address: IpAddr) -> (Held, usize) {
        let address = network(address);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        *count += 1;
        (Held { clients: Arc::clone(self), address }, *count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.clients.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one address.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address_and_forgotten() {
        let clients = Arc::<Clients>::default();
        let hold = |address: &str| clients.hold(address.parse().unwrap());
        let first = hold("10.0.0.1");
        let second = hold("::ffff:10.0.0.1");
        let neighbours = (hold("2001:db8::1"), hold("2001:db8::2"), hold("2001:db8:0:1::1"));
        assert_eq!((first.1, second.1), (1, 2));
        assert_eq!((neighbours.0.1, neighbours.1.1, neighbours.2.1), (1, 2, 1));
        drop((first, second, neighbours));
        assert!(clients.held.lock().unwrap().is_empty());
    }
}
