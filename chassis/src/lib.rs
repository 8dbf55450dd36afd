//! How services live.

pub mod broker;
