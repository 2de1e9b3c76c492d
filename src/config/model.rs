//! The section about model servers: what the adapter is told, and the profiles.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Map;
use toml::Value;
use url::Url;

use super::host::HostPattern;
use super::raw::{RawModel, RawProfile};
use super::rule::Rules;
use super::secret::Secret;
use super::section::ProfileConfig;
use crate::runner::{RunnerAddress, RunnerKey, is_runner};
use crate::vllm::{Balance, BreakerSettings, Profile, ResponseFormat, Retry, StreamLimits, TokenLimits, VllmSettings};

/// The servers of `model.urls`; profiles and allowed hosts are other sections' matter.
pub(super) fn servers(raw: &RawModel, rules: &mut Rules<'_>) -> Option<VllmSettings> {
    let urls = urls(&raw.urls, rules);
    let balances = [("prefix", Balance::Prefix), ("least_outstanding", Balance::LeastOutstanding)];
    let balance = rules.word("model.balance", &raw.balance, &balances);
    let name = rules.text("model.name", &raw.name);
    let api_key = key("model.api_key", &raw.api_key, rules);
    let temperature = rules.number("model.temperature", raw.temperature, 0.0..=2.0);
    let top_p = rules.number("model.top_p", raw.top_p, 0.0..=1.0);
    let max_tokens = max_tokens(raw, rules);
    let timeout = rules.time("model.timeout", raw.timeout);
    let stream = stream(raw, rules);
    let calls = rules.whole("model.calls_per_replica", raw.calls_per_replica, 1..=65_536);
    let waiting = rules.whole("model.waiting_per_replica", raw.waiting_per_replica, 0..=1_000_000);
    let retry = retry(raw, rules);
    let breaker = breaker(raw, rules);
    let formats = [
        ("json_object", ResponseFormat::JsonObject),
        ("json_schema", ResponseFormat::JsonSchema),
        ("none", ResponseFormat::None),
    ];
    let response_format = rules.word("model.response_format", &raw.response_format, &formats);
    let extra_body = extra_body(&raw.extra_body, rules);
    Some(VllmSettings {
        balance: balance?,
        model: name?.to_string(),
        api_key: Some(api_key?).filter(|key| !key.is_empty()),
        temperature: temperature?,
        top_p: Some(top_p?).filter(|share| *share > 0.0),
        max_tokens: max_tokens?,
        timeout: timeout?,
        stream: stream?.filter(|_| raw.stream),
        calls_per_replica: calls?,
        waiting_per_replica: waiting?,
        retry: retry?,
        breaker: breaker?,
        response_format: response_format?,
        extra_body: Some(extra_body?).filter(|fields| !fields.is_empty()),
        ..VllmSettings::new(urls?)
    })
}

/// The limits are checked whether they are in use or not.
fn stream(raw: &RawModel, rules: &mut Rules<'_>) -> Option<Option<StreamLimits>> {
    let first_token = rules.time("model.first_token_timeout", raw.first_token_timeout);
    let silence = rules.time("model.silence_timeout", raw.silence_timeout);
    Some(Some(StreamLimits { first_token: first_token?, silence: silence? }))
}

fn urls(given: &[String], rules: &mut Rules<'_>) -> Option<Vec<Url>> {
    if given.is_empty() {
        return rules.refuse("model.urls", "must name at least one server");
    }
    let parsed: Vec<_> = given.iter().map(|text| rules.web("model.urls", text)).collect();
    let urls: Vec<Url> = parsed.into_iter().collect::<Option<_>>()?;
    let twice = urls.iter().enumerate().find(|(place, url)| urls[..*place].contains(url));
    match twice {
        Some((_, url)) => rules.refuse("model.urls", format!("names {url} twice")),
        None => Some(urls),
    }
}

/// A key stands in a header.
pub(super) fn key(name: &str, text: &str, rules: &mut Rules<'_>) -> Option<Secret> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Secret::new(text));
    }
    rules.refuse(name, "must be visible ASCII without blanks")
}

fn max_tokens(raw: &RawModel, rules: &mut Rules<'_>) -> Option<TokenLimits> {
    let overall = rules.whole::<u32>("model.max_tokens", raw.max_tokens, 0..=1_000_000);
    let propose = rules.tokens("model.max_tokens_propose", raw.max_tokens_propose);
    let critique = rules.tokens("model.max_tokens_critique", raw.max_tokens_critique);
    let revise = rules.tokens("model.max_tokens_revise", raw.max_tokens_revise);
    let select = rules.tokens("model.max_tokens_select", raw.max_tokens_select);
    Some(TokenLimits {
        propose: propose?,
        critique: critique?,
        revise: revise?,
        score: critique?,
        select: select?,
        overall: Some(overall?).filter(|most| *most > 0),
    })
}

fn retry(raw: &RawModel, rules: &mut Rules<'_>) -> Option<Retry> {
    let times = rules.whole("model.retries", raw.retries, 0..=20);
    let span = rules.span(("model.retry_min", raw.retry_min), ("model.retry_max", raw.retry_max));
    let (first, last) = span?;
    Some(Retry { times: times?, first, last })
}

fn breaker(raw: &RawModel, rules: &mut Rules<'_>) -> Option<BreakerSettings> {
    let failures = rules.whole::<u32>("model.breaker_failures", raw.breaker_failures, 1..=1_000);
    let span =
        rules.span(("model.breaker_open_min", raw.breaker_open_min), ("model.breaker_open_max", raw.breaker_open_max));
    let (open_first, open_most) = span?;
    Some(BreakerSettings { failures: failures?, open_first, open_most })
}

/// What Moothall itself puts into a request cannot be merged over.
const OWN_FIELDS: [&str; 3] = ["messages", "model", "stream"];

fn extra_body(given: &toml::Table, rules: &mut Rules<'_>) -> Option<Map<String, serde_json::Value>> {
    if let Some(own) = OWN_FIELDS.iter().find(|name| given.contains_key(**name)) {
        return rules.refuse("model.extra_body", format!("must not hold `{own}`"));
    }
    match serde_json::to_value(given) {
        Ok(serde_json::Value::Object(map)) => Some(map),
        _ => rules.refuse("model.extra_body", "must be a table that JSON can express"),
    }
}

pub(super) fn profiles(given: &toml::Table, rules: &mut Rules<'_>) -> Option<BTreeMap<String, ProfileConfig>> {
    let parsed: Vec<_> = given.iter().map(|(name, value)| profile(name, value, rules)).collect();
    parsed.into_iter().collect()
}

fn profile(name: &str, value: &Value, rules: &mut Rules<'_>) -> Option<(String, ProfileConfig)> {
    let place = "model.profiles";
    let Ok(raw) = RawProfile::deserialize(value.clone()) else {
        return rules.refuse(place, format!("`{name}` may hold the texts url, name and api_key, and nothing else"));
    };
    let before = rules.problems.len();
    let (runners, servers): (Vec<&str>, Vec<&str>) =
        raw.url.iter().map(String::as_str).partition(|text| is_runner(text));
    let url = servers.first().map(|text| rules.web(place, text));
    let runner = runners.first().map(|text| match RunnerAddress::parse(text) {
        Ok(address) => Some(address),
        Err(error) => rules.refuse(place, error.to_string()),
    });
    let api_key = raw.api_key.as_deref().map(|text| key(place, text, rules));
    if raw.api_key.is_some() && raw.url.is_none() {
        rules.refuse::<()>(place, "has an api_key but no url: it would be sent nowhere");
    }
    for problem in &mut rules.problems[before..] {
        problem.rule = format!("`{name}` {}", problem.rule);
    }
    let (url, runner) = (url.flatten(), runner.flatten());
    let profile = ProfileConfig { url, runner, name: raw.name.map(Into::into), api_key: api_key.flatten() };
    (rules.problems.len() == before).then(|| (name.to_owned(), profile))
}

impl ProfileConfig {
    /// The host of its server or runner, as a pattern.
    pub(super) fn host(&self) -> Option<HostPattern> {
        let url = self.url.as_ref().or_else(|| self.runner.as_ref().map(RunnerAddress::url))?;
        let host = url.host_str()?.to_owned();
        Some(HostPattern::Named { host, below: false, port: url.port_or_known_default() })
    }

    /// What the adapter needs: which host gets which key. A runner's key is never a model server's.
    pub(super) fn key(&self) -> Option<Profile> {
        self.url.as_ref()?;
        let api_key = self.api_key.clone()?;
        Some(Profile { hosts: self.host()?, api_key })
    }
    /// The same for the adapter of outside agents.
    pub(super) fn runner_key(&self) -> Option<RunnerKey> {
        Some(RunnerKey { address: self.runner.clone()?, key: self.api_key.clone()? })
    }
}
