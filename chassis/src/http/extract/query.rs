//! Query parameters: a wrong, unknown or repeated one is a 422 that names it.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use http::request::Parts;
use protocol::problem::{FieldError, Problem};
use serde::de::DeserializeOwned;

use crate::http::rejection::Rejection;

/// The parameters of the query. To refuse unknown ones, `T` denies unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Query<T>, Rejection> {
        Ok(Query(parse(parts.uri.query().unwrap_or_default())?))
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if seen.contains(&name) {
            return Err(Problem::invalid(format!("/{name}"), "the query parameter is given twice"));
        }
        seen.push(name);
    }
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let detail = error.inner().to_string();
        let path = error.path().to_string();
        let quoted = detail.split('`').nth(1).filter(|_| path == "." || path == "?").map(str::to_owned);
        let name = quoted.unwrap_or(path);
        Problem::invalid_fields(vec![FieldError::new(format!("/{name}"), format!("query parameter: {detail}"))])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct List {
        status: Option<Status>,
        limit: Option<u16>,
        queue: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Status {
        Queued,
        Running,
    }

    fn check(query: &str, expected: Option<&str>) {
        let found = parse::<List>(query).err().map(|problem| problem.errors[0].pointer.clone());
        assert_eq!(found.as_deref(), expected, "{query}");
    }

    #[test]
    fn a_bad_parameter_is_named() {
        check("queue=a&limit=7&status=queued", None);
        check("queue=a%20b", None);
        check("limit=7", Some("/queue"));
        check("queue=a&limit=many", Some("/limit"));
        check("queue=a&limit=70000", Some("/limit"));
        check("queue=a&limit=", Some("/limit"));
        check("queue=a&status=lost", Some("/status"));
        check("queue=a&queue=b", Some("/queue"));
        check("queue=a&lmit=7", Some("/lmit"));
        check("queue=a&=", Some("/"));
    }
}
