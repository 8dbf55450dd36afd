//! The document says what the router does, and what it shows as an example can be sent.

use std::collections::BTreeSet;

use chassis::http::Json;
use protocol::access::{CreateKey, KeyLimits, RotateKey};
use protocol::api::{Accepted, JobView, Submit};
use protocol::bulk_retry::RetryMany;
use protocol::cache_api::{DataPut, DataWritten, Invalidate, InvalidationAnswer};
use protocol::lease_api::{Beat, Completion, FailedAttempt, Take};
use protocol::problem::Problem;
use protocol::schedule::PutSchedule;
use protocol::tenant::Limits;
use protocol::webhook::{PutWebhook, ResendMany, Rotate};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::JSON;
use crate::access::{Need, needs};
use crate::config::BODY_BYTES;

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

fn document() -> Value {
    serde_json::from_slice(&JSON.bytes).expect("JSON")
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// (path, method) of every operation, with what is said of it.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let of_path = |(path, item)| members(item).map(move |(method, operation)| (path, method, operation));
    members(&document["paths"]).flat_map(of_path)
}

/// Calls `look` with each value within this one, and the name that it has there.
fn walk<'v>(value: &'v Value, look: &mut impl FnMut(&'v str, &'v Value)) {
    for (name, inner) in members(value) {
        look(name, inner);
        walk(inner, look);
    }
    for inner in value.as_array().into_iter().flatten() {
        walk(inner, look);
    }
}

/// The text of `router.rs`, as far as it names routes: `.route("PATH", METHOD(…)…)`.
fn routes() -> BTreeSet<(String, String)> {
    routes_of(include_str!("../router.rs"))
}

fn routes_of(source: &str) -> BTreeSet<(String, String)> {
    let calls = |rest: &str, method: &str| {
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        rest.match_indices(&format!("{method}(")).any(|(at, _)| !rest.split_at(at).0.ends_with(is_name))
    };
    let mut routes = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let (path, rest) = route.trim_start().trim_start_matches('"').split_once('"').expect("a path between quotes");
        let methods = METHODS.into_iter().filter(|method| calls(rest, method));
        routes.extend(methods.map(|method| (path.to_owned(), method.to_owned())));
    }
    routes
}

#[test]
fn router_and_document_name_the_same_operations() {
    let document = document();
    let described: BTreeSet<_> =
        operations(&document).map(|(path, method, _)| (path.to_owned(), method.to_owned())).collect();
    let routed = routes();
    let missing: Vec<_> = routed.difference(&described).collect();
    assert!(
        missing.is_empty(),
        "annotate these handlers with utoipa::path and list them in openapi/mod.rs: {missing:?}"
    );
    let gone: Vec<_> = described.difference(&routed).collect();
    assert!(gone.is_empty(), "these are described and have no route: {gone:?}");
}

#[test]
fn the_document_holds_together() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut dangling = Vec::new();
    walk(&document, &mut |name, value| {
        if name == "$ref" {
            let pointer = value.as_str().and_then(|target| target.strip_prefix('#')).expect("a reference within");
            dangling.extend(document.pointer(pointer).is_none().then_some(pointer));
        }
    });
    assert!(dangling.is_empty(), "{dangling:?}");
    assert!(!JSON.bytes.windows(2).any(|pair| pair == b"[`"), "a link of rustdoc says nothing to a client");
    let tags: BTreeSet<&str> =
        document["tags"].as_array().into_iter().flatten().filter_map(|tag| tag["name"].as_str()).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str()), "{method} {path} has another's id");
        assert!(
            operation["tags"][0].as_str().is_some_and(|tag| tags.contains(tag)),
            "{method} {path} has no tag that is described"
        );
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{method} {path}: {summary:?}");
        let in_path: Vec<&str> = path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let named: Vec<_> = parameters
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|found| found["name"].as_str())
            .collect();
        assert_eq!(named, in_path, "{method} {path}");
    }
}

/// Whoever adds a route says who may use it.
/// Where the next page begins is always said, and may be nowhere.
#[test]
fn the_last_page_says_null() {
    let document = document();
    let mut pages = 0;
    for (name, schema) in members(&document["components"]["schemas"]) {
        let cursor = &schema["properties"]["next_cursor"];
        if cursor.is_null() {
            continue;
        }
        assert_eq!(cursor["type"], json!(["string", "null"]), "{name}");
        let required = schema["required"].as_array().is_some_and(|names| names.contains(&json!("next_cursor")));
        assert!(required, "{name}");
        pages += 1;
    }
    assert!(pages > 5, "{pages}");
}

#[test]
fn every_route_says_what_it_needs_and_the_document_repeats_it() {
    let document = document();
    let table: BTreeSet<(String, String)> =
        needs::all().map(|(path, method, _)| (path.to_owned(), method.to_lowercase())).collect();
    let of_console = routes_of(include_str!("../console/mod.rs"));
    let routed: BTreeSet<_> = routes().union(&of_console).cloned().collect();
    assert_eq!(table, routed, "write it into gateway/src/access/needs.rs");
    for (path, method, need) in needs::all() {
        let operation = &document["paths"][path][method.to_lowercase()];
        let scope = match need {
            _ if operation.is_null() => continue,
            Need::Of(scope) | Need::System(scope) => Some(scope.name()),
            Need::Open | Need::Known => None,
        };
        assert_eq!(operation["security"][0]["bearer"][0].as_str(), scope, "{method} {path}");
        for status in ["401", "403"] {
            assert_eq!(operation["responses"][status].is_null(), scope.is_none(), "{method} {path} {status}");
        }
    }
}

/// As a client's body is read.
fn reads<T: DeserializeOwned>(example: &Value) -> Result<(), Problem> {
    let text = serde_json::to_vec(example).expect("JSON");
    assert!(u64::try_from(text.len()).is_ok_and(|bytes| bytes < BODY_BYTES));
    Json::<T>::from_bytes(&text).map(drop)
}

/// Reads an example by the type that it is said to be.
fn read(schema: &str, example: &Value) -> Result<(), Problem> {
    match schema {
        "Accepted" => reads::<Accepted>(example),
        "Beat" => reads::<Beat>(example),
        "CreateKey" => reads::<CreateKey>(example),
        "KeyLimits" => reads::<KeyLimits>(example),
        "RotateKey" => reads::<RotateKey>(example),
        "Completion" => reads::<Completion>(example),
        "DataPut" => reads::<DataPut>(example),
        "DataWritten" => reads::<DataWritten>(example),
        "FailedAttempt" => reads::<FailedAttempt>(example),
        "Invalidate" => reads::<Invalidate>(example),
        "InvalidationAnswer" => reads::<InvalidationAnswer>(example),
        "JobView" => reads::<JobView>(example),
        "PutSchedule" => reads::<PutSchedule>(example),
        "PutWebhook" => reads::<PutWebhook>(example),
        "Problem" => reads::<Problem>(example),
        "ResendMany" => reads::<ResendMany>(example),
        "RetryMany" => reads::<RetryMany>(example),
        "Rotate" => reads::<Rotate>(example),
        "Submit" => reads::<Submit>(example),
        "[Submit]" => reads::<Vec<Submit>>(example),
        "Take" => reads::<Take>(example),
        "TenantLimits" => reads::<Limits>(example),
        // Written as text where they are answered, read by nobody in here.
        "DataRead" => reads::<serde_json::Map<String, Value>>(example),
        other => panic!("name the type of {other}, so that its examples are read"),
    }
}

#[test]
fn every_example_is_read_as_what_it_is_said_to_be() {
    let document = document();
    let mut seen = 0;
    walk(&document, &mut |name, content| {
        if name != "content" {
            return;
        }
        for (media_type, media) in members(content).filter(|(media_type, _)| media_type.ends_with("json")) {
            let reference =
                |schema: &Value| schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
            let schema = &media["schema"];
            let named = reference(schema).or_else(|| Some(format!("[{}]", reference(&schema["items"])?)));
            let examples =
                members(&media["examples"]).map(|(_, example)| &example["value"]).chain(media.get("example"));
            for example in examples {
                let named = named.as_deref().unwrap_or_default();
                let read = read(named, example);
                assert!(read.is_ok(), "{media_type} {named} {example}: {read:?}");
                seen += 1;
            }
        }
    });
    assert!(seen > 40, "{seen}");
}
