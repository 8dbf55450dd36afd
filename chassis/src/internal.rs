//! Calls between the programs of one system: with a key that all of them have, whoever calls shows it, and whoever is called asks for it.

use std::fmt;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use protocol::problem::Kind;
use subtle::ConstantTimeEq;

use crate::config::{Common, ConfigError, Source, key_of};
use crate::http::Rejection;

/// The key that the programs have in common; none: nobody asks, nobody shows. It is not shown where this is.
#[derive(Clone, Default)]
pub struct InternalKey(Option<HeaderValue>);

impl fmt::Debug for InternalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InternalKey").field(&self.0.is_some()).finish()
    }
}

impl InternalKey {
    /// Reads the file that `LONGSHORE_INTERNAL_KEY_FILE` names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let file = Common::load(source).map(|common| common.internal_key_file).unwrap_or_default();
        if file.is_empty() {
            return Ok(Self(None));
        }
        Ok(Self::of(&key_of("LONGSHORE_INTERNAL_KEY_FILE", &file)?))
    }

    fn of(key: &str) -> Self {
        let mut shown = HeaderValue::try_from(format!("Bearer {key}")).expect("a word of printable characters");
        shown.set_sensitive(true);
        Self(Some(shown))
    }

    /// What a caller shows in `Authorization`.
    pub(crate) fn shown(&self) -> Option<&HeaderValue> {
        self.0.as_ref()
    }

    /// The router, for whoever shows the key.
    pub fn guard(&self, router: Router) -> Router {
        match &self.0 {
            Some(key) => router.layer(from_fn_with_state(key.clone(), only_with)),
            None => router,
        }
    }
}

async fn only_with(State(key): State<HeaderValue>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION);
    if shown.is_some_and(|shown| shown.as_bytes().ct_eq(key.as_bytes()).into()) {
        return next.run(request).await;
    }
    let detail = "This is for the programs of the system: give both sides the same LONGSHORE_INTERNAL_KEY_FILE.";
    let mut response = Rejection::from(Kind::Unauthenticated.detail(detail)).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"longshore-internal\""));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_key_is_a_word_in_a_file_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let load = |text: &str| {
            let file = folder.path().join("key");
            std::fs::write(&file, text).expect("written");
            InternalKey::load(&Source::from_pairs([("LONGSHORE_INTERNAL_KEY_FILE", file.display().to_string())]))
        };
        let key = load(&format!("{KEY}\n")).expect("good");
        assert_eq!(key.shown().expect("there").as_bytes(), format!("Bearer {KEY}").as_bytes());
        assert!(!format!("{key:?} {:?}", key.shown()).contains(KEY), "{key:?}");
        for bad in ["", "short", "0123456789abcdef 0123456789abcdef"] {
            let error = load(bad).expect_err(bad).to_string();
            assert!(error.contains("32 printable characters") && !error.contains("0123"), "{error}");
        }
        let nowhere = Source::from_pairs([("LONGSHORE_INTERNAL_KEY_FILE", "/nowhere/key")]);
        assert!(InternalKey::load(&nowhere).expect_err("no file").to_string().contains("cannot be read"));
        assert!(InternalKey::load(&Source::default()).expect("none is fine").shown().is_none());
    }

    #[tokio::test]
    async fn only_whoever_shows_it_comes_in() {
        let key = InternalKey::of(KEY);
        let router = |key: &InternalKey| key.guard(Router::new().route("/", get(|| async { "in" })));
        let status = async |key: &InternalKey, shown: Option<&str>| {
            let mut request = Request::get("/");
            if let Some(shown) = shown {
                request = request.header(AUTHORIZATION, shown);
            }
            let response =
                router(key).oneshot(request.body(Body::empty()).expect("a request")).await.expect("answered");
            response.status().as_u16()
        };
        assert_eq!(status(&key, Some(&format!("Bearer {KEY}"))).await, 200);
        assert_eq!(status(&key, Some(&format!("Bearer {KEY}0"))).await, 401);
        assert_eq!(status(&key, Some(KEY)).await, 401);
        assert_eq!(status(&key, None).await, 401);
        assert_eq!(status(&InternalKey::default(), None).await, 200);
    }
}
