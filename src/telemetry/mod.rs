//! Logs, metrics and the limit on open files: set up once at start, before anything else happens.
//!
//! Logs go to standard error, so that standard output stays what a command answers. Metrics are kept in the process and
//! rendered when asked: the HTTP server that shows them is the daemon's own. What repeats itself is cut short (`limit.rs`).

mod limit;

use std::io::{IsTerminal as _, stderr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use self::limit::{LeftOut, Limit, Limited};
use crate::config::{LogConfig, LogFormat};

/// Bounds of latency histograms, in seconds: from a local cache hit to a long deliberation.
const LATENCY_BOUNDS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// Between two upkeeps: some thousand values of each histogram wait at most.
const UPKEEP: Duration = Duration::from_secs(5);

static PROMETHEUS: OnceLock<PrometheusHandle> = OnceLock::new();
static LIMIT: OnceLock<Arc<Limit>> = OnceLock::new();

/// What could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log filter {filter:?} is wrong")]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("logs were set up before")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    #[error("metrics cannot be set up")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("metrics were set up before")]
    Recorder(#[from] metrics::SetRecorderError<metrics_exporter_prometheus::PrometheusRecorder>),
}

/// Sets up logs and metrics of this process. Only the first call can succeed.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    logs(config)?;
    let bounds =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &LATENCY_BOUNDS)?;
    let recorder = bounds.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    PROMETHEUS.get_or_init(|| handle);
    Ok(())
}

/// Renders all metrics in Prometheus' text form; `None` before [`init`].
#[must_use]
pub fn prometheus() -> Option<PrometheusHandle> {
    PROMETHEUS.get().cloned()
}

/// Folds recorded values together for as long as it is polled: without it they pile up between two scrapes. Also tells
/// how many log lines were left out.
pub async fn upkeep() {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        if let Some(metrics) = PROMETHEUS.get() {
            metrics.run_upkeep();
        }
        for LeftOut { target, line, lines } in LIMIT.get().into_iter().flat_map(|limit| limit.left_out(Instant::now()))
        {
            metrics::counter!("moothall_log_lines_suppressed_total").increment(lines);
            tracing::warn!(from = target, line, lines, "more lines like those before were left out");
        }
    }
}

fn logs(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|source| TelemetryError::Filter { filter: config.filter.clone(), source })?;
    let limit = LIMIT.get_or_init(Arc::default).clone();
    let lines = fmt::layer().with_writer(stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = Limited { limit, lines }.with_filter(filter);
    Registry::default().with(lines).try_init()?;
    Ok(())
}

/// Raises the limit on open files to the most that is allowed: each client and each model call holds one. Answers the
/// limit now in force.
pub fn raise_open_files() -> std::io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_is_set_up_once_and_renders_metrics() {
        let config = LogConfig { format: LogFormat::Json, filter: "warn".to_owned() };
        init(&config).unwrap();
        metrics::histogram!("moothall_trial_seconds").record(0.02);
        let text = prometheus().unwrap().render();
        assert!(text.contains("moothall_trial_seconds_bucket{le=\"0.025\"} 1"), "{text}");
        assert!(matches!(init(&config), Err(TelemetryError::Logs(_))));
    }

    #[test]
    fn the_limit_on_open_files_is_the_hard_one() {
        let limit = raise_open_files().unwrap();
        assert_eq!(rlimit::Resource::NOFILE.get().unwrap(), (limit, limit));
    }
}
