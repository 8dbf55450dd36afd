//! Small models of the product's protocols, explored exhaustively. They call the decisions of `protocol` themselves, so what is
//! proven here is what runs.

mod coherence;
mod jobs;
mod reach;
