//! Jobs that are made again and again: what a schedule says is checked here, when it is due is the store's business.

pub(crate) use control::{delete, pause, resume, run};
pub(crate) use list::{list, one};
pub(crate) use put::put;

mod control;
mod list;
mod put;
