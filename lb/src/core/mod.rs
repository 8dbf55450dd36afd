//! The decisions of the balancer, without sockets, clocks or HTTP: whom a request goes to, who is left out, how often it may be tried again. Times
//! and random numbers come in as arguments, so a seed tells a whole run (see `simulation_tests.rs`).

pub(crate) mod budget;
pub(crate) mod ejection;
pub(crate) mod health;
pub(crate) mod latency;
pub(crate) mod pace;
pub(crate) mod pick;
pub(crate) mod ramp;
pub(crate) mod rate;
#[cfg(test)]
mod simulation_tests;
pub(crate) mod turns;
