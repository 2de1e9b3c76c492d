//! Asks the daemon over REST, and turns its errors into words and exit codes.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::cli::exit::{Exit, Failure};

/// An answer takes no longer, a stream aside.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, Failure> {
        let parsed = Url::parse(base).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let base = parsed.ok_or_else(|| Failure::usage(format!("{base:?} is no http:// or https:// address")))?;
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = client.build().map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
        Ok(Self { http, base })
    }

    /// Of `/workflows`, with what follows in the path; each part is one, whatever is in it.
    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Result<RequestBuilder, Failure> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().push("workflows").extend(path)),
            Err(()) => return Err(Failure::usage(format!("{} is no address of a daemon", self.base))),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.http.request(method, url))
    }

    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        let request = self.request(Method::GET, path, query)?.timeout(PATIENCE);
        document(self.send(request).await?).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value, key: Option<&str>) -> Result<Value, Failure> {
        let mut request = self.request(Method::POST, path, &[])?.json(body).timeout(PATIENCE);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        document(self.send(request).await?).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| {
            let hint = "Is it running? --http or MOOTHALL_HTTP says where its HTTP port is.";
            Failure::new(Exit::UNAVAILABLE, format!("the daemon at {} cannot be asked: {error}", self.base)).hint(hint)
        })
    }

    /// Hands every event on until the workflow is over; the last of them.
    pub(super) async fn events(
        &self,
        workflow: &str,
        after: Option<u64>,
        mut show: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<Option<Value>, Failure> {
        let mut request = self.request(Method::GET, &[workflow, "events"], &[])?;
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return document(response).await.map(Some);
        }
        let (mut chunks, mut text, mut last) = (response.bytes_stream(), Vec::new(), None);
        while let Some(chunk) = chunks.next().await {
            text.extend_from_slice(&chunk.map_err(|error| Failure::of(Exit::UNAVAILABLE, &error))?);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                let event: Value =
                    serde_json::from_slice(data.trim_ascii()).map_err(|error| Failure::of(Exit::DATA, &error))?;
                show(&event)?;
                last = Some(event);
            }
        }
        Ok(last)
    }
}

async fn document(response: Response) -> Result<Value, Failure> {
    let status = response.status();
    let body = response.bytes().await.map_err(|error| Failure::of(Exit::UNAVAILABLE, &error))?;
    let found: Option<Value> = serde_json::from_slice(&body).ok();
    match (status.is_success(), found) {
        (true, Some(document)) => Ok(document),
        (_, found) => Err(refused(status, found.as_ref())),
    }
}

/// In the daemon's words, each detail on a line.
fn refused(status: StatusCode, body: Option<&Value>) -> Failure {
    let error = body.and_then(|body| body.get("error"));
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let message = text(error.and_then(|error| error.get("message"))).unwrap_or_else(|| format!("HTTP {status}"));
    let details = error.and_then(|error| error.get("details")?.as_array());
    let shown = |detail: &Value| format!("\n  {}", detail.as_str().map_or_else(|| detail.to_string(), str::to_owned));
    // Mostly the message says them all.
    let is_new = |detail: &&Value| detail.as_str().is_none_or(|detail| !message.contains(detail));
    let details: String = details.into_iter().flatten().filter(is_new).map(shown).collect();
    let exit = match status.as_u16() {
        404 => Exit::NO_INPUT,
        409 | 412 => Exit::EXISTS,
        403 => Exit::REFUSED,
        400..500 => Exit::USAGE,
        503 => Exit::UNAVAILABLE,
        _ => Exit::INTERNAL,
    };
    Failure::new(exit, format!("{message}{details}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_is_told_with_all_its_details() {
        let body = json!({ "error": { "code": "VALIDATION_ERROR", "message": "two problems: x", "details": ["x", "y", "z"] } });
        let failure = refused(StatusCode::BAD_REQUEST, Some(&body));
        assert_eq!((failure.message.as_str(), failure.exit), ("two problems: x\n  y\n  z", Exit::USAGE));
        assert_eq!(refused(StatusCode::BAD_GATEWAY, None).message, "HTTP 502 Bad Gateway");
    }

    #[test]
    fn an_id_is_one_part_of_the_path() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new("http://127.0.0.1:8080/").unwrap();
        let request = client.request(Method::GET, &["../x y"], &[("limit", "5".to_owned())]).unwrap().build().unwrap();
        assert_eq!((request.url().path(), request.url().query()), ("/workflows/..%2Fx%20y", Some("limit=5")));
        assert!(Client::new("ftp://x").is_err());
    }
}
