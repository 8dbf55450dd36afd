//! What takes long or needs more than the other tests: run by `tests/run --all`.

mod broker_cluster;
mod caches;
mod chaos;
mod console;
mod description;
mod fault_points;
mod full_broker;
mod garden;
mod kills;
mod operator;
mod upgrade;
