//! System tests: the whole system as real processes, and the rules that hold for the source itself.

mod harness;
mod tidy;
