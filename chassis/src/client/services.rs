//! The services that others call, by name, so that one is not taken for the other.

use super::peer::Peer;
use super::transport::Http;
use crate::config::Addresses;

macro_rules! service_client {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            peer: Peer,
        }

        impl $name {
            pub fn new(http: &Http, addresses: &Addresses) -> $name {
                $name { peer: Peer::new(http.clone(), addresses) }
            }

            /// For calls that have no method of their own here.
            pub fn peer(&self) -> &Peer {
                &self.peer
            }
        }
    };
}

service_client! {
    /// store-svc.
    StoreClient
}

service_client! {
    /// cache-svc: of several addresses, the sequencer's.
    CacheClient
}
