//! The simulator as a server: pages, calls and their faults.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::behaviour::{Behaviour, BehaviourChange, FaultKind, Faults, SimSettings};
use super::body::{SimBody, Step};
use super::call_name::{CallName, decoded};
use super::completion::{Source, Tokens};
use super::prefix::{Prefilled, PrefixCache};
use super::stats::{Begun, Counts, RecordedHead};

const SIMULATED: HeaderName = HeaderName::from_static("x-moothall-simulated");
const CALL: &str = "x-moothall-call";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Why a connection is closed without an answer: it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("dropped on purpose")]
    OnPurpose,
    #[error("the request did not come whole: {0}")]
    Request(#[from] hyper::Error),
}

/// Everything that connections share.
pub(crate) struct Sim {
    settings: SimSettings,
    pub(crate) counts: Arc<Counts>,
    mode: RwLock<Arc<Mode>>,
    prefixes: PrefixCache,
}

/// A behaviour in force.
struct Mode {
    behaviour: Behaviour,
    source: Source,
    faults: Faults,
}

impl Mode {
    fn new(behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self { source: Source::new(&behaviour.answers), faults: Faults::new(&behaviour.faults), behaviour })
    }
}

/// The part of a request that decides how it is answered.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    model: String,
    #[serde(default)]
    messages: Vec<AskedMessage>,
}

#[derive(Deserialize)]
struct AskedMessage {
    #[serde(default)]
    content: String,
}

impl Sim {
    pub(crate) fn new(settings: SimSettings) -> Self {
        let mode = RwLock::new(Mode::new(settings.behaviour.clone()));
        let prefixes = PrefixCache::new(settings.prefixes);
        Self { counts: Arc::new(Counts::new(settings.by_call, settings.record)), mode, prefixes, settings }
    }

    fn mode(&self) -> Arc<Mode> {
        Arc::clone(&self.mode.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change(&self, change: BehaviourChange) {
        let behaviour = self.mode().behaviour.changed(change);
        *self.mode.write().unwrap_or_else(PoisonError::into_inner) = Mode::new(behaviour);
    }

    pub(crate) async fn serve(&self, request: Request<Incoming>) -> Result<Response<SimBody>, Closed> {
        let path = request.uri().path();
        if request.method() == Method::POST && path.ends_with("/v1/chat/completions") {
            return self.complete(request).await;
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(self.page(&head.method, head.uri.path(), head.uri.query().unwrap_or_default(), &body))
    }

    fn page(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> Response<SimBody> {
        match (method, path) {
            (&Method::GET, "/health") => page(StatusCode::OK, json!({"status": "ok", "simulated": true})),
            (&Method::GET, "/sim/stats") => page(StatusCode::OK, json!(self.counts.snapshot())),
            (&Method::GET, "/sim/bodies") => {
                let limit = query.strip_prefix("limit=").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
                page(StatusCode::OK, json!(self.counts.records(limit)))
            }
            (&Method::POST, "/sim/reset") => {
                self.counts.reset();
                page(StatusCode::OK, json!({"reset": true}))
            }
            (&Method::POST, "/sim/script") => match serde_json::from_slice(body) {
                Ok(change) => {
                    self.change(change);
                    page(StatusCode::OK, json!(self.mode().behaviour))
                }
                Err(error) => page(StatusCode::BAD_REQUEST, error_json(&format!("not a change of behaviour: {error}"))),
            },
            (&Method::GET, path) if path.ends_with("/v1/models") => page(StatusCode::OK, self.models()),
            _ => page(StatusCode::NOT_FOUND, json!({"detail": "Not Found"})),
        }
    }

    fn models(&self) -> serde_json::Value {
        let model = |name: &String| {
            json!({"id": name, "object": "model", "created": 0, "owned_by": "moothall",
                   "max_model_len": self.settings.max_model_len})
        };
        json!({"object": "list", "data": self.settings.models.iter().map(model).collect::<Vec<_>>()})
    }

    async fn complete(&self, request: Request<Incoming>) -> Result<Response<SimBody>, Closed> {
        let (head, body) = request.into_parts();
        let header = head.headers.get(CALL).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = decoded(header);
        let begun = self.counts.begin(&id);
        let body = body.collect().await?.to_bytes();
        if self.counts.recording() {
            self.counts.record(recorded(&id, head.uri.path(), &head.headers), body.clone());
        }
        let (mode, call) = (self.mode(), CallName::parse(&id));
        if self.settings.strict_model
            && let Some(unknown) = self.unknown_model(&body)
        {
            return Ok(refused(StatusCode::NOT_FOUND, &unknown, begun));
        }
        let latency = mode.behaviour.latency.draw();
        let streamed = wants_stream(&body);
        if let Some(fault) = mode.faults.strike(call.as_ref()) {
            pause(latency).await;
            return fail(fault, begun, &mode.source, call.as_ref()).await;
        }
        let prefilled = self.prefill(&mode, &body);
        let as_built = mode.behaviour.piece_ms == 0 && prefilled.is_none();
        if let Some(ready) = mode.source.ready(call.as_ref()).filter(|_| as_built) {
            pause(latency).await;
            begun.status(200);
            let (bytes, form) = if streamed { (&ready.stream, EVENTS) } else { (&ready.whole, JSON) };
            return Ok(response(StatusCode::OK, form, SimBody::answer(bytes.clone(), begun)));
        }
        Ok(written(&mode, (call.as_ref(), &body), streamed, (latency, prefilled), begun).await)
    }

    /// Without a cost there is no cache, and the request is not read for it.
    fn prefill(&self, mode: &Mode, body: &[u8]) -> Option<Prefilled> {
        let prefilled = (mode.behaviour.prefill_ms > 0).then(|| self.prefixes.read(body)).flatten()?;
        self.counts.prefix(prefilled.hit);
        Some(prefilled)
    }

    fn unknown_model(&self, body: &[u8]) -> Option<String> {
        let asked: Asked = serde_json::from_slice(body).ok()?;
        (!self.settings.models.contains(&asked.model)).then(|| format!("The model `{}` does not exist.", asked.model))
    }
}

/// An answer that is written for its prompt.
async fn written(
    mode: &Mode,
    (call, body): (Option<&CallName<'_>>, &Bytes),
    streamed: bool,
    (latency, prefilled): (Duration, Option<Prefilled>),
    begun: Begun,
) -> Response<SimBody> {
    let Ok(asked) = serde_json::from_slice::<Asked>(body) else {
        return refused(StatusCode::BAD_REQUEST, "the body is not a request for a completion", begun);
    };
    let prompt: Vec<_> = asked.messages.iter().map(|message| message.content.as_str()).collect();
    let said = mode.source.say(call, &prompt);
    let latency = said.latency_ms.map_or(latency, Duration::from_millis);
    let prefill = Duration::from_millis(mode.behaviour.prefill_ms);
    let latency = latency + prefilled.map_or(Duration::ZERO, |prefilled| prefilled.wait(prefill));
    let cached = prefilled.map(|prefilled| prefilled.cached_bytes());
    let used = Tokens::new(said.usage(prompt.iter().map(|part| part.len()).sum()), cached);
    begun.status(200);
    if !streamed {
        pause(latency).await;
        return response(StatusCode::OK, JSON, SimBody::answer(said.whole(used), begun));
    }
    let between = Duration::from_millis(mode.behaviour.piece_ms);
    let pieces = said.pieces(used).into_iter().flat_map(|piece| [Step::Send(piece), Step::Wait(between)]);
    let steps = std::iter::once(Step::Wait(latency)).chain(pieces);
    response(StatusCode::OK, EVENTS, SimBody::steps(steps, begun, true))
}

async fn fail(
    fault: &FaultKind,
    begun: Begun,
    source: &Source,
    call: Option<&CallName<'_>>,
) -> Result<Response<SimBody>, Closed> {
    let said = source.say(call, &[]);
    let whole = || said.whole(Tokens::new(said.usage(4096), None));
    let half = || {
        let whole = whole();
        whole.slice(..whole.len() / 2)
    };
    let status = match fault {
        FaultKind::Status { status, .. } => *status,
        FaultKind::Drop | FaultKind::Hang => 0,
        _ => 200,
    };
    begun.status(status);
    let broken = |steps: Vec<Step>, begun| Ok(response(StatusCode::OK, JSON, SimBody::steps(steps, begun, false)));
    match fault {
        FaultKind::Status { retry_after, location, message, .. } => {
            let said = message.as_deref().unwrap_or("simulated failure");
            let mut response = refused(StatusCode::from_u16(status).unwrap_or_default(), said, begun);
            let after = retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds)));
            let to = location.as_ref().and_then(|to| Some((LOCATION, HeaderValue::from_str(to).ok()?)));
            response.headers_mut().extend(after.into_iter().chain(to));
            Ok(response)
        }
        FaultKind::Drop => {
            begun.failed();
            Err(Closed::OnPurpose)
        }
        // The request is held until its client leaves.
        FaultKind::Hang => std::future::pending().await,
        FaultKind::Garbage => broken(vec![Step::Send(Bytes::from_static(b"\xff\xfenot json at all"))], begun),
        FaultKind::HalfJson => broken(vec![Step::Send(half())], begun),
        FaultKind::Cut => broken(vec![Step::Send(half()), Step::Wait(Duration::from_millis(1)), Step::Break], begun),
        FaultKind::EmptyChoices => broken(vec![Step::Send(Bytes::from_static(br#"{"choices":[]}"#))], begun),
        FaultKind::NoContent => {
            let body = br#"{"choices":[{"message":{"role":"assistant","content":null},"finish_reason":"stop"}]}"#;
            broken(vec![Step::Send(Bytes::from_static(body))], begun)
        }
        FaultKind::Drip { every_ms } => {
            let every = Duration::from_millis(*every_ms);
            let parts: Vec<_> = whole().chunks(64).map(Bytes::copy_from_slice).collect();
            let steps = parts.into_iter().flat_map(|part| [Step::Wait(every), Step::Send(part)]);
            Ok(response(StatusCode::OK, JSON, SimBody::steps(steps, begun, true)))
        }
    }
}

fn recorded(id: &str, path: &str, headers: &HeaderMap) -> RecordedHead {
    RecordedHead {
        call: id.to_owned(),
        path: path.to_owned(),
        authorization: headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned),
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Whether `"stream": true` stands in the body. Inside a text the quotes would be escaped, so no parsing is needed; the
/// key stands near the end of what the daemon sends, so it is looked for from there.
fn wants_stream(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"stream\"";
    let Some(at) = body.windows(KEY.len()).rposition(|part| part == KEY) else { return false };
    let value = body[at + KEY.len()..].trim_ascii_start();
    value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
}

fn error_json(message: &str) -> serde_json::Value {
    json!({"error": {"message": message, "type": "simulated"}})
}

fn page(status: StatusCode, body: serde_json::Value) -> Response<SimBody> {
    response(status, JSON, SimBody::page(body.to_string()))
}

fn refused(status: StatusCode, message: &str, begun: Begun) -> Response<SimBody> {
    begun.failed();
    page(status, error_json(message))
}

fn response(status: StatusCode, form: HeaderValue, body: SimBody) -> Response<SimBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, form);
    response.headers_mut().insert(SIMULATED, HeaderValue::from_static("true"));
    response
}
