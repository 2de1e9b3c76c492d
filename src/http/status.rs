//! How the daemon is, and what serves here: for whoever waits for it, watches it or just came by.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Door;
use super::readiness::{Health, Report, Stage};

const SERVICE: &str = "moothall";
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn routes() -> OpenApiRouter<Door> {
    OpenApiRouter::new().routes(routes!(index)).routes(routes!(health)).routes(routes!(ready)).routes(routes!(render))
}

#[derive(Serialize, ToSchema)]
struct Index {
    service: &'static str,
    version: &'static str,
    /// Where everything that is served is listed.
    docs: &'static str,
}

/// What serves here.
#[utoipa::path(get, path = "/", tag = "daemon", responses((status = 200, body = Index)))]
async fn index() -> Json<Index> {
    Json(Index { service: SERVICE, version: VERSION, docs: "/docs" })
}

#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
struct HealthBody {
    /// `/health`: healthy, degraded or unhealthy; `/ready`: ready, or why not.
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    service: &'static str,
    /// Each part in use by its name: its `status`, and `why` when it is not healthy.
    #[schema(value_type = Object)]
    components: serde_json::Map<String, serde_json::Value>,
}

/// How the daemon and its parts are: 200 when healthy or degraded, 503 when unhealthy.
#[utoipa::path(get, path = "/health", tag = "daemon",
    responses((status = 200, body = HealthBody), (status = 503, body = HealthBody)))]
async fn health(State(door): State<Door>) -> Response {
    let report = door.readiness.report();
    let code = if report.status == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(body(&report, report.status))).into_response()
}

/// Whether work is taken: 200 when it is, else 503 with the reason as status.
#[utoipa::path(get, path = "/ready", tag = "daemon",
    responses((status = 200, body = HealthBody), (status = 503, body = HealthBody)))]
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

/// All metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "daemon",
    responses((status = 200, description = "Metrics", content_type = "text/plain")))]
async fn render(State(door): State<Door>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (door.metrics)()).into_response()
}
