//! One value as it is answered: what can be made once is made when it is loaded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chassis::bounded_cache::Weigh;
use http::HeaderValue;
use protocol::cache_api::Source;
use protocol::etag::entity_tag;
use protocol::ids::{Place, Version};
use protocol::invalidation::near::{Stripe, Tick};
use protocol::invalidation::sequencer::LoadMark;
use protocol::key::MediaType;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A loaded value, present or absent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Option<Value>,
    /// Where its load had it from.
    pub(super) source: Source,
    /// The tick that was read before its load began.
    pub(super) loaded: Tick,
    pub(super) tags: Box<[Stripe]>,
    /// `None`: absent, or an operator's override.
    pub(super) version: Option<Version>,
    /// Where in the store's history it was read; `None`: an operator's override.
    pub(super) read_at: Option<Place>,
    /// What was issued before it was loaded; `None`: it came past the sequencer.
    pub(super) mark: Option<LoadMark>,
    /// When it was read from the store, and when it expires, by `chassis::clock`.
    pub(super) read_ms: u64,
    pub(super) expires_ms: u64,
}

/// `GET /data/{key}`
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is only described: `Value::enveloped` writes it")]
pub(super) struct DataRead {
    /// `false` exactly if this answer was loaded from the store.
    cached: bool,
    /// An older value, because neither the caches nor the store answered.
    #[schema(required = false)]
    stale: bool,
    /// Of data that are bytes: `data` has them in base64.
    #[schema(required = false)]
    media_type: String,
    /// Any JSON.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

#[derive(Debug)]
pub(super) struct Value {
    form: Form,
    /// Of the data as they are stored, not of the envelope: it is what `If-Match` names.
    pub(super) tag: HeaderValue,
}

#[derive(Debug)]
enum Form {
    /// `{"cached":true,"data":…}`
    Json(Bytes),
    Bytes {
        bytes: Bytes,
        media_type: HeaderValue,
    },
}

const CACHED: &str = r#"{"cached":true,"data":"#;

impl Value {
    /// `None`: the data are not what their media type promises.
    pub(super) fn new(data: &RawValue, media_type: Option<&MediaType>) -> Option<Self> {
        let tag = HeaderValue::try_from(entity_tag(data.get().as_bytes())).ok()?;
        let form = match media_type {
            None => Form::Json(Bytes::from(format!("{CACHED}{}}}", data.get()))),
            Some(media_type) => Form::Bytes {
                bytes: STANDARD.decode(data.get().trim_matches('"')).ok()?.into(),
                media_type: HeaderValue::from_str(media_type.as_str()).ok()?,
            },
        };
        Some(Self { form, tag })
    }

    /// The envelope around it.
    pub(super) fn enveloped(&self, cached: bool, stale: bool) -> Bytes {
        let stale = if stale { r#","stale":true"# } else { "" };
        match &self.form {
            Form::Json(envelope) if cached && stale.is_empty() => envelope.clone(),
            Form::Json(envelope) => {
                let rest = envelope.get(CACHED.len() - r#""data":"#.len()..).unwrap_or_default();
                let rest = String::from_utf8_lossy(rest);
                Bytes::from(format!(r#"{{"cached":{cached}{stale},{rest}"#))
            }
            Form::Bytes { bytes, media_type } => {
                let data = STANDARD.encode(bytes);
                let media_type = serde_json::Value::from(media_type.to_str().unwrap_or_default());
                Bytes::from(format!(r#"{{"cached":{cached}{stale},"media_type":{media_type},"data":"{data}"}}"#))
            }
        }
    }

    /// As it is, with its media type.
    pub(super) fn bare(&self) -> (HeaderValue, Bytes) {
        match &self.form {
            Form::Json(envelope) => {
                let data = envelope.slice(CACHED.len()..envelope.len() - 1);
                (HeaderValue::from_static("application/json"), data)
            }
            Form::Bytes { bytes, media_type } => (media_type.clone(), bytes.clone()),
        }
    }
}

/// Bytes as they are stored: a JSON string in base64.
pub(super) fn stored_form(bytes: &[u8]) -> Box<RawValue> {
    let text = format!("\"{}\"", STANDARD.encode(bytes));
    RawValue::from_string(text).expect("base64 between quotes is JSON")
}

impl Weigh for Entry {
    fn bytes(&self) -> usize {
        let value = |value: &Value| match &value.form {
            Form::Json(envelope) => envelope.len() + value.tag.len(),
            Form::Bytes { bytes, media_type } => bytes.len() + media_type.len() + value.tag.len(),
        };
        size_of::<Self>() + self.value.as_ref().map_or(0, value) + size_of_val(&*self.tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_answered_as_it_is_stored() {
        let data = RawValue::from_string("{\"a\": 1}".to_owned()).expect("JSON");
        let value = Value::new(&data, None).expect("a value");
        assert_eq!(value.enveloped(true, false), r#"{"cached":true,"data":{"a": 1}}"#);
        assert_eq!(value.enveloped(false, false), r#"{"cached":false,"data":{"a": 1}}"#);
        assert_eq!(value.enveloped(true, true), r#"{"cached":true,"stale":true,"data":{"a": 1}}"#);
        assert_eq!(value.tag, entity_tag(br#"{"a": 1}"#));
        assert_eq!(value.bare(), (HeaderValue::from_static("application/json"), Bytes::from_static(br#"{"a": 1}"#)));
    }

    #[test]
    fn bytes_are_answered_as_they_came() {
        let media_type = MediaType::try_from("image/png").expect("a media type");
        let value = Value::new(&stored_form(&[0, 255, 7]), Some(&media_type)).expect("a value");
        assert_eq!(value.bare(), (HeaderValue::from_static("image/png"), Bytes::from_static(&[0, 255, 7])));
        assert_eq!(value.enveloped(true, false), r#"{"cached":true,"media_type":"image/png","data":"AP8H"}"#);
        let garbage = RawValue::from_string("[1]".to_owned()).expect("JSON");
        assert!(Value::new(&garbage, Some(&media_type)).is_none());
    }
}
