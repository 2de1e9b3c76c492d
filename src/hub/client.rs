//! An outside hub over HTTP: asked until there is an answer, within one limit over all tries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use moothall_actors::domain::workflow::Artifact;
use moothall_actors::ports::{HubError, Invocation};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::fault::Fault;
use super::reply;
use super::wire::InvokeRequest;
use crate::config::{HubConfig, Secret};
use crate::vllm::Retry;

/// By which a hub knows an invocation that comes again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Largest answer, in bytes: twice what a client may send as the result of a phase.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// A hub that does not even take a connection is tried again rather than waited for.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a hub may take to show that it is there.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
const AGENT: &str = concat!("moothall/", env!("CARGO_PKG_VERSION"));

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
#[error("the agent hub {url} cannot be connected to")]
pub struct HubStartError {
    url: Arc<str>,
    #[source]
    source: reqwest::Error,
}

/// How the hub stood when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubState {
    /// It answers, whatever it says.
    Healthy,
    Away {
        why: Arc<str>,
    },
}

/// The outside hub as the daemon sees it.
pub struct HubClient {
    http: reqwest::Client,
    base: Url,
    /// As messages show it; an address holds no secrets here.
    shown: Arc<str>,
    api_key: Option<Secret>,
    timeout: Duration,
    retry: Retry,
    state: Mutex<Option<HubState>>,
}

impl std::fmt::Debug for HubClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubClient").field("url", &self.shown).finish_non_exhaustive()
    }
}

impl HubClient {
    /// Connects nowhere yet. `None` = no outside hub is configured.
    pub fn new(config: &HubConfig) -> Result<Option<Self>, HubStartError> {
        let Some(base) = config.url.clone() else { return Ok(None) };
        let shown: Arc<str> = base.as_str().trim_end_matches('/').into();
        // Whoever chose one before keeps it; without any there is no client.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No proxy of the environment: the key goes to the hub and to nobody else.
        let builder = reqwest::Client::builder()
            .user_agent(AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true);
        let http = builder.build().map_err(|source| HubStartError { url: shown.clone(), source })?;
        let (api_key, timeout, retry) = (config.api_key.clone(), config.timeout, config.retry);
        Ok(Some(Self { http, base, shown, api_key, timeout, retry, state: Mutex::default() }))
    }

    /// Executes one attempt at a phase.
    pub async fn invoke(&self, invocation: &Invocation) -> Result<Artifact, HubError> {
        let failed = |what: String| HubError::Failed(format!("agent hub {}: {what}", self.shown).into());
        let request = InvokeRequest::of(invocation);
        let body = serde_json::to_vec(&request).map_err(|error| failed(format!("the request is no JSON: {error}")))?;
        let url = self.place(&["invoke", invocation.workflow_type.as_str()]);
        let (body, key) = (Bytes::from(body), invocation.id.to_string());
        let deadline = Instant::now() + self.timeout;
        let mut last: Option<Fault> = None;
        let mut tried = 0;
        loop {
            tried += 1;
            let Ok(asked) = timeout_at(deadline, self.ask(&url, body.clone(), &key)).await else {
                return Err(failed(self.silent(last.as_ref())));
            };
            let fault = match asked {
                Ok(artifact) => return Ok(artifact),
                Err(fault) => fault.without(self.api_key.as_ref()),
            };
            let wait = self.wait_before_next(&fault, tried).filter(|wait| Instant::now() + *wait < deadline);
            let Some(wait) = wait else {
                let tries = if tried > 1 { format!(", after {tried} requests") } else { String::new() };
                return Err(failed(fault.what + &tries));
            };
            tracing::info!(invocation = key, hub = %self.shown, why = fault.what, "an invocation is tried again");
            last = Some(fault);
            tokio::time::sleep(wait).await;
        }
    }

    async fn ask(&self, url: &Url, body: Bytes, key: &str) -> Result<Artifact, Fault> {
        let mut request = self.http.post(url.clone()).body(body).header(IDEMPOTENCY_KEY, key);
        request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key.reveal());
        }
        let response = request.send().await.map_err(|error| Fault::lost(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = whole(response).await?;
        if !status.is_success() {
            return Err(Fault::status(status, &headers, &body));
        }
        reply::artifact(&body)
    }

    /// `None` = there is none.
    fn wait_before_next(&self, fault: &Fault, tried: u32) -> Option<Duration> {
        if !fault.may_retry || tried > self.retry.times {
            return None;
        }
        let jittered = self.retry.bound(tried).mul_f64(rand::random());
        Some(fault.retry_after.map_or(jittered, |asked| asked.min(self.retry.last)))
    }

    fn silent(&self, before: Option<&Fault>) -> String {
        let before = before.map(|fault| format!("; before that, {}", fault.what)).unwrap_or_default();
        format!("no answer within {} s{before}", self.timeout.as_secs_f64())
    }

    fn place(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An address with a host always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// `None` = nobody has looked yet.
    #[must_use]
    pub fn state(&self) -> Option<HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks whether it is there: any answer to `GET {url}/health` will do. The key is not sent along.
    pub async fn look(&self) -> HubState {
        let asked = self.http.get(self.place(&["health"])).timeout(LOOK_WITHIN).send().await;
        let found = match asked {
            Ok(_) => HubState::Healthy,
            Err(error) if error.is_timeout() => {
                HubState::Away { why: format!("{}: no answer within {} s", self.shown, LOOK_WITHIN.as_secs()).into() }
            }
            Err(error) => HubState::Away { why: format!("{}: {}", self.shown, Fault::lost(&error).what).into() },
        };
        let before = self.state.lock().unwrap_or_else(PoisonError::into_inner).replace(found.clone());
        match &found {
            HubState::Away { why } if before.as_ref() != Some(&found) => tracing::warn!(%why, "the agent hub is away"),
            HubState::Healthy if matches!(before, Some(HubState::Away { .. })) => {
                tracing::info!(hub = %self.shown, "the agent hub answers again");
            }
            HubState::Away { .. } | HubState::Healthy => {}
        }
        found
    }
}

/// The body, as long as it is no longer than it may be.
async fn whole(mut response: reqwest::Response) -> Result<Vec<u8>, Fault> {
    let too_large = || Fault::lasting(format!("its answer is larger than {MAX_ANSWER_BYTES} bytes"));
    let most = u64::try_from(MAX_ANSWER_BYTES).unwrap_or(u64::MAX);
    if response.content_length().is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Fault::lost(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
