//! The services that others call, by name, so that one is not taken for the other.

use std::time::Duration;

use protocol::ids::Place;
use protocol::problem::Kind;
use protocol::store_api::{DataView, absent_at};

use super::call::Call;
use super::error::Error;
use super::path::segment;
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

/// What the store has under a key, and where in its history that was read. An absent key is an answer like any other.
#[derive(Debug, Clone)]
pub struct DataRead {
    pub found: Option<DataView>,
    pub read_at: Option<Place>,
}

impl StoreClient {
    /// Reads a data entry.
    ///
    /// # Errors
    /// When the store is away, slow, or not understood.
    pub async fn data(&self, key: &str, deadline: Duration) -> Result<DataRead, Error> {
        match self.peer.call(&Call::get(format!("/data/{}", segment(key))).within(deadline)).await {
            Ok(answer) => {
                let read_at = answer.place();
                Ok(DataRead { found: Some(answer.json()?.body), read_at })
            }
            Err(error) if error.kind() == Some(Kind::NotFound) => {
                Ok(DataRead { found: None, read_at: error.problem().and_then(absent_at) })
            }
            Err(error) => Err(error),
        }
    }
}
