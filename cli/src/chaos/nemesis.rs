//! Carries out the plan: breaks things, heals them, and measures how long it took until the service had got over it.

use std::time::Duration;

use anyhow::{Context, Result};
use chassis::testing::rabbit::ScratchNode;
use futures_util::future::try_join;
use harness::amqp_frames::{BASIC_ACK, BASIC_DELIVER, BASIC_PUBLISH, Method};
use harness::proxy::{Direction, Fate, Flow, FrameRule};
use protocol::api::Priority;
use protocol::topology::{self, VHOST};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::errands::{Errand, Manner, Then, Work};
use super::faults::{CountsFrom, ENDED, Fault, Lane, Link};
use super::history::{Event, Moment, Phase, Recorder};
use super::plan::{Focus, Schedule, Storm, StormStrike, Strike, whole_ms};
use super::progress::Stage;
use super::site::{Programs, Site};
use super::traffic::Client;
use super::{note_usage, usage};

const QUEUE: &str = protocol::api::DEFAULT_QUEUE;
/// A quorum queue younger than about a second does not survive a kill of its broker, so nothing is done to a fresh one.
const QUEUE_AGE: Duration = Duration::from_secs(3);
/// What fences take while nothing is broken is measured first.
const QUIET: Duration = Duration::from_secs(4);
const SLOW_BY: Duration = Duration::from_millis(300);
/// By how much, and for how long, the gateways hear the caches late before they are cut off: far more than the margin of a lease, and not
/// so much that nothing is held any more.
const LATE_BY: Duration = Duration::from_millis(400);
const LATE_FOR: Duration = Duration::from_millis(2_500);
/// By whom a gateway hears of an invalidation.
const CUT_OFF: [Link; 3] = [Link::GatewayCache, Link::GatewayStandby, Link::GatewayBroker];
/// On whose answers packets are lost, one in so many: by far most renewals take less than a packet that is late, so fences overtake loads; and
/// of two loads of a key one after the other both may be late.
const LOSSY: [(Link, u64); 3] = [(Link::GatewayCache, 12), (Link::GatewayStandby, 12), (Link::CacheStore, 4)];
const LOST_FOR: Duration = Duration::from_millis(400);
/// A program that is told to end has ended by then.
const DRAINED_WITHIN: Duration = Duration::from_secs(20);
/// Submitted right before a fault that comes alone, so that it meets work.
const BURST: [(Work, u64); 2] = [(Work::Short, 40), (Work::Command, 4)];
/// The same in a trial of the caches: when the last of these has ended, fences close again.
const BURST_OF_CACHES: [(Work, u64); 2] = [(Work::Short, 4), (Work::Invalidating, 4)];
/// How long beyond its bound a recovery is waited for, to tell late from never.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Nemesis<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) stage: &'a Stage,
}

impl Nemesis<'_> {
    pub(super) async fn strike(&self, site: &mut Site, schedule: &Schedule) -> Result<()> {
        if self.client.focus == Focus::Caches {
            self.stage.set("nothing is broken yet");
            sleep(QUIET).await;
        }
        for (place, strike) in schedule.alone.iter().enumerate() {
            self.stage.set(format!("{}/{} {}", place + 1, schedule.alone.len(), strike.fault));
            self.strike_alone(site, *strike).await.with_context(|| strike.fault.to_string())?;
        }
        for (place, storm) in schedule.storms.iter().enumerate() {
            let (number, last) = (place + 1, schedule.storms.len());
            self.stage.set(format!("storm {number}/{last}"));
            self.storm(site, storm).await?;
            self.stage.set(format!("the calm after storm {number}/{last}"));
            self.calm().await;
            let moment = [(1, Moment::FirstStorm), (last, Moment::LastStorm)];
            for (_, moment) in moment.into_iter().filter(|(of, _)| *of == number) {
                note_usage(&usage(site)?, moment, self.client.recorder);
            }
        }
        Ok(())
    }

    async fn storm(&self, site: &mut Site, Storm { programs, broker, lasts }: &Storm) -> Result<()> {
        let (recorder, start) = (self.client.recorder, Instant::now());
        let mut node = Broker { node: &mut site.node };
        try_join(
            strike_all(&mut site.programs, programs, start, recorder),
            strike_all(&mut node, broker, start, recorder),
        )
        .await?;
        sleep_until(start + *lasts).await;
        Ok(())
    }

    /// Waits until the service has got over a storm.
    async fn calm(&self) {
        let healed = Instant::now();
        let burst = self.submit_burst().await;
        let probe = self.probe();
        let ended = all_ended(self.client, burst, probe, healed + ENDED + PATIENCE).await;
        self.client.recorder.note(match ended {
            Ok(ended) => Event::Calm { took_ms: whole_ms(ended.saturating_duration_since(healed)) },
            Err(why) => Event::NotCalm { why },
        });
    }

    async fn strike_alone(&self, site: &mut Site, strike: Strike) -> Result<()> {
        let Strike { fault, lasts } = strike;
        let (client, recorder) = (self.client, self.client.recorder);
        let burst = self.submit_burst().await;
        let note = |phase| recorder.note(Event::Fault { fault, phase, is_alone: true });
        note(Phase::Begins);
        let begun = Instant::now();
        client.keep_calm(fault.comes_after_a_calm());
        site.begin(fault, recorder).await?;
        client.keep_calm(false);
        note(Phase::Lasts);
        // To stop a broker takes seconds; what the caches do without it is looked at from then on.
        let lasting = if client.focus == Focus::Caches { Instant::now() } else { begun };
        let healed = watch::Sender::new(None);
        let heal = async {
            sleep_until(lasting + lasts).await;
            note(Phase::Heals);
            site.heal(fault, &healed).await?;
            note(Phase::Healed);
            anyhow::Ok(())
        };
        let probe = self.probe();
        let give_up = lasting + lasts + fault.bound() + PATIENCE;
        let watched = async {
            let since = match fault.counts_from() {
                CountsFrom::Begin => begun,
                CountsFrom::Healed => whole_again(&healed).await,
            };
            Ok((since, all_ended(client, burst, probe, give_up).await))
        };
        let ((), (since, ended)) = try_join(heal, watched).await?;
        let bound_ms = whole_ms(fault.bound());
        recorder.note(match ended {
            Ok(ended) => {
                Event::Recovered { fault, took_ms: whole_ms(ended.saturating_duration_since(since)), bound_ms }
            }
            Err(why) => Event::NotRecovered { fault, within_ms: whole_ms(give_up - since), why },
        });
        Ok(())
    }

    /// New work, after the fault. In a trial of the caches it is done when its fence has closed.
    fn probe(&self) -> Errand {
        let work = if self.client.focus == Focus::Caches { Work::Invalidating } else { Work::Noop };
        urgent(self.client.numbers.submit(), work)
    }

    /// Ids of jobs that have just been accepted.
    async fn submit_burst(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let burst = if self.client.focus == Focus::Caches { BURST_OF_CACHES } else { BURST };
        for (work, count) in burst {
            for _ in 0..count {
                let errand = urgent(self.client.numbers.submit(), work);
                ids.extend(self.client.submit(errand).await);
            }
        }
        ids
    }
}

/// What recovery is measured by waits behind no backlog: that its time passes is no fault of the service.
fn urgent(number: u64, work: Work) -> Errand {
    Errand { number, work, priority: Priority::High, manner: Manner::Keyed, then: Then::Nothing }
}

/// When everything of the burst had ended and new work was done too; else what had not.
async fn all_ended(
    client: &Client<'_>,
    mut burst: Vec<String>,
    probe: Errand,
    give_up: Instant,
) -> Result<Instant, String> {
    let mut open = String::new();
    let all = async {
        burst.extend(client.submit(probe).await);
        while let Some(id) = burst.last() {
            match client.look(id, &[]).await {
                Some(job) if job.status.is_terminal() => drop(burst.pop()),
                job => {
                    open = format!("job {id}: {job:?}");
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    };
    match timeout_at(give_up, all).await {
        Ok(()) => Ok(Instant::now()),
        Err(_) => Err(open),
    }
}

/// The instant at which what was broken was whole again, as somebody beside would see it.
type Healed = watch::Sender<Option<Instant>>;

async fn whole_again(healed: &Healed) -> Instant {
    let mut healed = healed.subscribe();
    // The sender is ours, so it is there.
    let at = healed.wait_for(Option::is_some).await.ok().and_then(|at| *at);
    at.unwrap_or_else(Instant::now)
}

fn now(healed: &Healed) {
    healed.send_replace(Some(Instant::now()));
}

/// What a lane's faults are done to.
trait Target {
    async fn begin(&mut self, fault: Fault, recorder: &Recorder) -> Result<()>;
    /// It returns when the next fault may come, which may be later than the healing.
    async fn heal(&mut self, fault: Fault, healed: &Healed) -> Result<()>;
}

/// Each strike begins and is healed at its time, or as soon as those before it are done with.
async fn strike_all(
    target: &mut impl Target,
    strikes: &[StormStrike],
    start: Instant,
    recorder: &Recorder,
) -> Result<()> {
    let begins = strikes.iter().map(|strike| (strike.at, false, strike.strike.fault));
    let heals = strikes.iter().map(|strike| (strike.at + strike.strike.lasts, true, strike.strike.fault));
    let mut steps: Vec<_> = begins.chain(heals).collect();
    // A place is healed before it is struck again, and a strike without length begins before it is healed.
    steps.sort_by_key(|(at, ..)| *at);
    for (at, heals, fault) in steps {
        sleep_until(start + at).await;
        let note = |phase| recorder.note(Event::Fault { fault, phase, is_alone: false });
        if heals {
            target.heal(fault, &watch::Sender::new(None)).await.with_context(|| format!("healing: {fault}"))?;
            note(Phase::Healed);
        } else {
            note(Phase::Begins);
            target.begin(fault, recorder).await.with_context(|| fault.to_string())?;
        }
    }
    Ok(())
}

impl Target for Site {
    async fn begin(&mut self, fault: Fault, recorder: &Recorder) -> Result<()> {
        match fault.lane() {
            Lane::Programs => self.programs.begin(fault, recorder).await,
            Lane::Broker => Broker { node: &mut self.node }.begin(fault, recorder).await,
        }
    }

    async fn heal(&mut self, fault: Fault, healed: &Healed) -> Result<()> {
        match fault.lane() {
            Lane::Programs => self.programs.heal(fault, healed).await,
            Lane::Broker => Broker { node: &mut self.node }.heal(fault, healed).await,
        }
    }
}

impl Target for Programs {
    async fn begin(&mut self, fault: Fault, recorder: &Recorder) -> Result<()> {
        let rule = |direction, method: Method, fate| FrameRule { direction, method, fate };
        match fault {
            Fault::Kill(member) => {
                let process = self.cluster.process(member.name())?;
                match process.ended()? {
                    None => process.kill_9()?,
                    Some(status) => {
                        let line = format!("it had ended by itself: {status}");
                        recorder.note(Event::Panicked { program: member.name().to_owned(), line });
                    }
                }
            }
            Fault::Pause(member) => self.cluster.process(member.name())?.pause()?,
            Fault::HandOver(member) => self.cluster.process(member.name())?.term()?,
            Fault::CutOff => {
                for link in Link::TO_CACHES {
                    self.proxy(link).set_flow(Direction::ToClient, Flow::Delayed(LATE_BY));
                }
                sleep(LATE_FOR).await;
                self.proxy(Link::GatewayBroker).partition();
                // Answers still come: to the last renewals that the caches heard.
                for link in Link::TO_CACHES {
                    self.proxy(link).set_flow(Direction::ToServer, Flow::Held);
                }
            }
            Fault::LostPackets => {
                for (link, one_in) in LOSSY {
                    let flow = Flow::Lossy { one_in, late_by: LOST_FOR };
                    self.proxy(link).set_flow(Direction::ToClient, flow);
                }
            }
            Fault::ClockStep(member, seconds) => self.step_clock(member, seconds)?,
            Fault::Reset(link) => {
                self.proxy(link).refuse();
                self.proxy(link).cut();
            }
            Fault::BlackHole(link) => self.proxy(link).partition(),
            Fault::Deaf(link) => self.proxy(link).set_flow(Direction::ToClient, Flow::Held),
            Fault::Slow(link) => {
                for direction in [Direction::ToServer, Direction::ToClient] {
                    self.proxy(link).set_flow(direction, Flow::Delayed(SLOW_BY));
                }
            }
            Fault::LostConfirms(link) => {
                self.proxy(link).set_rule(rule(Direction::ToClient, BASIC_ACK, Fate::Swallowed));
            }
            Fault::CutPublish(link) => {
                self.proxy(link).set_rule(rule(Direction::ToServer, BASIC_PUBLISH, Fate::CutInside));
            }
            Fault::CutDelivery(link) => {
                self.proxy(link).set_rule(rule(Direction::ToClient, BASIC_DELIVER, Fate::CutInside));
            }
            _ => anyhow::bail!("not a fault of a program"),
        }
        Ok(())
    }

    async fn heal(&mut self, fault: Fault, healed: &Healed) -> Result<()> {
        match fault {
            Fault::Kill(member) => self.cluster.process(member.name())?.restart()?,
            Fault::Pause(member) => self.cluster.process(member.name())?.resume()?,
            Fault::HandOver(member) => {
                let process = self.cluster.process(member.name())?;
                process.exited(DRAINED_WITHIN).await?;
                process.restart()?;
            }
            Fault::CutOff => CUT_OFF.into_iter().for_each(|link| self.proxy(link).heal()),
            Fault::LostPackets => LOSSY.into_iter().for_each(|(link, _)| self.proxy(link).heal()),
            Fault::ClockStep(member, _) => self.step_clock(member, 0)?,
            Fault::LostConfirms(link) => {
                self.proxy(link).cut();
                self.proxy(link).heal();
            }
            Fault::Reset(link)
            | Fault::BlackHole(link)
            | Fault::Deaf(link)
            | Fault::Slow(link)
            | Fault::CutPublish(link)
            | Fault::CutDelivery(link) => self.proxy(link).heal(),
            _ => anyhow::bail!("not a fault of a program"),
        }
        now(healed);
        Ok(())
    }
}

struct Broker<'a> {
    node: &'a mut ScratchNode,
}

impl Broker<'_> {
    /// Starts the node again.
    async fn start(&mut self, healed: &Healed) -> Result<()> {
        let address = self.node.amqp_address();
        let answers = async {
            while !chassis::testing::rabbit::answers(address).await {
                sleep(Duration::from_millis(50)).await;
            }
            now(healed);
            Ok(())
        };
        try_join(self.node.start_again(), answers).await?;
        // It answers before it is whole, and a queue declared then stays broken (RabbitMQ 3.10.8: no rabbit_fifo_dlx_sup).
        self.node.ctl(&["await_startup"]).await.map(drop)
    }
}

impl Target for Broker<'_> {
    async fn begin(&mut self, fault: Fault, _: &Recorder) -> Result<()> {
        let management = self.node.management();
        match fault {
            Fault::MemoryAlarm => self.node.memory_alarm(true).await?,
            Fault::DiskAlarm => self.node.disk_alarm(true).await?,
            Fault::PurgedQueue => management.purge_queue(VHOST, &topology::jobs_queue(QUEUE)).await?,
            Fault::DeletedQueue => management.delete_queue(VHOST, &topology::jobs_queue(QUEUE)).await?,
            Fault::ClosedConnections => drop(management.close_connections(VHOST).await?),
            Fault::BrokerKilled => self.node.kill().await?,
            Fault::BrokerRestarted => self.node.stop().await?,
            Fault::BrokerPaused => self.node.freeze().await?,
            Fault::BrokerWiped => {
                self.node.kill().await?;
                self.node.wipe()?;
            }
            _ => anyhow::bail!("not a fault of the broker"),
        }
        Ok(())
    }

    async fn heal(&mut self, fault: Fault, healed: &Healed) -> Result<()> {
        match fault {
            Fault::MemoryAlarm => self.node.memory_alarm(false).await?,
            Fault::DiskAlarm => self.node.disk_alarm(false).await?,
            Fault::PurgedQueue | Fault::ClosedConnections => {}
            Fault::DeletedQueue => {
                self.node.management().import_topology(VHOST, &[QUEUE]).await?;
                now(healed);
                sleep(QUEUE_AGE).await;
                return Ok(());
            }
            Fault::BrokerKilled | Fault::BrokerRestarted => return self.start(healed).await,
            Fault::BrokerPaused => self.node.thaw()?,
            Fault::BrokerWiped => {
                self.start(healed).await?;
                sleep(QUEUE_AGE).await;
                return Ok(());
            }
            _ => anyhow::bail!("not a fault of the broker"),
        }
        now(healed);
        Ok(())
    }
}
