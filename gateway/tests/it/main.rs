//! The gateway from outside: over HTTP, against a scripted store and the embedded broker.

mod access;
mod allocations;
mod batch;
mod bells;
mod console;
mod data;
mod demands;
mod description;
mod events;
mod gateway;
mod keyring;
mod leases;
mod queues;
mod refusals;
mod retries;
mod samples;
mod scripted;
mod sequencer;
mod status;
mod submit;
mod waiting;
