//! What holds for every request, whichever route it takes: a name, a limit on time and size, and an answer even when a
//! handler breaks down.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use uuid::Uuid;

use super::refusal::{Cause, Refusal};
use super::visible_ascii;

/// Largest body of a request: a feature, its context and room for their encoding.
pub(crate) const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Longest wait for an answer. A stream of events has answered once it has begun.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Longest name of a request that is taken over: it stands in every line of the log.
const MAX_REQUEST_ID_CHARS: usize = 128;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name of a request, for whoever logs.
#[derive(Clone)]
struct RequestId(HeaderValue);

/// Every route of this router, and what none of them takes.
pub(crate) fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(in_time))
        .layer(from_fn(unbroken))
        .layer(from_fn(named))
}

async fn unknown(uri: Uri) -> Refusal {
    let path = crate::error::cut(uri.path(), 256);
    Refusal::new(Cause::UnknownPath, format!("nothing is served at {path}; /docs lists what is"))
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let path = crate::error::cut(uri.path(), 256);
    Refusal::new(Cause::Method, format!("{method} is not possible at {path}; the header Allow says what is"))
}

async fn named(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID);
    let given = given.filter(|id| visible_ascii(id, MAX_REQUEST_ID_CHARS).is_some()).cloned();
    let made = || HeaderValue::from_str(&Uuid::now_v7().to_string()).ok();
    let Some(id) = given.or_else(made) else { return next.run(request).await };
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

async fn unbroken(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let id = request.extensions().get::<RequestId>().cloned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let error_id = Uuid::now_v7().to_string();
            let request_id = id.as_ref().and_then(|RequestId(id)| id.to_str().ok());
            tracing::error!(error_id, request_id, %method, path, why = said(&*panic), "a request broke down");
            Refusal::internal(&error_id).into_response()
        }
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    // A deliberation has a limit of its own, and its caller another.
    if request.uri().path().starts_with("/invoke/") {
        return next.run(request).await;
    }
    match tokio::time::timeout(ANSWER_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let limit = ANSWER_LIMIT.as_secs();
            let message =
                format!("no answer within {limit} s; what was asked for may happen yet: read it before you try again");
            Refusal::new(Cause::TimedOut, message).into_response()
        }
    }
}

/// What a panic was raised with.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::extract::rejection::BytesRejection;
    use axum::http::header::ALLOW;
    use axum::routing::{get, post};
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    async fn take(body: Result<Bytes, BytesRejection>) -> Result<String, Refusal> {
        Ok(body?.len().to_string())
    }

    async fn answer(request: axum::http::Request<Body>) -> (u16, axum::http::HeaderMap, Value) {
        let router = Router::new()
            .route("/breaks", get(async || -> &str { std::panic::panic_any("as told") }))
            .route("/hangs", get(std::future::pending::<()>))
            .route("/takes", post(take));
        let response = guarded(router).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap())
    }

    async fn at(method: &str, path: &str) -> (u16, axum::http::HeaderMap, Value) {
        answer(axum::http::Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    #[tokio::test(start_paused = true)]
    async fn every_way_to_fail_has_a_code_and_the_name_of_its_request() {
        let table = [
            ("GET", "/none", 404, "NOT_FOUND"),
            ("DELETE", "/takes", 405, "METHOD_NOT_ALLOWED"),
            ("GET", "/hangs", 504, "TIMEOUT"),
            ("GET", "/breaks", 500, "INTERNAL_ERROR"),
        ];
        for (method, path, status, code) in table {
            let (found, headers, body) = at(method, path).await;
            assert_eq!((found, &body["error"]["code"]), (status, &code.into()), "{path}");
            let id = headers[REQUEST_ID].to_str().unwrap();
            assert_eq!(Uuid::parse_str(id).unwrap().get_version_num(), 7);
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")), "{headers:?}");
        }
        assert_eq!(at("DELETE", "/takes").await.1[ALLOW], "POST");
    }

    #[tokio::test]
    async fn a_body_may_have_four_mebibytes_and_not_one_byte_more() {
        let send = |bytes: usize| axum::http::Request::post("/takes").body(Body::from(vec![b'1'; bytes])).unwrap();
        let (status, _, body) = answer(send(MAX_BODY_BYTES)).await;
        assert_eq!((status, body), (200, MAX_BODY_BYTES.into()));
        let (status, _, body) = answer(send(MAX_BODY_BYTES + 1)).await;
        assert_eq!((status, &body["error"]["code"]), (413, &"PAYLOAD_TOO_LARGE".into()));
    }

    #[tokio::test]
    async fn a_request_keeps_its_name_when_that_can_be_shown() {
        let named = |id: &[u8]| {
            let id = HeaderValue::from_bytes(id).unwrap();
            axum::http::Request::get("/none").header(REQUEST_ID, id).body(Body::empty()).unwrap()
        };
        let longest = "x".repeat(MAX_REQUEST_ID_CHARS);
        for kept in ["a", "order-7/1", &longest] {
            assert_eq!(answer(named(kept.as_bytes())).await.1[REQUEST_ID], *kept);
        }
        for wrong in [&b""[..], b"a b", b"\xc3\xa9", format!("{longest}x").as_bytes()] {
            let (_, headers, _) = answer(named(wrong)).await;
            assert!(Uuid::parse_str(headers[REQUEST_ID].to_str().unwrap()).is_ok());
        }
    }
}
