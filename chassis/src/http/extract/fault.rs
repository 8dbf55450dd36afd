//! Says what is wrong with a body and where. Only for bodies that were already refused, so it may take its time.

use protocol::problem::{FieldError, Kind, Problem};
use serde::Deserializer;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, Visitor};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

/// The problem of a JSON text that `T` refuses: 400 if it is not JSON at all, else 422 with a pointer.
pub(super) fn of_json<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    // A mistyped field before a syntax error is reported first by serde; to be JSON comes before what it says.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return not_json(&error);
    }
    if is_array(bytes) && wants_object::<T>() {
        return Problem::invalid("", "invalid type: sequence, expected an object");
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) if error.inner().classify() == Category::Data => {
            Problem::invalid_fields(vec![field_error(error.path(), &error.inner().to_string())])
        }
        Err(error) => not_json(error.inner()),
        Ok(_) => Kind::BadJson.problem(),
    }
}

/// Whether the text is an array. serde takes one for a struct, field by field; a client that sends one is mistaken.
pub(super) fn is_array(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// Whether `T` is a struct with named fields, found out by what it asks of a deserializer.
pub(super) fn wants_object<T: DeserializeOwned>() -> bool {
    let mut wants_object = false;
    // The probe has no value to give, so this is always an error.
    drop(T::deserialize(Probe { wants_object: &mut wants_object }));
    wants_object
}

struct Probe<'a> {
    wants_object: &'a mut bool,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        // serde_json asks for its own kinds of value (raw, number) as structs with one field of a secret name.
        *self.wants_object = fields.iter().all(|field| !field.starts_with('$'));
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    Kind::BadJson.detail(format!("The body is not well-formed JSON: {error}."))
}

/// The fault in RFC 6901 and in serde's words, without its line and column.
fn field_error(path: &Path, message: &str) -> FieldError {
    let detail = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    let mut pointer = pointer(path);
    // Of a missing field, serde's path ends at the object that misses it; of an unknown one, too.
    let missing = ["missing field `", "unknown field `", "duplicate field `"];
    if let Some(rest) = missing.iter().find_map(|prefix| detail.strip_prefix(prefix)) {
        let field = escape(rest.split('`').next().unwrap_or_default());
        if pointer.rsplit('/').next() != Some(field.as_str()) {
            pointer = format!("{pointer}/{field}");
        }
    }
    FieldError::new(pointer, detail)
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escape(key),
            Segment::Enum { variant } => escape(variant),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Submit {
        task: String,
        #[serde(default)]
        limits: Vec<Limit>,
        #[serde(default)]
        priority: Option<Priority>,
        #[serde(default)]
        payload: serde_json::Value,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Limit {
        #[serde(rename = "a/b")]
        count: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Priority {
        High,
        Low,
    }

    fn check(body: &str, status: u16, pointer: &str, says: &str) {
        let problem = super::super::Json::<Submit>::from_bytes(body.as_bytes()).unwrap_err();
        assert_eq!(problem.status, status, "{body}: {problem}");
        let found = problem.errors.first().map_or("", |error| error.pointer.as_str());
        assert_eq!(found, pointer, "{body}: {problem}");
        assert!(problem.to_string().contains(says), "{body}: {problem}");
    }

    #[test]
    fn what_is_not_json_is_400() {
        for body in ["", "{", "{\"task\":}", "{\"task\":\"a\"} x", "{\"task\":5, oops", "\u{feff}{}", "nul"] {
            check(body, 400, "", "Not JSON");
        }
        let problem = super::super::Json::<Submit>::from_bytes(b"{\"task\":\"\xff\"}").unwrap_err();
        assert_eq!(problem.status, 400);
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        check(&format!("{{\"task\":\"a\",\"payload\":{deep}}}"), 400, "", "recursion limit");
    }

    #[test]
    fn what_is_json_but_not_asked_for_is_422_with_a_pointer() {
        check("{}", 422, "/task", "missing field `task`");
        check("{\"task\":5}", 422, "/task", "expected a string");
        check("{\"task\":\"a\",\"tsak\":1}", 422, "/tsak", "unknown field `tsak`");
        check("{\"task\":\"a\",\"task\":\"b\"}", 422, "/task", "duplicate field");
        check("{\"task\":\"a\",\"limits\":[{\"a/b\":1},{\"a/b\":300}]}", 422, "/limits/1/a~1b", "expected u8");
        check("{\"task\":\"a\",\"limits\":[{}]}", 422, "/limits/0/a~1b", "missing");
        check("{\"task\":\"a\",\"priority\":\"urgent\"}", 422, "/priority", "expected `high` or `low`");
        check("[\"a\"]", 422, "", "expected an object");
        check("null", 422, "", "expected struct Submit");
    }
}
