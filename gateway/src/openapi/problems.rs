//! The errors that a route may answer, made from the catalogue of problems: annotations name a set, the document has each answer once.

use std::collections::BTreeMap;

use protocol::problem::{CONTENT_TYPE, Kind, Problem};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::headers;

/// One answer: the kinds of one status that it may have.
type Kinds = &'static [Kind];

macro_rules! problems {
    ($($(#[$doc:meta])+ $set:ident = $([$($kind:ident)+])+;)+) => {
        $(
            $(#[$doc])+
            pub(crate) enum $set {}

            impl IntoResponses for $set {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    [$(reference(&[$(Kind::$kind),+])),+].into()
                }
            }
        )+

        /// All answers of all sets.
        const ALL: &[Kinds] = &[$($(&[$(Kind::$kind),+]),+),+];
    };
}

problems! {
    /// Any request may be answered these, by a gateway or by the balancer before it.
    Any = [BadRequest] [RequestTimeout] [UriTooLong] [RateLimited] [HeadersTooLarge] [Internal] [NotImplemented] [BadGateway]
        [Unavailable TooManyConnections] [GatewayTimeout];
    /// Of a body of JSON.
    OfJson = [BadJson BadRequest] [PayloadTooLarge] [UnsupportedMediaType] [Invalid];
    /// Of a body of any media type.
    OfBytes = [PayloadTooLarge] [UnsupportedMediaType] [Invalid];
    /// Of parameters in the query, or of a data key in the path.
    OfParameters = [Invalid];
    /// Of what is named in the path.
    OfName = [NotFound];
    /// Of a job in the path.
    OfJob = [NotFound] [JobExpired];
    /// Of a job that must be in another state.
    OfState = [Conflict];
    /// Of a job's result.
    OfResult = [NotFound NotFinished NoResult] [JobExpired];
    /// Of a job that is submitted.
    OfSubmit = [UniqueConflict] [JobExpired] [Invalid IdempotencyMismatch] [RateLimited QueueFull TenantFull];
    /// Of a job that is submitted under an id, or opened again.
    OfReopening = [Conflict UniqueConflict] [JobExpired] [RateLimited QueueFull TenantFull];
    /// Of what is put, and of which there may be only so many.
    OfPut = [Conflict];
    /// Of a job that a schedule makes at once.
    OfRun = [Conflict UniqueConflict] [Invalid] [RateLimited QueueFull TenantFull];
    /// Of a lease in the path.
    OfLease = [NotFound] [JobExpired LeaseLost];
    /// Of a write that is conditional.
    OfCondition = [PreconditionFailed];
    /// Of an acknowledgement by all caches.
    OfFence = [Unavailable TooManyConnections FenceTimeout NotSequencer];
}

/// What is answered to who may not: of an operation that changes nothing, of one that does, and of one that is open to all.
pub(super) const REFUSED_TO_READ: &[Kinds] = &[&[Kind::Unauthenticated], &[Kind::MissingScope]];
pub(super) const REFUSED_TO_CHANGE: &[Kinds] = &[&[Kind::Unauthenticated], &[Kind::MissingScope, Kind::ForeignOrigin]];
pub(super) const FOREIGN: Kinds = &[Kind::ForeignOrigin];

/// What is answered where no operation is: no route, or none with this method.
const OF_NO_OPERATION: &[Kind] = &[Kind::NotFound, Kind::MethodNotAllowed];

/// The answers for the document's components, by name.
pub(super) fn components() -> BTreeMap<String, RefOr<Response>> {
    let of_no_operation = OF_NO_OPERATION.iter().map(std::slice::from_ref);
    let refusals = REFUSED_TO_READ.iter().chain(REFUSED_TO_CHANGE).copied().chain([FOREIGN]);
    ALL.iter()
        .copied()
        .chain(of_no_operation)
        .chain(refusals)
        .map(|kinds| (name(kinds), response(kinds).into()))
        .collect()
}

pub(super) fn reference(kinds: Kinds) -> (String, RefOr<Response>) {
    let status = kinds.first().map_or(0, |kind| kind.status());
    (status.to_string(), Ref::from_response_name(name(kinds)).into())
}

fn name(kinds: &[Kind]) -> String {
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
    names.join("Or")
}

fn response(kinds: &[Kind]) -> Response {
    let said = |kind: &Kind| format!("`{}`: {}", kind.name(), kind.default_detail());
    let description: Vec<String> = kinds.iter().map(said).collect();
    let examples = kinds.iter().map(|kind| {
        let value = serde_json::to_value(example(*kind)).ok();
        (kind.name(), ExampleBuilder::new().summary(kind.title()).value(value).build())
    });
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).examples_from_iter(examples);
    let response = ResponseBuilder::new().description(description.join("\n\n")).content(CONTENT_TYPE, content.build());
    let named = match kinds {
        [Kind::MethodNotAllowed] => Some("Allow"),
        [Kind::Unauthenticated | Kind::MissingScope, ..] => Some("WWW-Authenticate"),
        [kind, ..] if kind.problem().retry_after().is_some() => Some("Retry-After"),
        _ => None,
    };
    let header = named.and_then(|name| Some((name, headers::of_answer(name)?)));
    header.into_iter().fold(response, |response, (name, header)| response.header(name, header)).build()
}

fn example(kind: Kind) -> Problem {
    const JOB: &str = "01a20a59-5fde-7768-b4a1-84f689f0b1a6";
    match kind {
        Kind::Invalid => Problem::invalid("/max_attempts", "is 0, but must be 1 to 100"),
        Kind::UniqueConflict | Kind::JobExpired => kind.problem().with("job_id", JOB),
        Kind::FenceTimeout => kind.problem().with("durable", true).with("version", 7),
        _ => kind.problem(),
    }
}
