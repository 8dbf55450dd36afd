//! Bounds the memory that bodies take: a request is let in if its body still fits beside those that are under way, else told to come back.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chassis::http::Rejection;
use protocol::problem::Kind;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::BODY_BYTES;

/// Bodies are counted in units of so many bytes.
const UNIT_BYTES: u64 = 1 << 10;

/// The room for bodies. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
}

/// The place of one request's body, given back with the answer, or when its handler has let go of the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        let unit = usize::try_from(UNIT_BYTES).unwrap_or(usize::MAX);
        Self { free: Arc::new(Semaphore::new(bytes.div_ceil(unit).min(Semaphore::MAX_PERMITS))) }
    }

    /// A place for a body of at most so many bytes.
    fn place(&self, bytes: u64) -> Option<Place> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        if units == 0 {
            return Some(Place::default());
        }
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
        Some(Place { held: Arc::new(Mutex::new(Some(permit))) })
    }
}

impl Place {
    /// The body is gone: others may come.
    pub(crate) fn release(&self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Lets a request in, or answers 429.
pub(crate) async fn admit(State(room): State<Room>, mut request: Request, next: Next) -> Response {
    // A body without a stated length may be as long as any; one that is longer is refused before it is read.
    let bytes = request.body().size_hint().upper().unwrap_or(u64::MAX).min(BODY_BYTES);
    let Some(place) = room.place(bytes) else {
        metrics::counter!("longshore_bodies_refused_total", "program" => "gateway").increment(1);
        let detail = "Too many large requests are under way; try again later.";
        return Rejection::from(Kind::RateLimited.detail(detail)).into_response();
    };
    request.extensions_mut().insert(place.clone());
    let answer = next.run(request).await;
    place.release();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_room_until_they_are_gone() {
        let room = Room::new(10 << 10);
        let first = room.place(8_000).expect("room");
        let small = room.place(1).expect("room");
        assert!(room.place(1_025).is_none());
        assert!(room.place(0).is_some());
        first.release();
        first.release();
        assert!(room.place(9 << 10).is_some());
        drop(small);
        assert!(room.place(10 << 10).is_some());
        assert!(room.place(u64::MAX).is_none());
    }
}
