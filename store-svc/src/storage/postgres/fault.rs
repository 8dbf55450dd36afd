//! What went wrong, and whether the same may work later.

use std::fmt::Display;

use thiserror::Error;

use crate::storage::StorageError;

#[derive(Debug, Error)]
pub(super) enum Fault {
    /// The connection is gone, and with it a transaction that was not committed.
    #[error("the connection to PostgreSQL is lost: {0}")]
    Lost(String),
    /// The server could not do it now.
    #[error("PostgreSQL: {0}")]
    Refused(String),
    /// The server let nobody in under this name, or there is no such database: no use to try again without a change.
    #[error("PostgreSQL: {0}")]
    NotAdmitted(String),
    /// A defect of ours, or a damaged database.
    #[error("PostgreSQL: {0}")]
    Defect(String),
}

impl Fault {
    pub(super) fn lost(reason: &dyn Display) -> Self {
        Self::Lost(reason.to_string())
    }
}

/// Classes of SQLSTATE (appendix A of PostgreSQL's manual) that say "not now": resources, locks and time-outs, an operator, the disk.
const NOT_NOW: [&str; 5] = ["40", "53", "55", "57", "58"];
/// A standby, which may become the primary.
const READ_ONLY: &str = "25006";
/// The server ends the connection: it stops, or a transaction stood idle.
const LOST: [&str; 5] = ["57P01", "57P02", "57P03", "57P05", "25P03"];

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let is_ours = error.to_string().starts_with("error serializing");
            let text = format!("{error}{cause}");
            return if is_ours { Self::Defect(text) } else { Self::Lost(text) };
        };
        Self::told(told.code().code(), told.message())
    }
}

impl Fault {
    fn told(code: &str, message: &str) -> Self {
        let text = format!("{message} (SQLSTATE {code})");
        let class = code.get(..2).unwrap_or_default();
        match class {
            _ if LOST.contains(&code) || class == "08" => Self::Lost(text),
            "28" | "3D" => Self::NotAdmitted(text),
            _ if NOT_NOW.contains(&class) || code == READ_ONLY => Self::Refused(text),
            _ => Self::Defect(text),
        }
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Lost(_) | Fault::Refused(_) | Fault::NotAdmitted(_) => Self::Unavailable(fault.to_string()),
            Fault::Defect(_) => Self::Internal(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_defects_are_ours() {
        let check = |code: &str, expected: &str| {
            let error = StorageError::from(Fault::told(code, "no"));
            let name = if matches!(error, StorageError::Unavailable(_)) { "unavailable" } else { "internal" };
            assert_eq!(name, expected, "{code}: {error}");
        };
        // disk full, too many connections, lock and statement time-outs, deadlock, I/O error
        for code in ["53100", "53300", "55P03", "57014", "40P01", "58030"] {
            check(code, "unavailable");
        }
        // shutdown, crash, starting up, idle in a transaction, connection failure, a standby, a password that was changed
        for code in ["57P01", "57P02", "57P03", "25P03", "08006", "25006", "28P01"] {
            check(code, "unavailable");
        }
        // a repeated key, a syntax error, a damaged page, an aborted transaction
        for code in ["23505", "42601", "XX001", "25P02"] {
            check(code, "internal");
        }
    }
}
