//! The edge.

pub mod jobs;
