//! What can go wrong, by name, and within which time the service must have got over it. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Focus;

/// The lease of every task of the trial: short enough to be waited for.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// design.md, promise 7: a worker's jobs run elsewhere within the lease and this.
const AFTER_LEASE: Duration = Duration::from_secs(5);
const BROKER_BACK: Duration = Duration::from_secs(5);
const BROKER_WIPED: Duration = Duration::from_secs(30);
/// For what promise 7 gives no bound of its own: all jobs have ended this long after healing.
pub(super) const ENDED: Duration = Duration::from_secs(60);

/// A process of the trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Member {
    Lb,
    Gateway0,
    Gateway1,
    Gateway2,
    StoreSvc,
    CacheSvc,
    /// A second cache-svc, in trials of the caches.
    CacheStandby,
    Worker0,
    Worker1,
}

impl Member {
    pub(super) const GATEWAYS: [Self; 3] = [Self::Gateway0, Self::Gateway1, Self::Gateway2];
    pub(super) const WORKERS: [Self; 2] = [Self::Worker0, Self::Worker1];

    /// As the harness calls its process.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Gateway0 => "gateway-0",
            Self::Gateway1 => "gateway-1",
            Self::Gateway2 => "gateway-2",
            Self::StoreSvc => "store-svc",
            Self::CacheSvc => "cache-svc",
            Self::CacheStandby => "cache-svc-1",
            Self::Worker0 => "worker-0",
            Self::Worker1 => "worker-1",
        }
    }

    fn is_gateway(self) -> bool {
        Self::GATEWAYS.contains(&self)
    }

    fn is_worker(self) -> bool {
        Self::WORKERS.contains(&self)
    }

    fn is_cache(self) -> bool {
        matches!(self, Self::CacheSvc | Self::CacheStandby)
    }
}

/// A way between two programs that goes through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Link {
    GatewayBroker,
    WorkerBroker,
    StoreBroker,
    CacheBroker,
    GatewayStore,
    WorkerStore,
    CacheStore,
    GatewayCache,
    GatewayStandby,
    LbGateway0,
    LbGateway1,
    LbGateway2,
}

impl Link {
    pub(super) const TO_BROKER: [Self; 4] =
        [Self::GatewayBroker, Self::WorkerBroker, Self::StoreBroker, Self::CacheBroker];
    pub(super) const TO_GATEWAYS: [Self; 3] = [Self::LbGateway0, Self::LbGateway1, Self::LbGateway2];
    pub(super) const ALL: [Self; 11] = [
        Self::GatewayBroker,
        Self::WorkerBroker,
        Self::StoreBroker,
        Self::CacheBroker,
        Self::GatewayStore,
        Self::WorkerStore,
        Self::CacheStore,
        Self::GatewayCache,
        Self::LbGateway0,
        Self::LbGateway1,
        Self::LbGateway2,
    ];

    pub(super) const TO_CACHES: [Self; 2] = [Self::GatewayCache, Self::GatewayStandby];
    /// What the answers of the caches depend on.
    pub(super) const OF_CACHES: [Self; 6] = [
        Self::GatewayCache,
        Self::GatewayStandby,
        Self::GatewayStore,
        Self::CacheStore,
        Self::GatewayBroker,
        Self::CacheBroker,
    ];

    /// Who connects, and to whom.
    pub(super) fn ends(self) -> (&'static str, &'static str) {
        match self {
            Self::GatewayBroker => ("gateway", "broker"),
            Self::WorkerBroker => ("worker", "broker"),
            Self::StoreBroker => ("store-svc", "broker"),
            Self::CacheBroker => ("cache-svc", "broker"),
            Self::GatewayStore => ("gateway", "store-svc"),
            Self::WorkerStore => ("worker", "store-svc"),
            Self::CacheStore => ("cache-svc", "store-svc"),
            Self::GatewayCache => ("gateway", "cache-svc"),
            Self::GatewayStandby => ("gateway", "cache-svc-1"),
            Self::LbGateway0 => ("lb", "gateway-0"),
            Self::LbGateway1 => ("lb", "gateway-1"),
            Self::LbGateway2 => ("lb", "gateway-2"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fault {
    /// SIGKILL; started again when it heals.
    Kill(Member),
    /// SIGSTOP, then SIGCONT.
    Pause(Member),
    /// SIGTERM, at which a sequencer gives its lease back; started again when it heals.
    HandOver(Member),
    /// The gateways hear the caches late, then the caches do not hear them any more, and the broker nobody; the store and their clients
    /// they reach.
    CutOff,
    /// On the ways between gateways, caches and store some of what is sent comes late, and the rest overtakes it.
    LostPackets,
    /// Its connections are reset again and again.
    Reset(Link),
    /// Nothing arrives in either direction, and nobody is told.
    BlackHole(Link),
    /// What is sent arrives, no answer comes back.
    Deaf(Link),
    /// Each piece arrives late.
    Slow(Link),
    /// What the broker confirms is lost on the wire, then the connections are reset.
    LostConfirms(Link),
    /// The connection breaks in the middle of a published message.
    CutPublish(Link),
    /// The connection breaks in the middle of a delivery.
    CutDelivery(Link),
    /// The program's wall clock is so many seconds off.
    ClockStep(Member, i64),
    MemoryAlarm,
    DiskAlarm,
    PurgedQueue,
    /// Deleted with what is in it; imported again when it heals.
    DeletedQueue,
    /// An operator closes all connections.
    ClosedConnections,
    BrokerKilled,
    BrokerRestarted,
    /// SIGSTOP, then SIGCONT.
    BrokerPaused,
    /// Killed, and its data removed.
    BrokerWiped,
}

/// Who carries a fault out: two of different lanes may last at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Programs,
    Broker,
}

impl Fault {
    pub(super) fn lane(self) -> Lane {
        match self {
            Self::MemoryAlarm
            | Self::DiskAlarm
            | Self::PurgedQueue
            | Self::DeletedQueue
            | Self::ClosedConnections
            | Self::BrokerKilled
            | Self::BrokerRestarted
            | Self::BrokerPaused
            | Self::BrokerWiped => Lane::Broker,
            _ => Lane::Programs,
        }
    }

    /// What two faults must not touch at the same time.
    pub(super) fn touches(self) -> &'static str {
        match self {
            Self::Kill(member) | Self::Pause(member) | Self::HandOver(member) | Self::ClockStep(member, _) => {
                member.name()
            }
            Self::CutOff | Self::LostPackets => "a link",
            Self::Reset(link)
            | Self::BlackHole(link)
            | Self::Deaf(link)
            | Self::Slow(link)
            | Self::LostConfirms(link)
            | Self::CutPublish(link)
            | Self::CutDelivery(link) => match link.ends() {
                // A link is its two ends; each first end has one link to each second.
                (_, "broker") => "a link to the broker",
                (_, "store-svc") => "a link to the store",
                _ => "a link",
            },
            _ => "broker",
        }
    }

    /// Shortest and longest time that it lasts, in ms.
    pub(super) fn lasts_ms(self, focus: Focus) -> (u64, u64) {
        match self {
            // Beyond the near caches' lease and what the broker's end itself takes: who still serves then serves without it.
            Self::BrokerKilled | Self::BrokerRestarted | Self::BrokerPaused if focus == Focus::Caches => (5_000, 7_000),
            // Beyond the sequencer's lease, so that the other one takes over, and this one wakes.
            Self::Kill(member) | Self::Pause(member) if member.is_cache() && focus == Focus::Caches => (2_500, 6_000),
            // Beyond the lease, so that the jobs get another owner, and the first one wakes.
            Self::Pause(member) if member.is_worker() => (7_500, 9_000),
            Self::Kill(_) | Self::Pause(_) => (1_000, 4_000),
            Self::HandOver(_) => (1_000, 2_000),
            // Beyond the near caches' lease, after the slow moment.
            Self::CutOff => (5_000, 6_000),
            Self::LostPackets => (4_000, 6_000),
            Self::Reset(_) | Self::CutPublish(_) | Self::CutDelivery(_) => (1_000, 3_000),
            Self::BlackHole(_) | Self::Deaf(_) | Self::LostConfirms(_) => (2_000, 7_000),
            Self::Slow(_) | Self::ClockStep(..) => (3_000, 6_000),
            Self::MemoryAlarm | Self::DiskAlarm | Self::BrokerPaused => (3_000, 6_000),
            Self::PurgedQueue | Self::ClosedConnections => (0, 0),
            Self::DeletedQueue | Self::BrokerKilled | Self::BrokerRestarted | Self::BrokerWiped => (500, 3_000),
        }
    }

    /// What it takes until the service has got over it, for planning only, in ms.
    pub(super) fn costs_ms(self) -> u64 {
        match self {
            Self::Kill(member) if member.is_worker() => 9_000,
            Self::PurgedQueue | Self::DeletedQueue => 18_000,
            Self::BrokerKilled | Self::BrokerRestarted | Self::BrokerWiped => 9_000,
            Self::BlackHole(_) | Self::Deaf(_) | Self::LostConfirms(_) | Self::BrokerPaused => 5_000,
            _ => 2_500,
        }
    }

    /// It touches more than one place, so it is no part of a storm.
    pub(super) fn comes_alone(self) -> bool {
        matches!(self, Self::CutOff | Self::LostPackets)
    }

    /// While it begins, little is voided: what is cached stays so.
    pub(super) fn comes_after_a_calm(self) -> bool {
        self == Self::CutOff
    }

    /// When the measured time begins.
    pub(super) fn counts_from(self) -> CountsFrom {
        match self {
            // Others take over: nothing has to come back first.
            Self::Kill(member) | Self::Pause(member) if member.is_worker() || member.is_gateway() => CountsFrom::Begin,
            Self::PurgedQueue | Self::ClosedConnections => CountsFrom::Begin,
            _ => CountsFrom::Healed,
        }
    }

    /// The published bound, or the one for everything.
    pub(super) fn bound(self) -> Duration {
        match self {
            Self::Kill(member) | Self::Pause(member) if member.is_worker() => LEASE + AFTER_LEASE,
            Self::MemoryAlarm | Self::DiskAlarm | Self::BrokerKilled | Self::BrokerRestarted => BROKER_BACK,
            Self::BrokerWiped | Self::DeletedQueue | Self::PurgedQueue => BROKER_WIPED,
            _ => ENDED,
        }
    }

    /// No GET through the balancer may fail because of it.
    pub(super) fn spares_reads(self) -> bool {
        matches!(self, Self::Kill(member) if member.is_gateway())
    }

    /// While it lasts, requests may hang that otherwise must not.
    pub(super) fn silences(self) -> bool {
        match self {
            Self::Pause(member) => member == Member::Lb || member.is_gateway(),
            Self::BlackHole(link) | Self::Deaf(link) => Link::TO_GATEWAYS.contains(&link),
            _ => false,
        }
    }

    /// The sequencer runs, and so do its ways to the store and to the gateways that run.
    pub(super) fn spares_fences(self) -> bool {
        match self {
            Self::Kill(member) | Self::Pause(member) => member.is_gateway(),
            Self::Reset(link) | Self::BlackHole(link) | Self::Deaf(link) | Self::Slow(link) => {
                Link::TO_BROKER.contains(&link)
            }
            _ => self.lane() == Lane::Broker,
        }
    }

    /// What the gateway named there is asked may stay without an answer meanwhile.
    pub(super) fn stops(self, gateway: &str) -> bool {
        matches!(self, Self::Kill(member) | Self::Pause(member) if member.name() == gateway)
    }

    /// No message passes the broker while it lasts.
    pub(super) fn takes_broker_away(self) -> bool {
        matches!(self, Self::BrokerKilled | Self::BrokerRestarted | Self::BrokerPaused)
    }

    /// A job that runs must not notice it, so it must not be started a second time because of it.
    pub(super) fn spares_handlers(self) -> bool {
        self.lane() == Lane::Broker
    }
}

/// What a recovery is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountsFrom {
    Begin,
    Healed,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = |formatter: &mut fmt::Formatter<'_>, what: &str, link: &Link| {
            let (from, to) = link.ends();
            write!(formatter, "{from} to {to}: {what}")
        };
        match self {
            Self::Kill(member) => write!(formatter, "{} killed", member.name()),
            Self::Pause(member) => write!(formatter, "{} paused", member.name()),
            Self::HandOver(member) => write!(formatter, "{} terminated", member.name()),
            Self::CutOff => formatter.write_str("gateways cut off from the caches and the broker"),
            Self::LostPackets => formatter.write_str("packets lost between gateways, caches and store"),
            Self::ClockStep(member, seconds) => write!(formatter, "{}: clock {seconds:+} s", member.name()),
            Self::Reset(way) => link(formatter, "resets", way),
            Self::BlackHole(way) => link(formatter, "black hole", way),
            Self::Deaf(way) => link(formatter, "no answers", way),
            Self::Slow(way) => link(formatter, "slow", way),
            Self::LostConfirms(way) => link(formatter, "confirms lost", way),
            Self::CutPublish(way) => link(formatter, "cut inside a publish", way),
            Self::CutDelivery(way) => link(formatter, "cut inside a delivery", way),
            Self::MemoryAlarm => formatter.write_str("broker: memory alarm"),
            Self::DiskAlarm => formatter.write_str("broker: disk alarm"),
            Self::PurgedQueue => formatter.write_str("broker: queue purged"),
            Self::DeletedQueue => formatter.write_str("broker: queue deleted"),
            Self::ClosedConnections => formatter.write_str("broker: all connections closed"),
            Self::BrokerKilled => formatter.write_str("broker killed"),
            Self::BrokerRestarted => formatter.write_str("broker restarted"),
            Self::BrokerPaused => formatter.write_str("broker paused"),
            Self::BrokerWiped => formatter.write_str("broker wiped"),
        }
    }
}
