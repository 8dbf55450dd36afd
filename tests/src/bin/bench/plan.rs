//! How much is measured.

use std::time::Duration;

use crate::programs::Installed;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) installed: Installed,
    /// Each contender is measured once in each.
    pub(crate) rounds: usize,
    /// How long one measurement takes, more or less.
    pub(crate) length: Duration,
    /// The same of the balancers, of which there are many cases.
    pub(crate) balancer_rounds: usize,
    pub(crate) balancer_length: Duration,
    pub(crate) open_loop_rounds: usize,
    /// Rounds of what the balancer withstands.
    pub(crate) withstand_rounds: usize,
    /// Jobs that wait.
    pub(crate) backlog: usize,
}
