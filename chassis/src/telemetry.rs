//! Logs to standard error, metrics for Prometheus, traces to their receiver; set up once per process, however many programs it runs.

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use protocol::invalidation::guards;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Common, LogFormat};
use crate::{trace, usage};

mod about;

use about::About;

/// The process's one metrics recorder; `metrics` itself allows one per process.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Whether the log's lines are JSON; not known before it is set up.
static JSON: OnceLock<bool> = OnceLock::new();

/// Seconds; from a cache hit to a held long-poll.
const LATENCY_BUCKETS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Sets up logs, metrics, traces and the log of panics. Repeated, it changes nothing.
pub fn init(program: &'static str, common: &Common) {
    install_recorder();
    let filter = EnvFilter::try_new(filter(&common.log)).unwrap_or_else(|_| EnvFilter::new("info"));
    let text = match common.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let first = if text {
        let ansi = std::io::stderr().is_terminal();
        let line = tracing_subscriber::fmt::format().compact().with_ansi(ansi);
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
        registry.with(layer.event_format(About::text(line))).try_init().is_ok()
    } else {
        let line = tracing_subscriber::fmt::format().json().flatten_event(true).with_current_span(false);
        let layer = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
        registry.with(layer.event_format(About::json(line))).try_init().is_ok()
    };
    if first {
        JSON.get_or_init(|| !text);
        log_panics();
        tracing::debug!(program, "telemetry is set up");
        let unguarded = guards::unguarded();
        if !unguarded.is_empty() {
            tracing::error!(program, ?unguarded, "built without guards of the caches, for tests: answers may be old");
        }
        if let Some(receiver) = &common.otlp_endpoint
            && let Err(error) = trace::start(receiver.clone(), common.trace_sample)
        {
            tracing::error!(program, %error, "no thread for traces: none are sent");
        }
    }
}

/// Whether the process's log is one JSON object to a line.
pub fn is_json() -> bool {
    JSON.get().copied().unwrap_or_default()
}

/// What to log. What the setting names, it may also make louder.
fn filter(setting: &str) -> String {
    #[cfg(feature = "broker")]
    let quiet = crate::broker::LOG_FILTER;
    #[cfg(not(feature = "broker"))]
    let quiet = "";
    let part = quiet.split('=').next().unwrap_or_default();
    if quiet.is_empty() || setting.contains(part) { setting.to_owned() } else { format!("{setting},{quiet}") }
}

/// All metrics in Prometheus' text form, those of the process itself last.
pub fn render_metrics() -> String {
    let counted = install_recorder().as_ref().map(PrometheusHandle::render).unwrap_or_default();
    counted + &usage::render_metrics()
}

/// Folds recorded samples into their histograms; without it they pile up between scrapes. Call every few seconds.
pub fn fold_metrics() {
    if let Some(handle) = install_recorder() {
        handle.run_upkeep();
    }
}

fn install_recorder() -> &'static Option<PrometheusHandle> {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let suffix = Matcher::Suffix("_seconds".to_owned());
        let builder = builder.set_buckets_for_metric(suffix, LATENCY_BUCKETS).ok()?;
        builder.install_recorder().ok()
    })
}

/// A panic is an error in the log, with its place; the default hook's plain text would break JSON lines.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no text)");
        tracing::error!(place, message, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn a_second_set_up_in_one_process_is_harmless() {
        let common = Common::load(&Source::default()).unwrap();
        init("one", &common);
        init("two", &common);
        metrics::counter!("longshore_test_total", "program" => "one").increment(1);
        metrics::histogram!("longshore_test_seconds").record(0.002);
        fold_metrics();
        let text = render_metrics();
        assert!(text.contains("longshore_test_total{program=\"one\"} 1"), "{text}");
        assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
        assert!(text.contains("longshore_test_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
    }
}
