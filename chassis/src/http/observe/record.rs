//! Counts requests and their durations by route, method and status, without making labels per request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use super::method_label;

/// Routes by their pattern; a request without one counts under this.
const NO_ROUTE: &str = "none";

/// The series of one program, made at first use: at most routes × methods × statuses of the program.
#[derive(Clone)]
pub(super) struct Recorder {
    program: &'static str,
    series: Arc<ArcSwap<Routes>>,
}

type Routes = HashMap<String, Vec<Series>>;

#[derive(Clone)]
struct Series {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    duration: Histogram,
}

impl Recorder {
    pub(super) fn new(program: &'static str) -> Recorder {
        metrics::describe_counter!("longshore_http_requests_total", "Requests answered, by route, method and status.");
        metrics::describe_histogram!(
            "longshore_http_request_duration_seconds",
            "From the request's head to its answer's."
        );
        Recorder { program, series: Arc::default() }
    }

    pub(super) fn record(&self, route: Option<&str>, method: &Method, status: StatusCode, duration: Duration) {
        let route = route.unwrap_or(NO_ROUTE);
        let method = method_label(method);
        let routes = self.series.load();
        match find(&routes, route, method, status) {
            Some(series) => series.record(duration),
            None => self.add(route, method, status).record(duration),
        }
    }

    fn add(&self, route: &str, method: &'static str, status: StatusCode) -> Series {
        let labels = [
            ("program", self.program.to_owned()),
            ("route", route.to_owned()),
            ("method", method.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        let added = Series {
            method,
            status,
            requests: metrics::counter!("longshore_http_requests_total", &labels),
            duration: metrics::histogram!("longshore_http_request_duration_seconds", &labels),
        };
        self.series.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            if find(&routes, route, method, status).is_none() {
                routes.entry(route.to_owned()).or_default().push(added.clone());
            }
            routes
        });
        added
    }
}

impl Series {
    fn record(&self, duration: Duration) {
        self.requests.increment(1);
        self.duration.record(duration.as_secs_f64());
    }
}

fn find<'a>(routes: &'a Routes, route: &str, method: &str, status: StatusCode) -> Option<&'a Series> {
    routes.get(route)?.iter().find(|series| series.status == status && series.method == method)
}
