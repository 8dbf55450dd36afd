//! Places between two durable actions at which a program can be made to die, so that a test can show that nothing is lost there. Without the
//! feature `fault-points` they are nothing at all.

#[cfg(feature = "fault-points")]
use crate::config::Fault;
use crate::config::{ConfigError, Source};

/// What stands before and after each is what its documentation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// A batch is applied | it is committed.
    StoreBeforeCommit,
    /// It is committed | its clients are answered.
    StoreBeforeAnswer,
    /// A bell has its place | it is published.
    StoreBeforePublish,
    /// The broker has confirmed a bell | the dispatcher counts it as out.
    StoreBeforeMark,
    /// A submit is checked | it is sent to the store.
    GatewayBeforeCreate,
    /// The store has it | the client is answered, and its bell waits.
    GatewayBeforeAnswer,
    /// A bell is taken up | it is published.
    GatewayBeforePublish,
    /// The broker has confirmed a bell | that is noted for the store.
    GatewayBeforeMark,
    /// What became of bells is noted | the store is told.
    GatewayBeforeReport,
    /// Data are written | their fence is waited for.
    GatewayBeforeFence,
    /// Entries of the log are read | they have a sequence number.
    CacheBeforeSequence,
    /// A fence has closed | the store is told.
    CacheBeforePost,
    /// The store knows of a closed fence | the next one is looked at.
    CacheAfterPost,
    /// A bell is delivered | it is claimed.
    WorkerBeforeClaim,
    /// The claim is won | the handler starts.
    WorkerBeforeStart,
    /// The program runs | the guard knows of it.
    WorkerBeforeGuard,
    /// The handler has ended | the store is told.
    WorkerBeforeComplete,
    /// The store has the outcome | the delivery is acknowledged.
    WorkerBeforeAck,
    /// The delivery is acknowledged | the next one is taken.
    WorkerAfterAck,
    /// A long job lives on by its lease | its delivery is acknowledged.
    WorkerBeforeHandOver,
    /// Its delivery is acknowledged | its handler ends.
    WorkerAfterHandOver,
}

impl FaultPoint {
    pub const ALL: [Self; 21] = [
        Self::StoreBeforeCommit,
        Self::StoreBeforeAnswer,
        Self::StoreBeforePublish,
        Self::StoreBeforeMark,
        Self::GatewayBeforeCreate,
        Self::GatewayBeforeAnswer,
        Self::GatewayBeforePublish,
        Self::GatewayBeforeMark,
        Self::GatewayBeforeReport,
        Self::GatewayBeforeFence,
        Self::CacheBeforeSequence,
        Self::CacheBeforePost,
        Self::CacheAfterPost,
        Self::WorkerBeforeClaim,
        Self::WorkerBeforeStart,
        Self::WorkerBeforeGuard,
        Self::WorkerBeforeComplete,
        Self::WorkerBeforeAck,
        Self::WorkerAfterAck,
        Self::WorkerBeforeHandOver,
        Self::WorkerAfterHandOver,
    ];

    /// As `LONGSHORE_FAULT_POINT` names it: the program, and where in it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StoreBeforeCommit => "store-svc.before-commit",
            Self::StoreBeforeAnswer => "store-svc.before-answer",
            Self::StoreBeforePublish => "store-svc.before-publish",
            Self::StoreBeforeMark => "store-svc.before-mark",
            Self::GatewayBeforeCreate => "gateway.before-create",
            Self::GatewayBeforeAnswer => "gateway.before-answer",
            Self::GatewayBeforePublish => "gateway.before-publish",
            Self::GatewayBeforeMark => "gateway.before-mark",
            Self::GatewayBeforeReport => "gateway.before-report",
            Self::GatewayBeforeFence => "gateway.before-fence",
            Self::CacheBeforeSequence => "cache-svc.before-sequence",
            Self::CacheBeforePost => "cache-svc.before-post",
            Self::CacheAfterPost => "cache-svc.after-post",
            Self::WorkerBeforeClaim => "worker.before-claim",
            Self::WorkerBeforeStart => "worker.before-start",
            Self::WorkerBeforeGuard => "worker.before-guard",
            Self::WorkerBeforeComplete => "worker.before-complete",
            Self::WorkerBeforeAck => "worker.before-ack",
            Self::WorkerAfterAck => "worker.after-ack",
            Self::WorkerBeforeHandOver => "worker.before-hand-over",
            Self::WorkerAfterHandOver => "worker.after-hand-over",
        }
    }

    /// The program that it is in.
    #[must_use]
    pub fn program(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }
}

/// The process aborts here, if it was told to.
#[cfg(feature = "fault-points")]
pub fn fault_point(point: FaultPoint) {
    fail::fail_point!(point.name(), |_| std::process::abort());
}

/// Nothing happens here.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn fault_point(_: FaultPoint) {}

/// Reads `LONGSHORE_FAULT_POINT`: `NAME=ACTIONS`, where the actions are those of the crate `fail`. `5*off->return` aborts at the sixth pass.
///
/// # Errors
/// When it is not of that form, or names no point.
#[cfg(feature = "fault-points")]
pub(crate) fn arm(source: &Source) -> Result<(), ConfigError> {
    const VARIABLE: &str = "LONGSHORE_FAULT_POINT";
    let Some(text) = source.get(VARIABLE) else { return Ok(()) };
    let fault =
        || Fault::value(VARIABLE, text, "NAME=ACTIONS, with a name of FaultPoint and actions of the crate fail");
    let (name, actions) = text.split_once('=').ok_or_else(fault)?;
    if !FaultPoint::ALL.iter().any(|point| point.name() == name) {
        return Err(fault().into());
    }
    fail::cfg(name, actions).map_err(|_| fault().into())
}

/// Nothing to read.
#[cfg(not(feature = "fault-points"))]
pub(crate) fn arm(_: &Source) -> Result<(), ConfigError> {
    Ok(())
}
