//! The gateway from outside: over HTTP, against a scripted store and the embedded broker.

mod batch;
mod bells;
mod data;
mod events;
mod gateway;
mod refusals;
mod scripted;
mod sequencer;
mod status;
mod submit;
mod waiting;
