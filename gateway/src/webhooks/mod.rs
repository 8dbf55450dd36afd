//! Who is told of the ends of jobs: what a webhook says is checked here, sending is the store's business.

pub(crate) mod control;
pub(crate) mod deliveries;
pub(crate) mod list;
pub(crate) mod put;
