//! The worker from outside: real programs as tasks, and the runtime against a scripted store.

mod commands;
mod guards;
mod handlers;
mod runtime;
mod scripted;
mod services;
