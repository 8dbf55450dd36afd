//! Runs a page of the documentation: pastes its commands into a shell, block by block, and holds what is printed to what the page says.
//!
//! - A block marked `sh` is pasted as it is, into one shell for the whole page, in a folder that holds what a clone holds.
//! - A block marked `text` after it is what the commands print. Without one they print nothing and succeed. What runs in the background may
//!   take until the block's deadline to print it.
//! - How printed lines may differ is said in [`matching`]; which blocks are not pasted as they are, and what holds them, in [`special`].
//! - A block of any other language is a quotation: each of its paragraphs stands in a file of the clone.

pub mod clone;
pub mod matching;
pub mod page;
mod quotation;
pub mod run;
pub mod shell;
pub mod special;

pub use run::{Means, run};
