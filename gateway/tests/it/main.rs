//! The gateway from outside: over HTTP, against a scripted store and the embedded broker.

mod bells;
mod data;
mod gateway;
mod queues;
mod refusals;
mod retries;
mod scripted;
mod sequencer;
mod status;
mod submit;
mod waiting;
