//! Whose requests come too often: each key, an address or what a field says, has a rate of its own.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::clients::network;
use crate::config::{Config, RateKey};
use crate::core::rate::{Limit, Rates};

pub(crate) struct RateLimit {
    rates: Rates,
    field: Option<HeaderName>,
    /// Keyed anew at each start, so that nobody can choose whose cells he shares.
    hasher: RandomState,
}

impl RateLimit {
    /// None if the settings have no limit.
    pub(crate) fn new(config: &Config) -> Option<RateLimit> {
        let limit = Limit { per_s: config.rate_limit_per_s, burst: config.rate_limit_burst };
        let field = match &config.rate_limit_key {
            RateKey::Address => None,
            RateKey::Field(name) => Some(name.clone()),
        };
        (limit.per_s > 0).then(|| RateLimit { rates: Rates::new(limit), field, hasher: RandomState::new() })
    }

    /// Takes a request of the key. `Err`: after how many seconds it may come again, rounded up. Who has no such field is known by its address.
    pub(crate) fn take(&self, headers: &HeaderMap, address: IpAddr, now: Duration) -> Result<(), u64> {
        let value = self.field.as_ref().and_then(|name| headers.get(name));
        let hash = match value {
            Some(value) => self.hasher.hash_one((true, value.as_bytes())),
            None => self.hasher.hash_one((false, network(address))),
        };
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.rates.take(hash, now_us).map_err(|wait_us| wait_us.div_ceil(1_000_000))
    }
}
