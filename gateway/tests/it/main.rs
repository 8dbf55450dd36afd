//! The gateway from outside: over HTTP, against a scripted store and the embedded broker.

mod bells;
mod data;
mod gateway;
mod leases;
mod refusals;
mod scripted;
mod sequencer;
mod status;
mod submit;
mod waiting;
