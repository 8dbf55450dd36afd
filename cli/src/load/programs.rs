//! CPU and memory of the programs under load, once a second, from the `/metrics` of each; and of this generator itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::client::{Call, Http};
use chassis::config::Address;
use chassis::task::Tasks;
use chassis::usage::Usage;
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};

const EVERY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_millis(900);
const SPAN_MIN: Duration = Duration::from_millis(500);
/// Its name among the processes.
const GENERATOR: &str = "this generator";

/// One process: several programs in one are one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) addresses: Vec<Address>,
    pub(crate) readings: Vec<Reading>,
}

/// `at` counts from the start of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) at: Duration,
    /// CPU time since the process started.
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
}

/// What a process used from the reading before until this instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) until: Duration,
    /// 1 is a whole core.
    pub(crate) cpu_share: f64,
    pub(crate) resident_bytes: u64,
}

/// What one `/metrics` says of its process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    program: String,
    /// Differs between any two processes.
    identity: String,
    cpu: Duration,
    resident_bytes: u64,
}

/// The watched processes, the generator first. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    // Held for a push or a copy, never across an await.
    processes: Arc<Mutex<Vec<Process>>>,
}

impl Watched {
    /// Finds out who answers.
    pub(crate) async fn find(http: &Http, addresses: &[Address]) -> Self {
        let samples = join_all(addresses.iter().map(|address| sample(http, address))).await;
        let there = addresses.iter().cloned().zip(samples).filter_map(|(address, found)| Some((address, found?)));
        let generator = Process { name: GENERATOR.to_owned(), addresses: Vec::new(), readings: Vec::new() };
        let processes: Vec<Process> = std::iter::once(generator).chain(by_process(there.collect())).collect();
        Self { processes: Arc::new(Mutex::new(processes)) }
    }

    /// Looks at them once a second from now on.
    pub(crate) fn watch(&self, http: Http, start: Instant, tasks: &Tasks) {
        let watched = self.clone();
        tasks.spawn("programs", async move {
            let mut looks = tokio::time::interval(EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                looks.tick().await;
                watched.look(&http, start).await;
            }
        });
    }

    /// One look at each, now.
    pub(crate) async fn look(&self, http: &Http, start: Instant) {
        let firsts: Vec<Option<Address>> =
            self.with(|processes| processes.iter().map(|process| process.addresses.first().cloned()).collect());
        let looks = firsts.iter().map(|address| async {
            match address {
                None => own(start),
                Some(address) => {
                    let sample = sample(http, address).await?;
                    Some(Reading { at: start.elapsed(), cpu: sample.cpu, resident_bytes: sample.resident_bytes })
                }
            }
        });
        let readings = join_all(looks).await;
        self.with(|processes| {
            for (process, reading) in processes.iter_mut().zip(readings) {
                process.readings.extend(reading);
            }
        });
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Vec<Process>) -> T) -> T {
        look(&mut self.processes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Process {
    /// What was used between the readings.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut readings = self.readings.iter();
        let Some(mut before) = readings.next() else { return spans };
        for reading in readings {
            let between = reading.at.saturating_sub(before.at);
            // The kernel counts in steps of 10 ms: a short span would show nothing but them.
            if between >= SPAN_MIN {
                let cpu_share = used(before, reading).as_secs_f64() / between.as_secs_f64();
                spans.push(Span { until: reading.at, cpu_share, resident_bytes: reading.resident_bytes });
                before = reading;
            }
        }
        spans
    }

    /// CPU time used over all readings until this instant.
    pub(crate) fn cpu_until(&self, until: Duration) -> Duration {
        let pairs = self.readings.windows(2).take_while(|pair| pair[1].at <= until);
        pairs.map(|pair| used(&pair[0], &pair[1])).sum()
    }
}

/// CPU time between two readings. A process that was started again counts from zero.
fn used(before: &Reading, after: &Reading) -> Duration {
    after.cpu.checked_sub(before.cpu).unwrap_or(after.cpu)
}

fn own(start: Instant) -> Option<Reading> {
    let usage = Usage::own().ok()?;
    Some(Reading { at: start.elapsed(), cpu: usage.cpu, resident_bytes: usage.resident_bytes })
}

async fn sample(http: &Http, address: &Address) -> Option<Sample> {
    let answer = http.send(address, &Call::get("/metrics").within(DEADLINE)).await.ok()?;
    if !answer.status.is_success() {
        return None;
    }
    parse(&String::from_utf8_lossy(&answer.body))
}

/// Reads the standard metrics of a process. Pure.
fn parse(text: &str) -> Option<Sample> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<f64>().ok().filter(|value| *value >= 0.0)
    };
    let info = text.lines().find_map(|line| line.strip_prefix("longshore_process_info{"));
    let label = |name: &str| {
        let (_, rest) = info?.split_once(&format!("{name}=\""))?;
        rest.split('"').next()
    };
    let started = value("process_start_time_seconds")?.to_string();
    Some(Sample {
        program: label("program").unwrap_or("program").to_owned(),
        identity: label("incarnation").map_or(started, str::to_owned),
        cpu: Duration::try_from_secs_f64(value("process_cpu_seconds_total")?).ok()?,
        resident_bytes: whole(value("process_resident_memory_bytes")?),
    })
}

/// Prometheus has only doubles; a number of bytes is whole.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes are far below 2^53 and not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// The processes behind the addresses; of several with the same name each says its first port.
fn by_process(there: Vec<(Address, Sample)>) -> Vec<Process> {
    let mut found: Vec<(String, Process)> = Vec::new();
    for (address, sample) in there {
        match found.iter_mut().find(|(identity, _)| *identity == sample.identity) {
            Some((_, process)) => process.addresses.push(address),
            None => {
                let process = Process { name: sample.program, addresses: vec![address], readings: Vec::new() };
                found.push((sample.identity, process));
            }
        }
    }
    let names: Vec<String> = found.iter().map(|(_, process)| process.name.clone()).collect();
    let rename = |(_, mut process): (String, Process)| {
        if names.iter().filter(|name| **name == process.name).count() > 1 {
            process.name = format!("{} :{}", process.name, process.addresses[0].authority().port_u16().unwrap_or(0));
        }
        process
    };
    found.into_iter().map(rename).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "longshore_sum 3\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n\
        process_resident_memory_bytes 4096\nprocess_start_time_seconds 1000.01\n\
        longshore_process_info{program=\"lb\",pid=\"7\",incarnation=\"ab\"} 1\n";

    #[test]
    fn the_standard_metrics_are_read() {
        let sample = parse(METRICS).expect("all there");
        assert_eq!((sample.program.as_str(), sample.identity.as_str()), ("lb", "ab"));
        assert_eq!((sample.cpu, sample.resident_bytes), (Duration::from_millis(1_500), 4_096));
        assert_eq!(parse("process_cpu_seconds_total 1.5\n"), None);
        let foreign = METRICS.replace("longshore_process_info", "other");
        assert_eq!(parse(&foreign).expect("enough").identity, "1000.01");
    }

    #[test]
    fn one_process_is_named_once_and_namesakes_by_their_port() {
        let sample = |program: &str, identity: &str| Sample {
            program: program.to_owned(),
            identity: identity.to_owned(),
            ..parse(METRICS).expect("a sample")
        };
        let at = Address::loopback;
        let processes = by_process(vec![
            (at(1), sample("longshore", "a")),
            (at(2), sample("longshore", "a")),
            (at(3), sample("gateway", "b")),
            (at(4), sample("gateway", "c")),
        ]);
        let names: Vec<_> = processes.iter().map(|process| (process.name.as_str(), process.addresses.len())).collect();
        assert_eq!(names, [("longshore", 2), ("gateway :3", 1), ("gateway :4", 1)]);
    }

    #[test]
    fn shares_are_of_the_time_between_readings_and_survive_a_restart() {
        let reading =
            |at, cpu| Reading { at: Duration::from_millis(at), cpu: Duration::from_millis(cpu), resident_bytes: 0 };
        // The last one came too soon after the one before it.
        let readings = vec![reading(0, 100), reading(1_000, 600), reading(3_000, 200), reading(3_001, 210)];
        let process = Process { name: String::new(), addresses: Vec::new(), readings };
        let shares: Vec<f64> = process.spans().iter().map(|span| span.cpu_share).collect();
        assert_eq!(shares, [0.5, 0.1]);
        assert_eq!(process.cpu_until(Duration::from_secs(3)), Duration::from_millis(700));
        assert_eq!(process.cpu_until(Duration::from_secs(2)), Duration::from_millis(500));
    }
}
