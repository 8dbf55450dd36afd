//! Faults, each with its published bound: what was accepted ends, once, whatever dies.

mod broker;
mod owners;
mod poison;
mod restart;
mod worker;
