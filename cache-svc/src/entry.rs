//! One value of the shared cache.

use chassis::bounded_cache::Weigh;
use protocol::ids::Version;
use serde_json::value::RawValue;

/// What is held under a key: a value, or the knowledge that there is none.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Option<Box<RawValue>>,
    /// `None`: absent, or an operator's override.
    pub(crate) version: Option<Version>,
    /// When it was loaded and when it expires, by `chassis::clock`.
    pub(crate) loaded_ms: u64,
    pub(crate) expires_ms: u64,
}

impl Weigh for Entry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.value.as_ref().map_or(0, |value| value.get().len())
    }
}
