//! One value as it is answered: the bodies and the tag are made once, when it is loaded.

use bytes::Bytes;
use chassis::bounded_cache::Weigh;
use http::HeaderValue;
use protocol::cache_api::Source;
use protocol::etag::entity_tag;
use protocol::invalidation::near::{Stripe, Tick};
use serde_json::value::RawValue;

/// A loaded value, present or absent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Option<Value>,
    /// Where its load had it from.
    pub(super) source: Source,
    /// The tick that was read before its load began.
    pub(super) loaded: Tick,
    pub(super) tags: Box<[Stripe]>,
    /// By `chassis::clock`.
    pub(super) expires_ms: u64,
}

#[derive(Debug)]
pub(super) struct Value {
    /// `{"cached":true,"data":…}`
    pub(super) cached: Bytes,
    /// `{"cached":false,"data":…}`
    pub(super) fresh: Bytes,
    /// Of the data, not of the envelope: it is what `If-Match` names.
    pub(super) tag: HeaderValue,
}

impl Value {
    pub(super) fn new(data: &RawValue) -> Self {
        let body = |cached: bool| Bytes::from(format!("{{\"cached\":{cached},\"data\":{}}}", data.get()));
        let tag = HeaderValue::try_from(entity_tag(data.get().as_bytes())).expect("hex digits in quotes");
        let fresh = body(false);
        Self { cached: body(true), fresh, tag }
    }
}

impl Weigh for Entry {
    fn bytes(&self) -> usize {
        let value = |value: &Value| value.cached.len() + value.fresh.len() + value.tag.len();
        size_of::<Self>() + self.value.as_ref().map_or(0, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_carry_the_data_as_it_is_stored() {
        let data = RawValue::from_string("{\"a\": 1}".to_owned()).expect("JSON");
        let value = Value::new(&data);
        assert_eq!(&value.cached[..], br#"{"cached":true,"data":{"a": 1}}"#);
        assert_eq!(&value.fresh[..], br#"{"cached":false,"data":{"a": 1}}"#);
        assert_eq!(value.tag, entity_tag(br#"{"a": 1}"#));
    }
}
