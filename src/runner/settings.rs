//! What the adapter can be told, with the defaults of the design; the configuration fills it.

use std::time::Duration;

use super::address::RunnerAddress;
use crate::config::{HostPattern, Secret};
use crate::vllm::{BreakerSettings, Retry, TokenLimits, VllmSettings};

/// Everything about outside agents.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    /// Sent to these very addresses, scheme included: a key for `grpcs` never goes out in the open. No other runner
    /// gets a key, and none gets that of the model servers.
    pub keys: Vec<RunnerKey>,
    /// Which hosts runners may be on.
    pub allowed_endpoints: Vec<HostPattern>,
    /// Most a call may take, retries and waiting included.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// The longest pause between two updates of a call.
    pub silence: Duration,
    /// Calls in flight per runner, over all its seats. 64: an outside agent is slow and has few seats; one connection
    /// carries them all (servers allow 100 streams by default), and a runner that can take fewer says so.
    pub calls_per_runner: usize,
    /// Calls that may wait for one runner; one more is refused as busy.
    pub waiting_per_runner: usize,
    /// Progress messages of one call that are taken per second. 20: more than people can follow.
    pub progress_per_second: u32,
    pub retry: Retry,
    pub breaker: BreakerSettings,
    /// For seats that name none.
    pub temperature: f32,
    pub max_tokens: TokenLimits,
}

/// A key for one runner.
#[derive(Clone, Debug)]
pub struct RunnerKey {
    pub address: RunnerAddress,
    pub key: Secret,
}

impl Default for RunnerSettings {
    /// As patient as with model servers.
    fn default() -> Self {
        let servers = VllmSettings::new(Vec::new());
        Self {
            keys: Vec::new(),
            allowed_endpoints: vec![HostPattern::Loopback],
            timeout: servers.timeout,
            connect_timeout: servers.connect_timeout,
            silence: Duration::from_secs(60),
            calls_per_runner: 64,
            waiting_per_runner: servers.waiting_per_replica,
            progress_per_second: 20,
            retry: servers.retry,
            breaker: servers.breaker,
            temperature: servers.temperature,
            max_tokens: servers.max_tokens,
        }
    }
}

impl RunnerSettings {
    pub(super) fn key_for(&self, address: &RunnerAddress) -> Option<&Secret> {
        self.keys.iter().find(|key| key.address == *address).map(|key| &key.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_only_where_it_belongs() {
        let address = |text| RunnerAddress::parse(text).unwrap();
        let key = RunnerKey { address: address("grpcs://agents:7000"), key: Secret::new("sk-1") };
        let settings = RunnerSettings { keys: vec![key], ..RunnerSettings::default() };
        let key = |text| settings.key_for(&address(text)).map(Secret::reveal);
        assert_eq!(key("grpcs://Agents:7000/"), Some("sk-1"));
        for other in ["grpc://agents:7000", "grpcs://agents:7001", "grpcs://a.agents:7000"] {
            assert_eq!(key(other), None, "{other}");
        }
    }
}
