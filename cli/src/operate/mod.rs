//! The commands of operators: queues, workers, the balancer's backends, and all of it at a glance.

pub(crate) mod backends;
pub(crate) mod queues;
pub(crate) mod top;
pub(crate) mod workers;
