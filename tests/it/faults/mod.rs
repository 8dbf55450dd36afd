//! Faults, each with its published bound: what was accepted ends, once, whatever dies.

mod broker;
mod links;
mod queue;
mod restart;
mod worker;
