//! The commands of operators: queues, schedules, webhooks, workers, the balancer's backends, and all of it at a glance.

pub(crate) mod backends;
pub(crate) mod keys;
mod named;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod tenants;
pub(crate) mod top;
pub(crate) mod webhooks;
pub(crate) mod workers;
