//! `GET /sessions/{id}/news`: cancels, lost leases and pauses, as soon as they are committed.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Path, Query, Rejection};
use protocol::ids::SessionId;
use protocol::problem::Kind;
use serde::Deserialize;

use super::Service;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewsQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait_ms: u64,
}

/// Another store may have registered it a moment ago.
async fn is_stored(service: &Service, session: SessionId) -> Result<bool, Rejection> {
    let sessions = service.inner.readers.read(|reader| reader.sessions()).await?;
    Ok(sessions.iter().any(|(known, _)| *known == session))
}

pub(super) async fn news(
    State(service): State<Service>,
    Path(session): Path<SessionId>,
    Query(query): Query<NewsQuery>,
) -> Result<Response, Rejection> {
    let wait = service.wait(query.wait_ms)?;
    let hub = &service.inner.hub;
    if hub.live.borrow().session(session).is_none() && !is_stored(&service, session).await? {
        return Err(Kind::UnknownSession.into());
    }
    let news = service.wait_for(wait, hub.news.wait_after(session, query.after)).await?;
    let news = news.unwrap_or_else(|| hub.news.after(session, query.after));
    Ok(service.at(*hub.head.borrow(), Json(news)))
}
