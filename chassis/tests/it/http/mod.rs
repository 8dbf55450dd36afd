//! HTTP as it is on the wire, mostly through raw sockets.

mod drain;
mod errors;
mod limits;
mod observe;
