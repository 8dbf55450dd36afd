//! The port over AMQP 0-9-1.

mod probe;

pub(crate) use probe::probe;

use super::{Broker, ConnectError, ConnectOptions};

pub(super) fn connect(_url: &str, _options: ConnectOptions) -> Result<Broker, ConnectError> {
    Err(ConnectError::Runtime(std::io::Error::other("the AMQP adapter is being built")))
}
