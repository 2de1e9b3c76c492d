//! A model that answers as told, in virtual time, and remembers every call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::journal::MemoryJournal;
use crate::domain::answer::{Answer, Class, Failure, Finish, Usage};
use crate::domain::id::{CallId, Stage};
use crate::ports::{AnswerForm, Model, ModelCall};

/// What the model does with one call.
#[derive(Clone, Debug)]
pub enum Reaction {
    Answer(Arc<str>),
    /// Cut off by the token limit.
    CutOff(Arc<str>),
    Fail(Failure),
    /// Until the call's own timeout.
    Hang,
    /// For ever, as an adapter without a timeout would.
    Silence,
    Panic,
}

type Script = Box<dyn Fn(&ModelCall, u32) -> (Duration, Reaction) + Send + Sync>;

/// Counts per call id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub started: u32,
    pub finished: u32,
    /// Dropped before they were answered.
    pub dropped: u32,
}

#[derive(Default)]
struct Seen {
    by_call: BTreeMap<CallId, Counts>,
    asks: Vec<ModelCall>,
    in_flight: u32,
    most_in_flight: u32,
    /// Where finished calls are durable, and the calls that came although they were.
    journal: Option<MemoryJournal>,
    repeated: Vec<CallId>,
}

/// Cheap to clone; clones share what they saw.
#[derive(Clone)]
pub struct FakeModel {
    script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
    structured: bool,
}

impl FakeModel {
    /// `script` is asked with the call and how often this very call came before.
    pub fn new(script: impl Fn(&ModelCall, u32) -> (Duration, Reaction) + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(Box::new(script)), seen: Arc::default(), structured: true }
    }

    /// Answers at once: a text that names its call, and critiques that rate it.
    #[must_use]
    pub fn instant() -> Self {
        Self::new(|call, _| (Duration::ZERO, Reaction::Answer(Self::usual(call))))
    }

    /// The usual answer: texts differ by seat, ratings grow with the reviewer's place.
    #[must_use]
    pub fn usual(call: &ModelCall) -> Arc<str> {
        match call.stage() {
            Stage::Critique => {
                let rating = call.id.agent.as_str().bytes().last().map_or(5, |digit| digit.saturating_sub(b'0') % 10);
                format!(
                    "{{\"summary\":\"seen\",\"findings\":[],\"ratings\":[{{\"requirement\":0,\"rating\":{rating}}}]}}"
                )
                .into()
            }
            Stage::Select => Self::ballot(call, |a, b| a.cmp(b)),
            stage => format!("{stage} of {} in round {}", call.id.agent, call.id.wave.round).into(),
        }
    }

    /// A ballot that ranks the candidates by their texts in this order.
    #[must_use]
    pub fn ballot(call: &ModelCall, order: impl Fn(&str, &str) -> std::cmp::Ordering) -> Arc<str> {
        let mut shown = candidates(&call.ask);
        shown.sort_by(|(_, a), (_, b)| order(a, b));
        let entry = |(letter, _): &(char, &str)| format!(r#"{{"candidate":"{letter}","reason":"its text"}}"#);
        format!(r#"{{"ranking":[{}]}}"#, shown.iter().map(entry).collect::<Vec<_>>().join(",")).into()
    }

    /// Critiques come as prose: nothing is asked again for its form.
    #[must_use]
    pub fn unstructured(self) -> Self {
        Self { structured: false, ..self }
    }

    #[must_use]
    pub fn counts(&self) -> BTreeMap<CallId, Counts> {
        self.lock().by_call.clone()
    }

    /// Every call as it came, prompts included.
    #[must_use]
    pub fn asks(&self) -> Vec<ModelCall> {
        self.lock().asks.clone()
    }

    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.lock().in_flight
    }

    #[must_use]
    pub fn most_in_flight(&self) -> u32 {
        self.lock().most_in_flight
    }

    /// Calls that came although their answer was durable.
    #[must_use]
    pub fn repeated(&self) -> Vec<CallId> {
        self.lock().repeated.clone()
    }

    pub(super) fn watch(&self, journal: &MemoryJournal) {
        self.lock().journal = Some(journal.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, call: &ModelCall) -> (u32, InFlight) {
        let mut seen = self.lock();
        let counts = seen.by_call.entry(call.id.clone()).or_default();
        let before = counts.started;
        counts.started += 1;
        seen.asks.push(call.clone());
        if seen.journal.as_ref().is_some_and(|journal| journal.has_answer(&call.id)) {
            seen.repeated.push(call.id.clone());
        }
        seen.in_flight += 1;
        seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
        (before, InFlight { model: self.clone(), call: call.id.clone(), finished: false })
    }
}

/// Counts the call as dropped unless it was finished.
struct InFlight {
    model: FakeModel,
    call: CallId,
    finished: bool,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut seen = self.model.lock();
        seen.in_flight -= 1;
        let counts = seen.by_call.entry(self.call.clone()).or_default();
        if self.finished {
            counts.finished += 1;
        } else {
            counts.dropped += 1;
        }
    }
}

#[async_trait]
impl Model for FakeModel {
    async fn complete(&self, call: &ModelCall) -> Result<Answer, Failure> {
        let (before, mut in_flight) = self.begin(call);
        let (latency, reaction) = (self.script)(call, before);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let (text, finish) = match reaction {
            Reaction::Answer(text) => (text, Finish::Stop),
            Reaction::CutOff(text) => (text, Finish::Length),
            Reaction::Fail(failure) => return Err(failure),
            Reaction::Hang => {
                tokio::time::sleep(call.timeout).await;
                return Err(Failure::new(Class::TimedOut, "no answer within the time of the call"));
            }
            Reaction::Silence => std::future::pending().await,
            Reaction::Panic => std::panic::panic_any("the model's adapter broke, as it was told to"),
        };
        in_flight.finished = true;
        let usage = Usage { prompt: 100, completion: 50 };
        Ok(Answer { text, reasoning: None, usage, finish, model: "fake".into(), attempts: 1, duration: latency })
    }

    fn structured(&self, form: AnswerForm) -> bool {
        self.structured && form == AnswerForm::Critique
    }
}

/// The candidates of a ballot's prompt, as they are shown: letter and text. Only lines with the code word of the first
/// one count, as for anybody who keeps to the prompt.
#[must_use]
pub fn candidates(ask: &str) -> Vec<(char, &str)> {
    let Some((_, nonce)) = ask.lines().find_map(|line| line.strip_prefix("<<<CANDIDATE ")?.split_once(' ')) else {
        return Vec::new();
    };
    let body = |letter: char| {
        let (_, rest) = ask.split_once(&format!("\n<<<CANDIDATE {letter} {nonce}\n"))?;
        rest.split_once(&format!("\n>>>CANDIDATE {letter} {nonce}\n")).map(|(text, _)| (letter, text))
    };
    ('A'..='Z').map_while(body).collect()
}
