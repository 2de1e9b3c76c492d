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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// The whole answer to one request, as it came over the connection.
    async fn get(readiness: &Arc<Readiness>, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics: RenderMetrics = Arc::new(|| "moothall_open 1\n".to_owned());
        let server = tokio::spawn(serve(listener, readiness.clone(), metrics, std::future::pending()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn health_is_told_in_every_stage_of_life() {
        let readiness = Arc::new(Readiness::default());
        let early = get(&readiness, "/health").await;
        assert!(early.starts_with("HTTP/1.1 503"), "{early}");
        readiness.enter(Stage::Ready);
        readiness.observe(|| Components::from([("nats".to_owned(), Health::Degraded("no connection".into()))]));
        let well = get(&readiness, "/health").await;
        assert!(well.starts_with("HTTP/1.1 200"), "{well}");
        let body: serde_json::Value = serde_json::from_str(well.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!((&body["status"], &body["service"]), (&"degraded".into(), &"moothall".into()));
        assert_eq!(body["components"]["nats"]["why"], "no connection");
        assert!(body["uptime_seconds"].is_u64() && body["version"].is_string());
    }

    #[tokio::test]
    async fn ready_means_that_work_is_taken() {
        let readiness = Arc::new(Readiness::default());
        assert!(get(&readiness, "/ready").await.contains("\"status\":\"starting\""));
        readiness.enter(Stage::Ready);
        assert!(get(&readiness, "/ready").await.starts_with("HTTP/1.1 200"));
        readiness.enter(Stage::Draining);
        let draining = get(&readiness, "/ready").await;
        assert!(draining.starts_with("HTTP/1.1 503") && draining.contains("draining"), "{draining}");
    }

    #[tokio::test]
    async fn metrics_and_the_index_are_served_from_the_start() {
        let readiness = Arc::new(Readiness::default());
        let metrics = get(&readiness, "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.ends_with("moothall_open 1\n"), "{metrics}");
        assert!(get(&readiness, "/").await.contains("\"service\":\"moothall\""));
        assert!(get(&readiness, "/none").await.starts_with("HTTP/1.1 404"));
    }
}
