//! PostgreSQL under the suite.

use std::sync::OnceLock;

use chassis::testing::postgres::ScratchCluster;
use store_svc::storage::Storage;
use store_svc::storage::postgres::{Postgres, Url};

use super::Fixture;

/// Shared by all tests that leave it alone; it ends with the test process.
pub(crate) fn cluster() -> &'static ScratchCluster {
    static CLUSTER: OnceLock<ScratchCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| ScratchCluster::start().expect("a cluster"))
}

pub(crate) fn fresh_url() -> Url {
    cluster().fresh_database().expect("a database").parse().expect("a URL")
}

pub(crate) fn open(url: &Url) -> Postgres {
    Postgres::open(url).expect("it opens")
}

pub(crate) struct PostgresFixture {
    storage: Postgres,
    url: Url,
}

impl Fixture for PostgresFixture {
    fn fresh() -> Self {
        let url = fresh_url();
        Self { storage: open(&url), url }
    }

    fn storage(&mut self) -> &mut dyn Storage {
        &mut self.storage
    }

    /// Another store, while the first one still has its connection.
    fn after_kill(self) -> Self {
        let storage = open(&self.url);
        drop(self.storage);
        Self { storage, url: self.url }
    }
}
