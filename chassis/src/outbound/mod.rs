//! Requests to URLs that somebody names, beyond the programs of ours: over TLS, to public addresses only unless others are allowed, without following
//! redirects, each with a bound and a deadline.

mod networks;
#[cfg(feature = "outbound")]
mod post;
mod target;
#[cfg(feature = "outbound")]
mod trust;

pub use networks::{Network, Reach};
#[cfg(feature = "outbound")]
pub use post::{Answer, Failed, Post, post};
pub use target::{Target, URL_BYTES_MAX};
#[cfg(feature = "outbound")]
pub use trust::Trust;
