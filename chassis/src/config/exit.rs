//! How a program ends when it cannot go on.

use super::fault::ConfigError;

/// An error that a program ends with in its own way, for example 73 for a database that another process holds.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct ExitWith {
    pub status: u8,
    pub sentence: String,
}

/// `EX_USAGE` of sysexits.h: the configuration is wrong.
const USAGE: u8 = 64;

/// The exit status of an error: 64 for configuration, an [`ExitWith`]'s own, else 1.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<ConfigError>() {
            return USAGE;
        }
        if let Some(exit) = cause.downcast_ref::<ExitWith>() {
            return exit.status;
        }
    }
    1
}

/// [`exit_status`] as what `main` returns.
pub fn exit_code(error: &anyhow::Error) -> std::process::ExitCode {
    exit_status(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fault;
    use anyhow::Context;

    #[test]
    fn configuration_is_64_and_others_say_their_own() {
        let config: anyhow::Error = ConfigError::from(Fault::missing("AMQP_URL", "a URL")).into();
        assert_eq!(exit_status(&config.context("starting")), 64);
        let locked = Err::<(), _>(ExitWith { status: 73, sentence: "held by process 7".to_owned() });
        assert_eq!(exit_status(&locked.context("opening").unwrap_err()), 73);
        assert_eq!(exit_status(&anyhow::anyhow!("else")), 1);
    }
}
