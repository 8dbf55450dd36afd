//! One value of the shared cache.

use chassis::bounded_cache::Weigh;
use protocol::ids::{Place, Version};
use protocol::invalidation::sequencer::LoadMark;
use protocol::key::MediaType;
use serde_json::value::RawValue;

/// What is held under a key: a value, or the knowledge that there is none.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Option<Box<RawValue>>,
    pub(crate) tags: Vec<String>,
    /// Of bytes, which the value has as a string in base64.
    pub(crate) media_type: Option<MediaType>,
    /// `None`: absent, or an operator's override.
    pub(crate) version: Option<Version>,
    /// Where in the store's history it was read; `None`: an operator's override.
    pub(crate) read_at: Option<Place>,
    /// What was issued before it was loaded, or with it.
    pub(crate) mark: LoadMark,
    /// When it was loaded and when it expires, by `chassis::clock`.
    pub(crate) loaded_ms: u64,
    pub(crate) expires_ms: u64,
}

impl Entry {
    /// An operator's, which a load does not replace: it is held until the next invalidation or its TTL.
    pub(crate) fn is_override(&self) -> bool {
        self.value.is_some() && self.version.is_none()
    }
}

impl Weigh for Entry {
    fn bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| size_of::<String>() + tag.len()).sum();
        size_of::<Self>() + self.value.as_ref().map_or(0, |value| value.get().len()) + tags
    }
}
