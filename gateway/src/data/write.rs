//! Data writes and invalidations: acknowledged when nobody is answered with an older value any more.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use chassis::client::Call;
use chassis::fault_points::{FaultPoint, fault_point};
use chassis::http::{Body, Json, Path, Query, Rejection};
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::cache_api::{
    DataPut, DataWritten, FENCE_WAIT_MS_MAX, FenceQuery, Invalidate, InvalidationAnswer, InvalidationRequest, TAGS_MAX,
    TOKEN_HEADER, key_of_path,
};
use protocol::envelope::Covered;
use protocol::etag::entity_tag;
use protocol::ids::{Place, Position, Version};
use protocol::key::{DataKey, MediaType, Tag};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Command, DeleteData, FencedThrough, Precondition, PutData, Reply};
use tokio::time::Instant;

use super::entry::stored_form;
use crate::openapi::problems::{Any, OfBytes, OfCondition, OfFence, OfJson, OfName, OfParameters};
use crate::openapi::{CACHES, DATA, headers};
use crate::state::Gateway;

const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// How long a writer waits for its answer, the fence included.
const ANSWER_WITHIN: Duration = Duration::from_millis(FENCE_WAIT_MS_MAX);
/// What is left of it for the way to the sequencer and back.
const ON_THE_WAY: Duration = Duration::from_millis(200);
/// Between questions for the fence while the store does not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// `PUT /data/{key}`
#[utoipa::path(
    put, path = "/data/{key}", tag = DATA, operation_id = "putData",
    summary = "Write data",
    params(("key" = DataKey, Path, description = "Percent-encoded.", example = "price"), FenceQuery, headers::OnlyIfMatch, headers::OnlyIfNoneMatch),
    request_body(content = DataPut, examples(
        ("value" = (value = json!({"data": {"eur": 12}}))),
        ("tagged" = (value = json!({"data": {"eur": 13}, "tags": ["prices"]}))),
    )),
    responses(
        (status = 200, description = "On disk, and nobody is answered with an older value any more.", body = DataWritten,
            headers(("ETag"), ("Longshore-Token")), example = json!({"version": 2, "fenced": true})),
        (status = 202, description = "On disk (`wait=0`).", body = DataWritten, headers(("ETag"), ("Longshore-Token"))),
        Any, OfJson, OfCondition, OfFence,
    ),
)]
pub(crate) async fn put(
    gateway: Gateway,
    Path(key): Path<String>,
    Query(query): Query<FenceQuery>,
    headers: HeaderMap,
    Json(body): Json<DataPut>,
) -> Result<Response, Rejection> {
    let key = gateway.caller.key(key_of_path(key)?, "/key")?;
    let (waits, only_if) = (query.waits()?, precondition(&headers)?);
    let DataPut { data, tags } = body;
    put_data(&gateway, PutData { key, data, tags: gateway.caller.tags(few(tags)?)?, media_type: None, only_if }, waits)
        .await
}

/// `PUT /bytes/{key}`: any bytes, with their media type. Their tags are in `Cache-Groups`.
#[utoipa::path(
    put, path = "/bytes/{key}", tag = DATA, operation_id = "putBytes",
    summary = "Write data that are not JSON, with their media type",
    params(
        ("key" = DataKey, Path, description = "Percent-encoded.", example = "label"), FenceQuery, headers::OnlyIfMatch, headers::OnlyIfNoneMatch,
        headers::CacheGroups,
    ),
    request_body(content(("text/html", example = json!("<b>12 EUR</b>")), ("application/octet-stream"))),
    responses(
        (status = 200, description = "On disk, and nobody is answered with an older value any more.", body = DataWritten,
            headers(("ETag"), ("Longshore-Token")), example = json!({"version": 2, "fenced": true})),
        (status = 202, description = "On disk (`wait=0`).", body = DataWritten, headers(("ETag"), ("Longshore-Token"))),
        Any, OfBytes, OfCondition, OfFence,
    ),
)]
pub(crate) async fn put_bytes(
    gateway: Gateway,
    Path(key): Path<String>,
    Query(query): Query<FenceQuery>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Rejection> {
    let key = gateway.caller.key(key_of_path(key)?, "/key")?;
    let (waits, only_if) = (query.waits()?, precondition(&headers)?);
    let media_type = media_type(&headers)?;
    let data = stored_form(&body);
    let tags = gateway.caller.tags(few(groups(&headers)?)?)?;
    put_data(&gateway, PutData { key, data, tags, media_type: Some(media_type), only_if }, waits).await
}

async fn put_data(gateway: &Gateway, put: PutData, waits: bool) -> Result<Response, Rejection> {
    let tag = entity_tag(put.data.get().as_bytes());
    let mut response = written(gateway, Command::PutData(put), waits).await?;
    if response.status().is_success()
        && let Ok(tag) = HeaderValue::try_from(tag)
    {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

fn few(tags: Vec<Tag>) -> Result<Vec<Tag>, Problem> {
    let count = tags.len();
    let detail = || format!("There are {count} tags; at most {TAGS_MAX} are allowed.");
    if count <= TAGS_MAX { Ok(tags) } else { Err(Problem::invalid("/tags", detail())) }
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let stated = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let refused = |detail: String| Kind::UnsupportedMediaType.detail(detail);
    let stated = stated.ok_or_else(|| refused("State the media type of the bytes in Content-Type.".to_owned()))?;
    MediaType::try_from(stated).map_err(|error| refused(format!("Content-Type {error}.")))
}

/// `Cache-Groups` (RFC 9875): a list of strings (RFC 9651 §3.3.3), without escapes in them.
fn groups(headers: &HeaderMap) -> Result<Vec<Tag>, Problem> {
    let mut groups = Vec::new();
    for value in headers.get_all(CACHE_GROUPS) {
        let malformed = || Kind::BadRequest.detail("Cache-Groups is a list of strings: \"a\", \"b\".");
        let text = value.to_str().map_err(|_| malformed())?;
        for group in text.split(',').map(str::trim) {
            let name = group.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(malformed)?;
            if name.contains(['"', '\\']) {
                return Err(malformed());
            }
            groups.push(Tag::try_from(name).map_err(|error| Problem::invalid("/tags", format!("A tag {error}.")))?);
        }
    }
    Ok(groups)
}

/// `DELETE /data/{key}`
#[utoipa::path(
    delete, path = "/data/{key}", tag = DATA, operation_id = "deleteData",
    summary = "Delete data",
    params(("key" = DataKey, Path, description = "Percent-encoded.", example = "price"), FenceQuery, headers::OnlyIfMatch, headers::OnlyIfNoneMatch),
    responses(
        (status = 200, description = "On disk, and nobody is answered with an older value any more.", body = DataWritten,
            headers(("Longshore-Token")), example = json!({"version": 2, "fenced": true})),
        (status = 202, description = "On disk (`wait=0`).", body = DataWritten, headers(("Longshore-Token"))),
        Any, OfName, OfParameters, OfCondition, OfFence,
    ),
)]
pub(crate) async fn delete(
    gateway: Gateway,
    Path(key): Path<String>,
    Query(query): Query<FenceQuery>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    let key = gateway.caller.key(key_of_path(key)?, "/key")?;
    let (waits, only_if) = (query.waits()?, precondition(&headers)?);
    written(&gateway, Command::DeleteData(DeleteData { key, only_if }), waits).await
}

/// `DELETE /cache/{key}`
#[utoipa::path(
    delete, path = "/cache/{key}", tag = CACHES, operation_id = "invalidateKey",
    summary = "Let all caches forget a key",
    params(("key" = DataKey, Path, description = "Percent-encoded.", example = "price"), FenceQuery),
    responses(
        (status = 200, description = "Nobody is answered with an older value any more.", body = InvalidationAnswer,
            example = json!({"status": "deleted", "seq": 4, "fenced": true})),
        (status = 202, description = "It is on its way (`wait=0`).", body = InvalidationAnswer),
        Any, OfParameters, OfFence,
    ),
)]
pub(crate) async fn invalidate_key(
    gateway: Gateway,
    Path(key): Path<String>,
    Query(query): Query<FenceQuery>,
) -> Result<Response, Rejection> {
    let key = key_of_path(key)?;
    invalidate(&gateway, Covered::key(key.as_str()), query.waits()?).await
}

/// `POST /cache:invalidate`
#[utoipa::path(
    post, path = "/cache:invalidate", tag = CACHES, operation_id = "invalidate",
    summary = "Let all caches forget keys, tags, a prefix, or everything",
    params(FenceQuery),
    request_body(content = Invalidate, examples(
        ("keys" = (value = json!({"keys": ["price", "my_data"]}))),
        ("tags" = (value = json!({"tags": ["prices"]}))),
        ("prefix" = (value = json!({"prefix": "catalog:"}))),
        ("all" = (value = json!({"all": true}))),
    )),
    responses(
        (status = 200, description = "Nobody is answered with an older value any more.", body = InvalidationAnswer,
            example = json!({"status": "deleted", "seq": 4, "fenced": true})),
        (status = 202, description = "It is on its way (`wait=0`).", body = InvalidationAnswer),
        Any, OfJson, OfFence,
    ),
)]
pub(crate) async fn invalidate_many(
    gateway: Gateway,
    Query(query): Query<FenceQuery>,
    Json(form): Json<Invalidate>,
) -> Result<Response, Rejection> {
    let waits = query.waits()?;
    let covered = Covered::try_from(form).map_err(|reason| Problem::invalid("", reason.to_string()))?;
    invalidate(&gateway, covered, waits).await
}

/// What is covered, as the caller says it.
async fn invalidate(gateway: &Gateway, covered: Covered, wait: bool) -> Result<Response, Rejection> {
    let asked = gateway.caller.is_known().then(|| serde_json::to_string(&covered).unwrap_or_default());
    let answered = sequenced(gateway, gateway.caller.covered(covered)?, wait).await;
    if let Some(asked) = asked {
        let refused = answered.as_ref().err().map(|rejection| (*rejection.0).clone());
        gateway.store.record("cache.invalidate", asked, refused).await;
    }
    answered
}

async fn sequenced(gateway: &Gateway, covered: Covered, wait: bool) -> Result<Response, Rejection> {
    let peer = gateway.data.0.cache.peer();
    let within = ANSWER_WITHIN.saturating_sub(ON_THE_WAY);
    let within_ms = u64::try_from(within.as_millis()).ok();
    let request = InvalidationRequest { covered, wait, within_ms };
    // Twice is as good as once.
    let call = Call::post("/invalidations", &request).map_err(|error| peer.unsendable(&error))?.repeatable();
    let answer = peer.call(&call.within(ANSWER_WITHIN)).await?;
    let answer: InvalidationAnswer = answer.json()?.body;
    let status = if answer.fenced { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(answer)).into_response())
}

/// Writes, and answers when the write is fenced, if the client waits for that. Whatever the answer, its token is what the same client sends to
/// read its own write.
async fn written(gateway: &Gateway, command: Command, waits: bool) -> Result<Response, Rejection> {
    let until = Instant::now() + ANSWER_WITHIN;
    let (incarnation, reply) = gateway.store.apply_in(command).await?;
    let Reply::DataWritten { version, position } = reply else {
        return Err(anyhow::anyhow!("the store answered a data write with {}", reply.name()).into());
    };
    fault_point(FaultPoint::GatewayBeforeFence);
    let answer = |status, fenced| (status, Json(DataWritten { version, fenced })).into_response();
    let mut response = if !waits {
        answer(StatusCode::ACCEPTED, false)
    } else if fenced(gateway, position, until).await {
        answer(StatusCode::OK, true)
    } else {
        Rejection::from(unacknowledged(version)).into_response()
    };
    if let Ok(token) = HeaderValue::try_from(Place { incarnation, position }.to_string()) {
        response.headers_mut().insert(TOKEN_HEADER, token);
    }
    Ok(response)
}

fn unacknowledged(version: Version) -> Problem {
    Kind::FenceTimeout.problem().with("durable", true).with("version", version.0)
}

/// Waits until everything in the log up to `position` is fenced.
async fn fenced(gateway: &Gateway, position: Position, until: Instant) -> bool {
    let peer = gateway.data.0.store.peer();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let path = format!("/fenced?through={position}&wait_ms={}", left.as_millis());
        let answer = peer.call(&Call::get(path).within(left + PAUSE)).await;
        match answer.and_then(|answer| answer.json::<FencedThrough>()) {
            Ok(answer) if answer.body.fenced_through >= position => return true,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the store was asked for the fence in vain");
                tokio::time::sleep(PAUSE.min(left)).await;
            }
        }
    }
}

/// What `If-Match` or `If-None-Match` demand.
fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Problem> {
    let stated = |name: HeaderName| -> Result<Option<Vec<String>>, Problem> {
        let mut tags = Vec::new();
        for value in headers.get_all(&name) {
            let text = value.to_str().map_err(|_| Kind::BadRequest.detail(format!("{name} is not text.")))?;
            tags.extend(text.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()));
        }
        if tags.is_empty() && headers.contains_key(&name) {
            // A client that lost its tag on the way must not write as if it had set no condition.
            return Err(Kind::BadRequest.detail(format!("{name} is empty: it has entity tags, or is *.")));
        }
        if let Some(bad) = tags.iter().find(|tag| !is_tag(tag)) {
            return Err(Kind::BadRequest.detail(format!("{name} has {bad:?}: entity tags are quoted, or it is *.")));
        }
        Ok((!tags.is_empty()).then_some(tags))
    };
    let any = |tags: &[String]| tags.iter().any(|tag| tag == "*");
    match (stated(IF_MATCH)?, stated(IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (Some(tags), None) if any(&tags) => Ok(Some(Precondition::Exists)),
        (Some(tags), None) => Ok(Some(Precondition::AnyOf(tags))),
        (None, Some(tags)) if any(&tags) => Ok(Some(Precondition::Absent)),
        (None, Some(tags)) => Ok(Some(Precondition::NoneOf(tags))),
        (Some(_), Some(_)) => Err(Kind::BadRequest.detail("State If-Match or If-None-Match, not both.")),
    }
}

fn is_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    text == "*" || opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions_are_read_from_either_header() {
        let check = |name: HeaderName, text: &'static str, expected: Option<Precondition>| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(text))]);
            assert_eq!(precondition(&headers).ok().flatten(), expected, "{text}");
        };
        let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect();
        check(IF_MATCH, "*", Some(Precondition::Exists));
        check(IF_NONE_MATCH, "*", Some(Precondition::Absent));
        check(IF_MATCH, "\"a\", \"b\"", Some(Precondition::AnyOf(tags(&["\"a\"", "\"b\""]))));
        check(IF_NONE_MATCH, "\"a\"", Some(Precondition::NoneOf(tags(&["\"a\""]))));
        check(IF_MATCH, "a", None);
        for empty in [
            HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static(""))]),
            HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(" , "))]),
        ] {
            assert!(precondition(&empty).is_err(), "{empty:?}");
        }
        assert_eq!(precondition(&HeaderMap::new()), Ok(None));
        let both = [(IF_MATCH, HeaderValue::from_static("*")), (IF_NONE_MATCH, HeaderValue::from_static("*"))];
        assert!(precondition(&HeaderMap::from_iter(both)).is_err());
    }
}
