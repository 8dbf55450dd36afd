//! Configuration: an embedded, commented TOML file is the documentation and the default; `LONGSHORE_…` overrides it.
//!
//! Everything is read and checked before a port is bound, and everything that is wrong is said at once.

mod address;
mod common;
mod exit;
mod fault;
mod file;
mod known;
mod load;
mod source;

pub use address::{Address, Addresses, Listen, Names};
pub(crate) use common::DEFAULTS as COMMON_DEFAULTS;
pub use common::{Common, LogFormat};
pub use exit::{ExitWith, exit_code, exit_status};
pub use fault::{ConfigError, Fault, check_range};
pub use file::{key_of, text_of};
pub use known::{KNOWN, SECRET_PREFIX, is_known};
pub use load::{load, load_checked, refuse_exposed, variable_of};
pub use source::Source;
