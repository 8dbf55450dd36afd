//! The commands of operators: queues, schedules, workers, the balancer's backends, and all of it at a glance.

pub(crate) mod backends;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod tenants;
pub(crate) mod top;
pub(crate) mod workers;
