//! Identities: each its own type, so that a task can never be taken for an agent.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::receipt::ReceiptKey;
use super::workflow::WorkflowId;

/// Longest task or agent id, in bytes: it stands in every event, header and log line.
pub const MAX_ID_BYTES: usize = 256;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

text_id! {
    /// One task, as its client names it. 1–256 bytes, no control characters, no blanks at its ends.
    TaskId
}
text_id! {
    /// One agent, unique in its council. Same form as [`TaskId`].
    AgentId
}
text_id! {
    /// What a council does: `[A-Z][A-Z0-9_]{0,31}`, such as `DEV` or `QA`.
    Role
}
text_id! {
    /// A stream of the journal: `task/<id>`, `deliberation/<task>/<run>`, `council/<ROLE>`, `prompts/<hash>`,
    /// `workflow/<id>`.
    StreamId
}

fn plain_id(field: &str, text: &str) -> Result<Arc<str>, Problem> {
    let allowed = "allowed are 1 to 256 bytes without control characters or blanks at the ends";
    if text.is_empty() {
        return Err(Problem::new(field, format!("is empty; {allowed}")));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(Problem::new(field, format!("has {} bytes; {allowed}", text.len())));
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(Problem::new(field, format!("{text:?} is not an id; {allowed}")));
    }
    Ok(Arc::from(text))
}

impl TaskId {
    /// Checks a client's text. The problem names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Problem> {
        plain_id(field, text).map(Self)
    }
}

impl TaskId {
    /// For a task whose client gave it no name.
    pub(crate) fn made_up(random: u64) -> Self {
        Self(format!("task-{random:016x}").into())
    }
}

impl AgentId {
    /// Checks a client's text. The problem names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Problem> {
        plain_id(field, text).map(Self)
    }

    /// The `ordinal`-th agent (from 1) that a council makes for itself: `agent-dev-001`.
    #[must_use]
    pub fn of_council(role: &Role, ordinal: usize) -> Self {
        Self(format!("agent-{}-{ordinal:03}", role.as_str().to_ascii_lowercase()).into())
    }
}

impl Role {
    /// Checks a client's text; lower case is raised. The problem names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Problem> {
        let raised = text.to_ascii_uppercase();
        let mut bytes = raised.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_uppercase());
        let goes_on = bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if starts && goes_on && raised.len() <= 32 {
            return Ok(Self(raised.into()));
        }
        let shown: String = text.chars().take(64).collect();
        Err(Problem::new(field, format!("{shown:?} is not a role; allowed is [A-Z][A-Z0-9_]{{0,31}}, such as DEV")))
    }

    /// The role of work whose plan names none.
    #[must_use]
    pub fn dev() -> Self {
        Self("DEV".into())
    }

    /// The role whose agents choose among the proposals of the others.
    #[must_use]
    pub fn architect() -> Self {
        Self("ARCHITECT".into())
    }

    /// The council's id on the wire: `council-dev`.
    #[must_use]
    pub fn council_id(&self) -> String {
        format!("council-{}", self.0.to_ascii_lowercase())
    }
}

impl StreamId {
    #[must_use]
    pub fn task(task: &TaskId) -> Self {
        Self(format!("task/{task}").into())
    }

    #[must_use]
    pub fn deliberation(run: &RunId) -> Self {
        Self(format!("deliberation/{run}").into())
    }

    #[must_use]
    pub fn council(role: &Role) -> Self {
        Self(format!("council/{role}").into())
    }

    #[must_use]
    pub fn prompts(hash: &str) -> Self {
        Self(format!("prompts/{hash}").into())
    }

    #[must_use]
    pub fn plan(plan: &str) -> Self {
        Self(format!("plan/{plan}").into())
    }

    #[must_use]
    pub fn story(story: &str) -> Self {
        Self(format!("story/{story}").into())
    }

    /// One that came from elsewhere and was rejected.
    #[must_use]
    pub fn message(key: &ReceiptKey) -> Self {
        Self(format!("message/{key:?}").into())
    }

    /// What goes out.
    #[must_use]
    pub fn outbox() -> Self {
        Self("outbox".into())
    }

    #[must_use]
    pub fn workflow(workflow: WorkflowId) -> Self {
        Self(format!("workflow/{workflow}").into())
    }

    /// What is paused.
    #[must_use]
    pub fn dispatch() -> Self {
        Self("dispatch".into())
    }

    /// A name that was stored or typed; any text names a stream, known or not.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Self(text.into())
    }
}

/// One try at a task; a retry is the next run. Shown as `<task>/<run>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    pub task: TaskId,
    pub run: u32,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.task.as_str())?;
        write!(f, "/{}", self.run)
    }
}

/// What an agent is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Propose,
    Critique,
    Revise,
    Score,
    Select,
}

impl Stage {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Propose => "propose",
            Self::Critique => "critique",
            Self::Revise => "revise",
            Self::Score => "score",
            Self::Select => "select",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One wave of parallel calls. `round` is 0 for propose and counts from 1 for critique and revise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wave {
    pub stage: Stage,
    pub round: u8,
}

impl fmt::Display for Wave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stage.as_str())?;
        write!(f, "-{}", self.round)
    }
}

/// One model call: `<task>/<run>/<stage>-<round>/<seat>`. A second ask of the same seat (cut off, or broken
/// JSON) is a call of its own and ends in `~2`; a repeat after a crash has the same id and so is visible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId {
    pub run: RunId,
    pub wave: Wave,
    pub agent: AgentId,
    pub ask: u8,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.run, f)?;
        f.write_str("/")?;
        fmt::Display::fmt(&self.wave, f)?;
        f.write_str("/")?;
        f.write_str(self.agent.as_str())?;
        if self.ask > 1 { write!(f, "~{}", self.ask) } else { Ok(()) }
    }
}

/// The identity of one event: the 16 bytes of a UUID, version 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hyphenated(&self.0, f)
    }
}

/// A UUID as it is usually written.
pub(super) fn hyphenated(id: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, byte) in id.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Time since `earlier`; zero when the clock went backwards.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
