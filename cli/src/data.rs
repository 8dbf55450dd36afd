//! `longshore data`, `invalidate` and `inspect`: hot data, and the caches before it.

pub(crate) mod inspect;

use std::process::ExitCode;

use bytes::Bytes;
use chassis::client::{Answer, Call, segment};
use chassis::config::{ExitWith, Source};
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use protocol::cache_api::{self, DataWritten, InvalidationAnswer, TOKEN_HEADER};
use protocol::key::{DataKey, MediaType, Tag};

use crate::arguments::{Data, DataDelete, DataGet, DataPut, DataWrite, Invalidate};
use crate::client::{Client, REFUSED, get, input, post, request};
use crate::output;

const TOKEN: HeaderName = HeaderName::from_static(TOKEN_HEADER);
const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

pub(crate) async fn run(data: Data, source: &Source) -> anyhow::Result<ExitCode> {
    match data {
        Data::Get(arguments) => read(arguments, source).await,
        Data::Put(arguments) => put(arguments, source).await,
        Data::Delete(arguments) => delete(arguments, source).await,
    }
}

/// The value as it is: JSON with a line's end, bytes without.
async fn read(arguments: DataGet, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let form = if arguments.json { "data" } else { "bytes" };
    let mut call = get(format!("/{form}/{}", segment(arguments.key.as_str())));
    if let Some(token) = arguments.token {
        call = call.header(TOKEN, token);
    }
    let answer = client.send(&call).await.map_err(|error| client.absent(&error))?;
    if answer.status == StatusCode::NOT_FOUND {
        let sentence = format!("there is no data under the key {}.", arguments.key);
        return Err(ExitWith { status: REFUSED, sentence }.into());
    }
    let answer = client.accepted(&call, answer)?;
    if answer.text(CONTENT_TYPE.as_str()).is_some_and(|media_type| media_type.starts_with("application/json")) {
        output::json(&answer.body)?;
    } else {
        output::bytes(&answer.body)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn put(arguments: DataPut, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let call = match &arguments.media_type {
        None => of_json(&arguments)?,
        Some(media_type) => of_bytes(&arguments, media_type)?,
    };
    written(&client, call, &arguments.key, arguments.write, "is written").await
}

fn of_json(arguments: &DataPut) -> anyhow::Result<Call> {
    let data = input::json("VALUE", &arguments.value)?;
    let mut body = serde_json::Map::new();
    let tags: Vec<&str> = arguments.tags.iter().map(Tag::as_str).collect();
    if !tags.is_empty() {
        body.insert("tags".to_owned(), tags.into());
    }
    // The value is passed on as it was written.
    let rest = serde_json::to_string(&body)?;
    let rest = rest.strip_prefix('{').unwrap_or_default();
    let comma = if body.is_empty() { "" } else { "," };
    let json = format!("{{\"data\":{data}{comma}{rest}");
    let path = path("data", &arguments.key, &arguments.write);
    Ok(Call::new(Method::PUT, path, true).json_bytes(json))
}

fn of_bytes(arguments: &DataPut, media_type: &MediaType) -> anyhow::Result<Call> {
    let advice = || input::bad("bytes are given as @FILE, or - for standard input.".to_owned());
    let bytes = input::bytes(&arguments.value).ok_or_else(advice)??;
    let media_type = HeaderValue::try_from(media_type.as_str())?;
    let call = Call::new(Method::PUT, path("bytes", &arguments.key, &arguments.write), true).bytes(bytes, media_type);
    if arguments.tags.is_empty() {
        return Ok(call);
    }
    let quoted: Vec<String> = arguments.tags.iter().map(|tag| format!("\"{tag}\"")).collect();
    let groups = HeaderValue::try_from(quoted.join(", "));
    let groups = groups.map_err(|_| input::bad("with --media-type a tag must be printable ASCII.".to_owned()))?;
    Ok(call.header(CACHE_GROUPS, groups))
}

async fn delete(arguments: DataDelete, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let call = request(Method::DELETE, path("data", &arguments.key, &arguments.write));
    written(&client, call, &arguments.key, arguments.write, "is deleted").await
}

fn path(form: &str, key: &DataKey, write: &DataWrite) -> String {
    format!("/{form}/{}{}", segment(key.as_str()), if write.no_wait { "?wait=0" } else { "" })
}

async fn written(
    client: &Client,
    mut call: Call,
    key: &DataKey,
    write: DataWrite,
    done: &str,
) -> anyhow::Result<ExitCode> {
    for (name, value) in [(IF_MATCH, write.if_match), (IF_NONE_MATCH, write.if_none_match)] {
        if let Some(value) = value {
            call = call.header(name, value);
        }
    }
    let answer = client.call(&call).await?;
    if write.json {
        output::json(&answer.body)?;
    } else if write.token {
        output::line(token(&answer)?)?;
    } else {
        let DataWritten { version, fenced } = client.read(&answer.body)?;
        output::line(format!("{key} {done} as version {version}{}", seen(fenced)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn token(answer: &Answer<Bytes>) -> anyhow::Result<&str> {
    answer.text(TOKEN_HEADER).ok_or_else(|| anyhow::anyhow!("the answer has no token"))
}

fn seen(fenced: bool) -> &'static str {
    if fenced { "; nobody reads an older value any more." } else { "; others may read an older value for a moment." }
}

/// Done when every gateway has acknowledged it, or can no longer serve an older value.
pub(crate) async fn invalidate(arguments: &Invalidate, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let body = cache_api::Invalidate {
        keys: arguments.keys.iter().map(ToString::to_string).collect(),
        tags: arguments.tags.iter().map(ToString::to_string).collect(),
        prefix: arguments.prefix.clone(),
        all: arguments.all,
    };
    let query = if arguments.no_wait { "?wait=0" } else { "" };
    let answer = client.call(&post(&format!("/cache:invalidate{query}"), &body)?).await?;
    if arguments.json {
        output::json(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let InvalidationAnswer { fenced, .. } = client.read(&answer.body)?;
    for what in covered(&body) {
        output::line(if fenced {
            format!("Nobody reads an older value of {what} any more.")
        } else {
            format!("Older values of {what} are dropped; somebody may read one for a moment.")
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What an invalidation covers, in words.
fn covered(body: &cache_api::Invalidate) -> Vec<String> {
    let tags = body.tags.iter().map(|tag| format!("a key with the tag {tag}"));
    let prefix = body.prefix.iter().map(|prefix| format!("a key that begins with {prefix}"));
    let all = body.all.then(|| "any key".to_owned());
    body.keys.iter().cloned().chain(tags).chain(prefix).chain(all).collect()
}
