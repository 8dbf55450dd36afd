//! Jobs that are made again and again: what a schedule says is checked here, when it is due is the store's business.

pub(crate) mod control;
pub(crate) mod list;
pub(crate) mod put;
