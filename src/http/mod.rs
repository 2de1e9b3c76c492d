//! HTTP: workflows, health, readiness, metrics, and the document that describes them. Served from the start, before the
//! system is ready: whoever waits for the daemon asks here.
//!
//! ```text
//!  request ─▶ guard (name, breakdowns, time, size) ─▶ route ─▶ Doors ─▶ System
//!                                                       │        └ empty while the daemon starts: 503
//!                                                       └ none: 404, 405
//! ```
//!
//! Every route is added together with its description, so that the document lists what is served and nothing else.

mod body;
mod doors;
mod guard;
mod hub;
mod pages;
mod readiness;
mod refusal;
mod status;
mod workflow;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use doors::{Doors, WorkflowDoor};
pub use readiness::{Components, Health, Readiness, Report, Stage, probe};

/// Writes all metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What every handler may ask.
#[derive(Clone)]
struct Door {
    readiness: Arc<Readiness>,
    doors: Arc<Doors>,
    metrics: RenderMetrics,
    document: Arc<str>,
}

/// Serves until `shutdown` resolves and open requests are answered.
pub async fn serve(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    doors: Arc<Doors>,
    metrics: RenderMetrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router(readiness, doors.clone(), metrics);
    let shutdown = async move {
        shutdown.await;
        doors.close();
    };
    // A step of a workflow is a small write: it must not wait for the one before it to be acknowledged.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

/// The routes, for whoever adds some.
pub fn router(readiness: Arc<Readiness>, doors: Arc<Doors>, metrics: RenderMetrics) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = document.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the document of the HTTP endpoints cannot be written");
        "{}".to_owned()
    });
    guard::guarded(router).with_state(Door { readiness, doors, metrics, document: document.into() })
}

/// One line for each part of the API.
fn routes() -> OpenApiRouter<Door> {
    OpenApiRouter::with_openapi(pages::Document::openapi())
        .merge(status::routes())
        .merge(workflow::routes())
        .merge(hub::routes())
        .merge(pages::routes())
}

/// The text of a header of 1 to `most` characters that all can be shown.
fn visible_ascii(value: &HeaderValue, most: usize) -> Option<&str> {
    let text = value.to_str().ok()?;
    ((1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
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
        let server = tokio::spawn(serve(listener, readiness.clone(), Arc::default(), metrics, std::future::pending()));
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
