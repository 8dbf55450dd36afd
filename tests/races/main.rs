//! The races of caches that are invalidated, by their number in README.md: one test or more for each, so that an interleaving that made
//! somebody's cache answer with an old value is a test of ours. Most drive a store, a cache-svc and gateways through gates, which hold
//! questions and answers until the test lets them go; where a core decides alone, it is driven step by step, its clock a number.

mod cores;
mod events;
mod fences;
mod fills;
mod gate;
mod herds;
mod system;
mod terms;
mod tokens;

use std::time::Duration;

/// Long enough for anything that should happen at once on a busy machine.
const SOON: Duration = Duration::from_secs(10);
