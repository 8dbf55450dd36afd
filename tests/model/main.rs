//! Small models of the product's protocols, explored exhaustively. They call the decisions of `protocol` themselves, so what is
//! proven here is what runs.
#![expect(clippy::print_stdout, reason = "what was explored, and what holds in it, is printed")]

mod coherence;
mod jobs;
mod reach;
