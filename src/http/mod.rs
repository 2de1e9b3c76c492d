//! HTTP: health, readiness, metrics. Served from the start, before the system is ready: whoever waits for the daemon
//! asks here.

mod readiness;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;

pub use readiness::{Components, Health, Readiness, Report, Stage, probe};

const SERVICE: &str = "moothall";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes all metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Door {
    readiness: Arc<Readiness>,
    metrics: RenderMetrics,
}

/// Serves until `shutdown` resolves and open requests are answered.
pub async fn serve(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    metrics: RenderMetrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(readiness, metrics)).with_graceful_shutdown(shutdown).await
}

/// The routes, for whoever adds some.
pub fn router(readiness: Arc<Readiness>, metrics: RenderMetrics) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(Door { readiness, metrics })
}

#[derive(Serialize)]
struct Index {
    service: &'static str,
    version: &'static str,
    docs: &'static str,
}

async fn index() -> Json<Index> {
    Json(Index { service: SERVICE, version: VERSION, docs: "/health /ready /metrics; gRPC reflection lists the rest" })
}

#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    service: &'static str,
    components: serde_json::Map<String, serde_json::Value>,
}

/// 200 when healthy or degraded, 503 when unhealthy.
async fn health(State(door): State<Door>) -> Response {
    let report = door.readiness.report();
    let code = if report.status == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(body(&report, report.status))).into_response()
}

/// 200 when work is taken, else 503 with the reason as status.
async fn ready(State(door): State<Door>) -> Response {
    let report = door.readiness.report();
    let (code, status) = match report.stage {
        _ if report.ready() => (StatusCode::OK, "ready"),
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Stage::Ready => (StatusCode::SERVICE_UNAVAILABLE, report.status),
    };
    (code, Json(body(&report, status))).into_response()
}

fn body(report: &Report, status: &'static str) -> HealthBody {
    let component = |health: &Health| match health {
        Health::Healthy => serde_json::json!({ "status": health.as_str() }),
        Health::Degraded(why) | Health::Unhealthy(why) => {
            serde_json::json!({ "status": health.as_str(), "why": &**why })
        }
    };
    HealthBody {
        status,
        version: VERSION,
        uptime_seconds: report.uptime.as_secs(),
        service: SERVICE,
        components: report.components.iter().map(|(name, health)| (name.clone(), component(health))).collect(),
    }
}

async fn render(State(door): State<Door>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (door.metrics)()).into_response()
}
