//! What the process has counted, read from its own metrics, and the rates between two such samples. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

const REQUESTS: &str = "longshore_http_requests_total";
const DURATIONS: &str = "longshore_http_request_duration_seconds_bucket";
const READS: &str = "longshore_data_reads_total";
const SUBMITS: &str = "longshore_submits_total";

/// Most routes that are shown by themselves.
const ROUTES_SHOWN: usize = 8;
/// What is asked by programs and by the console itself is no traffic of clients.
const NOT_OF_CLIENTS: [&str; 4] = ["/live", "/ready", "/metrics", "/console"];

/// The counters of the gateways of one process at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// By method and pattern.
    routes: BTreeMap<String, Route>,
    reads: Reads,
    submits: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Route {
    requests: f64,
    /// Of those, answered 4xx and 5xx.
    refused: f64,
    failed: f64,
    /// Requests that took at most so many seconds, by rising bounds; the last one is infinite.
    durations: Vec<(f64, f64)>,
}

/// Reads of data by the tier that answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Reads {
    near: f64,
    shared: f64,
    store: f64,
    stale: f64,
}

/// What came in each second, on the average of some seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// The average is of so many seconds; 0: there are no rates yet.
    window_s: f64,
    requests: f64,
    refused: f64,
    failed: f64,
    submits: f64,
    latency: Option<Latency>,
    reads: Reads,
    /// The busiest first.
    routes: Vec<RouteRate>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct RouteRate {
    route: String,
    requests: f64,
    latency: Option<Latency>,
}

/// From the head of a request to that of its answer, as exact as the histogram's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
}

impl Sample {
    /// Reads Prometheus' text form.
    pub(super) fn of(text: &str) -> Self {
        let mut sample = Self::default();
        for (series, value) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
            let Some((name, labels)) = series.split_once('{') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if label(labels, "program") == Some("gateway") {
                sample.add(name, labels, value);
            }
        }
        sample
    }

    fn add(&mut self, name: &str, labels: &str, value: f64) {
        match name {
            REQUESTS | DURATIONS => {
                let Some(route) = self.route(labels) else { return };
                route.add(labels, value);
            }
            READS => {
                let reads = &mut self.reads;
                match label(labels, "tier") {
                    Some("near") => reads.near += value,
                    Some("shared") => reads.shared += value,
                    Some("store") => reads.store += value,
                    Some("stale") => reads.stale += value,
                    _ => {}
                }
            }
            SUBMITS => self.submits += value,
            _ => {}
        }
    }

    fn route(&mut self, labels: &str) -> Option<&mut Route> {
        let (method, route) = (label(labels, "method")?, label(labels, "route")?);
        let is_of_clients = !NOT_OF_CLIENTS.iter().any(|other| route.starts_with(other));
        is_of_clients.then(|| self.routes.entry(format!("{method} {route}")).or_default())
    }
}

impl Route {
    fn add(&mut self, labels: &str, value: f64) {
        if let Some(bound) = label(labels, "le") {
            let bound = bound.parse().unwrap_or(f64::INFINITY);
            match self.durations.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += value,
                None => self.durations.push((bound, value)),
            }
            return;
        }
        self.requests += value;
        match label(labels, "status").and_then(|status| status.chars().next()) {
            Some('4') => self.refused += value,
            Some('5') => self.failed += value,
            _ => {}
        }
    }

    fn since(&self, older: Option<&Self>) -> Self {
        let none = Self::default();
        let older = older.unwrap_or(&none);
        let count_of =
            |bound: f64| older.durations.iter().find(|(known, _)| *known == bound).map_or(0.0, |known| known.1);
        let mut durations: Vec<_> =
            self.durations.iter().map(|(bound, count)| (*bound, (count - count_of(*bound)).max(0.0))).collect();
        durations.sort_by(|left, right| left.0.total_cmp(&right.0));
        Self {
            requests: (self.requests - older.requests).max(0.0),
            refused: (self.refused - older.refused).max(0.0),
            failed: (self.failed - older.failed).max(0.0),
            durations,
        }
    }

    fn join(&mut self, other: &Self) {
        self.requests += other.requests;
        self.refused += other.refused;
        self.failed += other.failed;
        for (bound, count) in &other.durations {
            match self.durations.iter_mut().find(|(known, _)| known == bound) {
                Some((_, sum)) => *sum += count,
                None => self.durations.push((*bound, *count)),
            }
        }
    }

    fn latency(&self) -> Option<Latency> {
        let quantile = |part: f64| quantile_s(&self.durations, part).map(|seconds| seconds * 1e3);
        Some(Latency { p50_ms: quantile(0.5)?, p99_ms: quantile(0.99)? })
    }
}

impl Rates {
    pub(super) fn between(older: &Sample, newer: &Sample, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        if seconds == 0.0 {
            return Self::default();
        }
        let (mut all, mut routes) = (Route::default(), Vec::new());
        for (name, route) in &newer.routes {
            let route = route.since(older.routes.get(name));
            all.join(&route);
            if route.requests > 0.0 {
                let requests = route.requests / seconds;
                routes.push(RouteRate { route: name.clone(), requests, latency: route.latency() });
            }
        }
        routes.sort_by(|left, right| right.requests.total_cmp(&left.requests));
        routes.truncate(ROUTES_SHOWN);
        let rate = |newer: f64, older: f64| (newer - older).max(0.0) / seconds;
        let (new, old) = (newer.reads, older.reads);
        let reads = Reads {
            near: rate(new.near, old.near),
            shared: rate(new.shared, old.shared),
            store: rate(new.store, old.store),
            stale: rate(new.stale, old.stale),
        };
        Self {
            window_s: seconds,
            requests: all.requests / seconds,
            refused: all.refused / seconds,
            failed: all.failed / seconds,
            submits: rate(newer.submits, older.submits),
            latency: all.latency(),
            reads,
            routes,
        }
    }
}

/// The value of one label. Ours hold no quotes.
fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    let mut parts = labels.trim_end_matches('}').split("\",");
    parts.find_map(|part| part.strip_prefix(name)?.strip_prefix("=\"")).map(|value| value.trim_end_matches('"'))
}

/// The quantile of a cumulative histogram, interpolated within its bucket as Prometheus' `histogram_quantile` does it. Behind the last finite
/// bound: that bound.
fn quantile_s(durations: &[(f64, f64)], part: f64) -> Option<f64> {
    let all = durations.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let wanted = all * part;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in durations {
        if *count >= wanted {
            let within = if *count > counted { (wanted - counted) / (count - counted) } else { 1.0 };
            return Some(if bound.is_finite() { below + (bound - below) * within } else { below });
        }
        (below, counted) = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLDER: &str = r#"# TYPE longshore_http_requests_total counter
longshore_http_requests_total{program="gateway",route="/data/{key}",method="GET",status="200"} 10
longshore_data_reads_total{program="gateway",tier="near"} 4
"#;
    const NEWER: &str = r#"# TYPE longshore_http_requests_total counter
longshore_http_requests_total{program="gateway",route="/data/{key}",method="GET",status="200"} 40
longshore_http_requests_total{program="gateway",route="/data/{key}",method="GET",status="404"} 10
longshore_http_requests_total{program="gateway",route="/longtask",method="POST",status="202"} 20
longshore_http_requests_total{program="gateway",route="/longtask",method="POST",status="503"} 20
longshore_http_requests_total{program="gateway",route="/console/{page}",method="GET",status="200"} 900
longshore_http_requests_total{program="store-svc",route="/apply",method="POST",status="200"} 900
longshore_http_request_duration_seconds_bucket{program="gateway",route="/longtask",method="POST",status="202",le="0.01"} 10
longshore_http_request_duration_seconds_bucket{program="gateway",route="/longtask",method="POST",status="202",le="0.1"} 20
longshore_http_request_duration_seconds_bucket{program="gateway",route="/longtask",method="POST",status="202",le="+Inf"} 20
longshore_data_reads_total{program="gateway",tier="near"} 24
longshore_data_reads_total{program="gateway",tier="store"} 10
longshore_submits_total{program="gateway",method="POST",outcome="created"} 20
"#;

    #[test]
    fn rates_are_of_what_came_between_two_samples() {
        let rates = Rates::between(&Sample::of(OLDER), &Sample::of(NEWER), Duration::from_secs(10));
        assert_eq!((rates.requests, rates.refused, rates.failed, rates.submits), (8.0, 1.0, 2.0, 2.0));
        assert_eq!(rates.reads, Reads { near: 2.0, shared: 0.0, store: 1.0, stale: 0.0 });
        let routes: Vec<_> = rates.routes.iter().map(|route| (route.route.as_str(), route.requests)).collect();
        assert_eq!(routes, [("GET /data/{key}", 4.0), ("POST /longtask", 4.0)]);
        let latency = rates.routes[1].latency.expect("it was measured");
        assert!((latency.p50_ms - 10.0).abs() < 1e-6 && (latency.p99_ms - 98.2).abs() < 1e-6, "{latency:?}");
    }

    #[test]
    fn a_first_sample_has_no_rates() {
        let sample = Sample::of(NEWER);
        assert_eq!(Rates::between(&sample, &sample, Duration::ZERO), Rates::default());
        let idle = Rates::between(&sample, &sample, Duration::from_secs(1));
        assert_eq!((idle.requests, idle.latency, idle.routes.len()), (0.0, None, 0));
    }

    #[test]
    fn quantiles_lie_within_their_buckets() {
        let check = |durations: &[(f64, f64)], part, expected| assert_eq!(quantile_s(durations, part), expected);
        check(&[], 0.5, None);
        check(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5, None);
        check(&[(1.0, 4.0), (2.0, 8.0), (f64::INFINITY, 8.0)], 0.5, Some(1.0));
        check(&[(1.0, 4.0), (2.0, 8.0), (f64::INFINITY, 8.0)], 0.75, Some(1.5));
        check(&[(1.0, 4.0), (f64::INFINITY, 8.0)], 0.99, Some(1.0));
    }
}
