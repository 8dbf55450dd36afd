//! Leases over HTTP: workers in any language take jobs, keep them, and say how they ended.

pub(crate) mod end;
pub(crate) mod take;

pub(crate) use end::{complete, fail, heartbeat, release};
pub(crate) use take::take;

/// Workers that wait for jobs at once; one more is answered 429.
pub(crate) const WAITERS_MAX: usize = 1_024;
