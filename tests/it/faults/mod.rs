//! Faults, each with its published bound: what was accepted ends, once, whatever dies.

mod broker;
mod clients;
mod dead;
mod disk;
mod links;
mod owners;
mod poison;
mod queue;
mod restart;
mod torn;
mod worker;
