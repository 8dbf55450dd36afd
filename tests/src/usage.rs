//! What a process uses: the same reading that the programs show of themselves.

pub use chassis::usage::Usage;
