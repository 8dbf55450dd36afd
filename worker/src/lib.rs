//! Runs jobs: takes their bells from the broker, claims them at the store, runs their handlers and records how that ended.
//! As a library it runs handlers written in Rust; the program runs the tasks of a TOML file.

pub mod context;
pub mod executor;
pub mod handler;
pub mod registry;
pub mod settle;
pub mod tasks;
