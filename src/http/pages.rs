//! The pages that show the API, and the document that they show: all of it comes out of this program, so that they work
//! without internet.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderName;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Door;
use super::refusal::{Cause, ErrorBody, Refusal};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const DOCS: &str = include_str!("../../web/docs.html");
const DOCS_SCRIPT: &[u8] = include_bytes!("../../web/docs.js");
const REDOC: &str = include_str!("../../web/redoc.html");
const REDOC_SCRIPT: &[u8] = include_bytes!("../../web/vendor/redoc.standalone.js");
/// The only files of Swagger UI that its page needs.
const SWAGGER: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

/// Holds the pages to this server: their scripts know pictures elsewhere.
const POLICY: (HeaderName, &str) = (
    CONTENT_SECURITY_POLICY,
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; frame-ancestors 'none'",
);

/// What the document says before its paths.
#[derive(OpenApi)]
#[openapi(
    info(title = "Moothall", description = "Workflows with human approval, and how the daemon is."),
    tags(
        (name = "workflows", description = "A Spec Kit stage in two phases, with a human's decision after each"),
        (name = "hub", description = "The built-in agent hub"),
        (name = "daemon", description = "How the daemon is"),
        (name = "documentation", description = "This document and pages that show it"),
    )
)]
pub(super) struct Document;

pub(super) fn routes() -> OpenApiRouter<Door> {
    OpenApiRouter::new()
        .routes(routes!(document))
        .routes(routes!(docs))
        .routes(routes!(docs_file))
        .routes(routes!(redoc))
        .routes(routes!(redoc_file))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "documentation",
    responses((status = 200, description = "An OpenAPI 3.1 document", content_type = "application/json")))]
async fn document(State(door): State<Door>) -> Response {
    ([(CONTENT_TYPE, "application/json")], String::from(&*door.document)).into_response()
}

/// This document, to be tried out.
#[utoipa::path(get, path = "/docs", tag = "documentation",
    responses((status = 200, description = "A page", content_type = "text/html")))]
async fn docs() -> Response {
    ([(CONTENT_TYPE, HTML), POLICY], DOCS).into_response()
}

/// A file that the page of the same name needs.
#[utoipa::path(get, path = "/docs/{file}", tag = "documentation", params(("file" = String, Path)),
    responses((status = 200, description = "A style sheet or script"),
              (status = 404, description = "Not a file of the page", body = ErrorBody)))]
async fn docs_file(Path(file): Path<String>) -> Response {
    if file == "docs.js" {
        return script(DOCS_SCRIPT);
    }
    let wanted = SWAGGER.into_iter().find(|known| *known == file);
    let config = Arc::new(utoipa_swagger_ui::Config::new(["/openapi.json"]));
    match wanted.and_then(|file| utoipa_swagger_ui::serve(file, config).ok().flatten()) {
        Some(found) => ([(CONTENT_TYPE, found.content_type)], found.bytes.into_owned()).into_response(),
        None => unknown(&file),
    }
}

/// This document, to be read.
#[utoipa::path(get, path = "/redoc", tag = "documentation",
    responses((status = 200, description = "A page", content_type = "text/html")))]
async fn redoc() -> Response {
    ([(CONTENT_TYPE, HTML), POLICY], REDOC).into_response()
}

/// A file that the page of the same name needs.
#[utoipa::path(get, path = "/redoc/{file}", tag = "documentation", params(("file" = String, Path)),
    responses((status = 200, description = "A script"),
              (status = 404, description = "Not a file of the page", body = ErrorBody)))]
async fn redoc_file(Path(file): Path<String>) -> Response {
    if file == "redoc.standalone.js" { script(REDOC_SCRIPT) } else { unknown(&file) }
}

fn script(text: &'static [u8]) -> Response {
    ([(CONTENT_TYPE, SCRIPT)], text).into_response()
}

fn unknown(file: &str) -> Response {
    let file = crate::error::cut(file, 256);
    Refusal::new(Cause::UnknownPath, format!("{file} is no file of this page")).into_response()
}
