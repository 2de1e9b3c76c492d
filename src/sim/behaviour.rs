//! How the simulator behaves: how long it takes, what it answers, and what goes wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moothall_actors::domain::id::Stage;
use serde::{Deserialize, Serialize};

use super::call_name::CallName;
use super::prefix::PREFIXES;
use super::script::Script;

/// The name under which it serves, and which every answer bears.
pub const MODEL: &str = moothall_actors::domain::answer::SIMULATOR_MODEL;

/// What is settled when it starts.
#[derive(Clone, Debug)]
pub struct SimSettings {
    /// Port 0 = a free one.
    pub listen: SocketAddr,
    pub behaviour: Behaviour,
    /// Last request bodies to keep; 0 = none.
    pub record: usize,
    /// Whether to count each call by its id; benches do without.
    pub by_call: bool,
    /// What `/v1/models` lists.
    pub models: Vec<String>,
    /// Whether other models are unknown (404), as a real server says, or answered all the same.
    pub strict_model: bool,
    pub max_model_len: Option<u32>,
    /// How many system messages its prefix cache holds.
    pub prefixes: usize,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            behaviour: Behaviour::default(),
            record: 0,
            by_call: true,
            models: vec![MODEL.into()],
            strict_model: false,
            max_model_len: Some(32_768),
            prefixes: PREFIXES,
        }
    }
}

/// What can be changed while it runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    pub latency: Latency,
    /// More latency for a system message that is not in the prefix cache; 0 = there is no cache.
    pub prefill_ms: u64,
    /// Between the pieces of a streamed answer.
    pub piece_ms: u64,
    pub answers: Answers,
    /// The first that fits a request counts.
    pub faults: Vec<Fault>,
}

/// A change of behaviour: what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourChange {
    pub latency: Option<Latency>,
    pub prefill_ms: Option<u64>,
    pub piece_ms: Option<u64>,
    pub answers: Option<Answers>,
    pub faults: Option<Vec<Fault>>,
}

impl Behaviour {
    #[must_use]
    pub fn changed(&self, change: BehaviourChange) -> Self {
        Self {
            latency: change.latency.unwrap_or(self.latency),
            prefill_ms: change.prefill_ms.unwrap_or(self.prefill_ms),
            piece_ms: change.piece_ms.unwrap_or(self.piece_ms),
            answers: change.answers.unwrap_or_else(|| self.answers.clone()),
            faults: change.faults.unwrap_or_else(|| self.faults.clone()),
        }
    }
}

/// What it says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// About 1 KB: a proposal holds one block of Python, a critique is well-formed JSON. Built beforehand.
    #[default]
    Bench,
    /// Plain sentences, whatever is asked for.
    Prose,
    Script(Script),
}

/// How long an answer takes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Latency {
    Fixed { fixed_ms: u64 },
    Lognormal { median_ms: f64, sigma: f64 },
}

impl Default for Latency {
    fn default() -> Self {
        Self::Fixed { fixed_ms: 0 }
    }
}

impl Latency {
    pub(crate) fn draw(self) -> Duration {
        /// Far above any model; keeps a wild setting from overflowing.
        const MOST: f64 = 3600.0;
        match self {
            Self::Fixed { fixed_ms } => Duration::from_millis(fixed_ms),
            Self::Lognormal { median_ms, sigma } => {
                // Box and Muller's way to a normal number.
                let (one, two): (f64, f64) = (rand::random(), rand::random());
                let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos();
                let seconds = (median_ms / 1000.0 * (sigma * normal).exp()).clamp(0.0, MOST);
                Duration::try_from_secs_f64(seconds).unwrap_or_default()
            }
        }
    }
}

/// Something that goes wrong, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub what: FaultKind,
    /// Share of the requests that it hits, 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// Only the first so many.
    #[serde(default)]
    pub times: Option<u64>,
    #[serde(default)]
    pub stage: Option<Stage>,
    /// The end of the agent's id, such as `001`.
    #[serde(default)]
    pub seat: Option<String>,
}

fn always() -> f64 {
    1.0
}

impl Fault {
    /// One that hits every request.
    #[must_use]
    pub fn always(what: FaultKind) -> Self {
        Self { what, rate: 1.0, times: None, stage: None, seat: None }
    }

    /// One that hits the first so many requests.
    #[must_use]
    pub fn first(times: u64, what: FaultKind) -> Self {
        Self { times: Some(times), ..Self::always(what) }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Another status than 200, with `Retry-After` in seconds, or `Location`.
    Status {
        status: u16,
        #[serde(default)]
        retry_after: Option<u64>,
        #[serde(default)]
        location: Option<String>,
        #[serde(default)]
        message: Option<String>,
    },
    /// 200, and a body that is no JSON.
    Garbage,
    /// 200, and a body that ends in the middle of the JSON.
    HalfJson,
    EmptyChoices,
    NoContent,
    /// The connection is closed without a byte.
    Drop,
    /// The connection is closed in the middle of the answer.
    Cut,
    /// No answer ever comes.
    Hang,
    /// The answer comes in small pieces, so many milliseconds apart.
    Drip {
        every_ms: u64,
    },
}

impl FaultKind {
    /// A status without more to it.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None, location: None, message: None }
    }
}

/// The faults in force, with what is left of each.
#[derive(Default)]
pub(crate) struct Faults(Vec<(Fault, AtomicU64)>);

impl Faults {
    pub(crate) fn new(faults: &[Fault]) -> Self {
        Self(faults.iter().map(|fault| (fault.clone(), AtomicU64::new(fault.times.unwrap_or(u64::MAX)))).collect())
    }

    pub(crate) fn strike(&self, call: Option<&CallName<'_>>) -> Option<&FaultKind> {
        let fits = |fault: &Fault| {
            fault.stage.is_none_or(|stage| call.is_some_and(|call| call.stage == stage))
                && fault.seat.as_ref().is_none_or(|seat| call.is_some_and(|call| call.seat.ends_with(seat)))
        };
        let left = |left: &AtomicU64| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
                u64::MAX => Some(u64::MAX),
                left => left.checked_sub(1),
            })
            .is_ok()
        };
        let mut hit =
            self.0.iter().filter(|(fault, _)| fits(fault) && (fault.rate >= 1.0 || rand::random::<f64>() < fault.rate));
        hit.find(|(_, times)| left(times)).map(|(fault, _)| &fault.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_written_in_json() {
        let json = r#"{"latency":{"median_ms":50,"sigma":0.5},"answers":"prose","faults":[
            {"what":"drop","rate":0.1},{"what":{"status":{"status":429,"retry_after":1}},"times":2,"stage":"critique"}]}"#;
        let change: BehaviourChange = serde_json::from_str(json).unwrap();
        let behaviour = Behaviour { piece_ms: 7, ..Behaviour::default() }.changed(change);
        assert_eq!((behaviour.piece_ms, behaviour.faults.len()), (7, 2));
        assert!(matches!(behaviour.answers, Answers::Prose));
        assert!(matches!(behaviour.latency, Latency::Lognormal { .. }));
        assert!(serde_json::from_str::<BehaviourChange>(r#"{"latencies":1}"#).is_err());
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told_and_only_whom() {
        let only = Fault { stage: Some(Stage::Critique), seat: Some("002".into()), ..Fault::first(2, FaultKind::Drop) };
        let faults = Faults::new(&[only]);
        let strikes = |id: &str| faults.strike(CallName::parse(id).as_ref()).is_some();
        assert!(!strikes("t/1/propose-0/agent-dev-002"));
        assert!(!strikes("t/1/critique-1/agent-dev-001"));
        let three = [(); 3].map(|()| strikes("t/1/critique-1/agent-dev-002"));
        assert_eq!(three, [true, true, false]);
        assert!(faults.strike(None).is_none());
    }

    #[test]
    fn lognormal_latency_has_its_median() {
        let latency = Latency::Lognormal { median_ms: 50.0, sigma: 0.5 };
        let mut drawn: Vec<_> = (0..4001).map(|_| latency.draw()).collect();
        drawn.sort();
        let median = drawn[2000].as_secs_f64();
        assert!((0.045..0.055).contains(&median), "{median}");
    }
}
