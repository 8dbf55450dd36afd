//! Arguments of the commands for operators: the balancer's backends, `top`, `doctor`, and completions.

use std::path::PathBuf;

use chassis::broker;
use chassis::config::Address;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::{DATA_DIR, GATEWAYS, Service, Shown, address};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Backends {
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        help = "Where the balancer listens for operators [default: LONGSHORE_ADMIN_LISTEN]"
    )]
    pub(crate) admin: Option<String>,
    #[command(flatten)]
    pub(crate) shown: Shown,
    #[command(subcommand)]
    pub(crate) action: Option<BackendAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackendAction {
    /// Add a backend, or give it another weight
    Set {
        /// host:port
        #[arg(value_parser = address)]
        address: Address,
        /// How much of the work it gets beside the others, 1 to 256; 0 drains it
        weight: u32,
    },
    /// Remove a backend; what it has begun goes on to its end
    Remove {
        /// host:port
        #[arg(value_parser = address)]
        address: Address,
    },
    /// Read `LONGSHORE_BACKENDS_FILE` and the certificate again
    Reload,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) service: Service,
    #[arg(
        long,
        value_name = "ADDRESS",
        help = "Where the balancer listens for operators [default: LONGSHORE_ADMIN_LISTEN]"
    )]
    pub(crate) admin: Option<String>,
    /// Print it once
    #[arg(long)]
    pub(crate) once: bool,
}

/// Whose set-up is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    Up,
    Gateway,
    Worker,
    StoreSvc,
    CacheSvc,
    Lb,
}

impl Program {
    /// As whom it connects to the broker.
    pub(crate) fn at_broker(self) -> Option<broker::Program> {
        match self {
            Self::Up => Some(broker::Program::Up),
            Self::Gateway => Some(broker::Program::Gateway),
            Self::Worker => Some(broker::Program::Worker),
            Self::StoreSvc => Some(broker::Program::StoreSvc),
            Self::CacheSvc => Some(broker::Program::CacheSvc),
            Self::Lb => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Whose set-up, as the environment here says it
    #[arg(long, value_enum, default_value = "up")]
    pub(crate) program: Program,
    #[arg(long, value_name = "N", help = GATEWAYS, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) gateways: Option<u16>,
    #[arg(long, value_name = "FOLDER", help = DATA_DIR)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}
