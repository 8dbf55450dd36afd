//! The gateway from outside: over HTTP, against a scripted store and the embedded broker.

mod bells;
mod gateway;
mod refusals;
mod scripted;
mod status;
mod submit;
mod waiting;
