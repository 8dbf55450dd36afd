//! Model (a): one job, from create to its outcome, under a broker that duplicates, drops and reorders, two workers that stop and wake,
//! and a network that loses answers and delivers requests late. It checks promise 1 (nothing accepted is lost) and promise 2 (one owner at a
//! time, one recorded outcome).
//!
//! Time passes in ticks of one second; the lease is two ticks, its margin one, as `protocol::lease` says.

mod check;
mod store;
mod system;
mod worker;
