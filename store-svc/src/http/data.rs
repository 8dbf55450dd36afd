//! Reads of data entries.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Path, Rejection};
use protocol::ids::Place;
use protocol::key::DataKey;
use protocol::problem::{Kind, Problem};
use protocol::store_api::absent;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Service;

/// What a fresh store holds.
const SEED_KEY: &str = "my_data";

pub(super) async fn entry(State(service): State<Service>, Path(key): Path<String>) -> Result<Response, Rejection> {
    let key = DataKey::try_from(key).map_err(|error| Problem::invalid("/key", error.to_string()))?;
    let found = service.inner.readers.read(move |reader| reader.data(key.as_str())).await?;
    let read_at = Place { incarnation: service.inner.incarnation, position: found.position };
    Ok(match found.read {
        Some(entry) => service.at(found.position, Json(entry)),
        None => service.at(found.position, Rejection::from(absent(read_at))),
    })
}

#[derive(Debug, Serialize)]
struct Db {
    message: Box<RawValue>,
}

pub(super) async fn db(State(service): State<Service>) -> Result<Response, Rejection> {
    let found = service.inner.readers.read(|reader| reader.data(SEED_KEY)).await?;
    Ok(match found.read {
        Some(entry) => service.at(found.position, Json(Db { message: entry.data })),
        None => service.at(found.position, Rejection::from(Kind::NotFound)),
    })
}
