//! A task: what a client wants deliberated, checked once at the door.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::changes;
use super::id::Role;
use super::problem::Problems;

/// Longest description, in bytes: with rubric and requirements it stands in every prompt.
pub const MAX_DESCRIPTION_BYTES: usize = 256 * 1024;
/// Longest rubric, in bytes, and longest requirement.
pub const MAX_RUBRIC_BYTES: usize = 64 * 1024;
/// Most requirements of one task: each is rated in every critique.
pub const MAX_REQUIREMENTS: usize = 64;
/// Most entries of `constraints.metadata`, and the longest key or value in bytes; files that it carries aside.
pub const MAX_METADATA: usize = 128;
pub const MAX_METADATA_BYTES: usize = 64 * 1024;
/// Most review rounds: each costs two waves of calls.
pub const MAX_ROUNDS: u8 = 8;
/// Longest deadline of one deliberation, in seconds (one day).
pub const MAX_TIMEOUT_SECONDS: i32 = 86_400;

/// Which call started the task. Streams and backlog reviews count as `Deliberate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    Deliberate,
    Orchestrate,
}

/// How many rounds of critique and revision a task asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    /// As the council is set up.
    Council,
    /// No critique, no revision.
    Skip,
    /// This many rounds, 1 to [`MAX_ROUNDS`].
    Rounds(u8),
}

/// A checked task. Its fields are what [`TaskSpec::content_hash`] covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub kind: TaskKind,
    pub role: Role,
    pub description: Arc<str>,
    #[serde(default)]
    pub rubric: Arc<str>,
    #[serde(default)]
    pub requirements: Vec<Arc<str>>,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    pub review: Review,
    /// Upper bound on review rounds (`max_iterations`).
    #[serde(default)]
    pub most_rounds: Option<u8>,
    /// Deadline of the whole deliberation; `None` = the configured one.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Take only the first n ready agents; `None` = all.
    #[serde(default)]
    pub num_agents: Option<NonZeroU16>,
    /// No new call once this many tokens were used (`metadata.budget_tokens`).
    #[serde(default)]
    pub budget_tokens: Option<u64>,
    /// Whether an architect may choose; without one, and in Deliberate, the score does.
    pub architect: bool,
    /// An agent of others carries the winner out, and may take so long for one attempt; `None` = the winner is the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Duration>,
    /// Each agent of the council carries the task out by itself, which may take `execution`; what they made is deliberated
    /// on in the place of proposals, and nobody carries the winner out again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub collective: bool,
    /// It is the review of a backlog. Asked for in another way, the same words are the same work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backlog: bool,
}

/// `constraints.metadata` keys that say where a task comes from, not what is to be done.
const STORY_KEYS: [&str; 2] = ["story_id", "plan_id"];

impl TaskSpec {
    /// SHA-256 of everything that makes two requests the same work, in hex.
    #[must_use]
    pub fn content_hash(&self) -> String {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(if self.kind == TaskKind::Deliberate { b"deliberate" } else { b"orchestrate" });
        part(self.role.as_str().as_bytes());
        part(self.description.as_bytes());
        part(self.rubric.as_bytes());
        part(&(self.requirements.len() as u64).to_le_bytes());
        self.requirements.iter().for_each(|text| part(text.as_bytes()));
        for (key, value) in self.metadata.iter().filter(|(key, _)| !STORY_KEYS.contains(&key.as_str())) {
            part(key.as_bytes());
            part(value.as_bytes());
        }
        let options = format!(
            "{:?} {:?} {:?} {:?} {}",
            self.review, self.most_rounds, self.timeout, self.num_agents, self.architect
        );
        part(options.as_bytes());
        if let Some(limit) = self.execution {
            part(format!("execution {}", limit.as_millis()).as_bytes());
        }
        if self.collective {
            part(b"collective");
        }
        hex(&hasher.finalize())
    }

    /// Whether somebody carries its winner out before it is over.
    #[must_use]
    pub fn awaits_execution(&self) -> bool {
        self.execution.is_some() && !self.collective
    }

    /// The plan that it is a part of, when its client said so.
    #[must_use]
    pub fn plan_id(&self) -> Option<&str> {
        self.metadata.get("plan_id").map(String::as_str)
    }

    /// Where the task comes from, when its client said so.
    #[must_use]
    pub fn story_id(&self) -> Option<&str> {
        self.metadata.get("story_id").map(String::as_str)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A task as a client wrote it: nothing checked, zero and empty meaning «not set», as on the wire.
#[derive(Clone, Debug, Default)]
pub struct TaskDraft {
    pub orchestrate: bool,
    pub role: String,
    pub description: String,
    pub rubric: String,
    pub requirements: Vec<String>,
    pub metadata: BTreeMap<String, String>,
    pub max_iterations: i32,
    pub timeout_seconds: i32,
    pub rounds: i32,
    pub num_agents: i32,
    pub options: Option<OptionsDraft>,
}

/// `OrchestratorOptions` as sent.
#[derive(Clone, Debug, Default)]
pub struct OptionsDraft {
    pub enable_peer_review: bool,
    pub deliberation_rounds: i32,
    pub enable_architect_selection: bool,
    pub custom_params: BTreeMap<String, String>,
}

impl TaskDraft {
    /// Checks every field and names every problem at once.
    pub fn check(self) -> Result<TaskSpec, Problems> {
        let mut problems = Problems::default();
        let role = problems.keep(Role::parse("role", &self.role));
        check_texts(&self, &mut problems);
        let review = review(&self, &mut problems);
        let most_rounds =
            count(&mut problems, "constraints.max_iterations", self.max_iterations, i32::from(MAX_ROUNDS));
        let timeout = count(&mut problems, "constraints.timeout_seconds", self.timeout_seconds, MAX_TIMEOUT_SECONDS);
        let num_agents = count(&mut problems, "num_agents", self.num_agents, i32::from(u16::MAX));
        let budget_tokens = budget(&self.metadata, &mut problems);
        changes::check(&self.metadata, &mut problems);
        let Some(role) = role.filter(|_| problems.0.is_empty()) else {
            return Err(problems);
        };
        Ok(TaskSpec {
            kind: if self.orchestrate { TaskKind::Orchestrate } else { TaskKind::Deliberate },
            role,
            description: self.description.into(),
            rubric: self.rubric.into(),
            requirements: self.requirements.into_iter().map(Into::into).collect(),
            metadata: self.metadata,
            review,
            most_rounds: most_rounds.and_then(|n| u8::try_from(n).ok()),
            timeout: timeout.and_then(|n| u64::try_from(n).ok()).map(Duration::from_secs),
            num_agents: num_agents.and_then(|n| u16::try_from(n).ok()).and_then(NonZeroU16::new),
            budget_tokens,
            architect: self.orchestrate && self.options.is_none_or(|options| options.enable_architect_selection),
            execution: None,
            collective: false,
            backlog: false,
        })
    }
}

fn check_texts(draft: &TaskDraft, problems: &mut Problems) {
    if draft.description.trim().is_empty() {
        problems.push("task_description", "is empty; say what is to be done");
    }
    at_most(problems, "task_description", draft.description.len(), MAX_DESCRIPTION_BYTES);
    at_most(problems, "constraints.rubric", draft.rubric.len(), MAX_RUBRIC_BYTES);
    if draft.requirements.len() > MAX_REQUIREMENTS {
        let given = draft.requirements.len();
        problems
            .push("constraints.requirements", format!("has {given} entries; at most {MAX_REQUIREMENTS} are allowed"));
    }
    for (place, text) in draft.requirements.iter().enumerate() {
        let field = format!("constraints.requirements[{place}]");
        at_most(problems, &field, text.len(), MAX_RUBRIC_BYTES);
        if text.trim().is_empty() {
            problems.push(field, "is empty");
        }
    }
    let given = draft.metadata.keys().filter(|key| !changes::is_file(key)).count();
    if given > MAX_METADATA {
        problems.push("constraints.metadata", format!("has {given} entries; at most {MAX_METADATA} are allowed"));
    }
    for (key, value) in draft.metadata.iter().filter(|(key, _)| !changes::is_file(key)) {
        let shown: String = key.chars().take(64).collect();
        at_most(problems, &format!("constraints.metadata[{shown:?}]"), key.len().max(value.len()), MAX_METADATA_BYTES);
    }
}

fn at_most(problems: &mut Problems, field: &str, bytes: usize, most: usize) {
    if bytes > most {
        problems.push(field, format!("has {bytes} bytes; at most {most} are allowed"));
    }
}

/// Zero is «not set»; a negative or too large number is a problem.
fn count(problems: &mut Problems, field: &str, given: i32, most: i32) -> Option<i32> {
    if (0..=most).contains(&given) {
        return Some(given).filter(|&n| n > 0);
    }
    problems.push(field, format!("is {given}; allowed are 0 (not set) to {most}"));
    None
}

fn budget(metadata: &BTreeMap<String, String>, problems: &mut Problems) -> Option<u64> {
    let text = metadata.get("budget_tokens")?;
    match text.parse::<u64>() {
        Ok(tokens) if tokens > 0 => Some(tokens),
        _ => {
            problems
                .push("constraints.metadata.budget_tokens", format!("is {text:?}; a whole number from 1 is allowed"));
            None
        }
    }
}

/// Rounds above zero turn review on, wherever they stand; only then may it be skipped.
fn review(draft: &TaskDraft, problems: &mut Problems) -> Review {
    let most = i32::from(MAX_ROUNDS);
    let asked = count(problems, "rounds", draft.rounds, most);
    let options = draft.options.as_ref();
    let in_options =
        options.and_then(|options| count(problems, "options.deliberation_rounds", options.deliberation_rounds, most));
    let in_metadata = draft.metadata.get("rounds").map(String::as_str);
    let from_metadata = match in_metadata {
        None | Some("none") => None,
        Some(text) => match text.parse::<i32>() {
            Ok(number) if (1..=most).contains(&number) => Some(number),
            _ => {
                let rule = format!("is {text:?}; allowed are \"none\" and 1 to {most}");
                problems.push("constraints.metadata.rounds", rule);
                None
            }
        },
    };
    if let Some(rounds) = in_options.or(asked).or(from_metadata).and_then(|n| u8::try_from(n).ok()) {
        return Review::Rounds(rounds);
    }
    let unwanted = in_metadata == Some("none")
        || draft.metadata.get("requires_pre_deliberation").is_some_and(|text| text == "false")
        || options.is_some_and(|options| !options.enable_peer_review);
    if unwanted { Review::Skip } else { Review::Council }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> TaskDraft {
        TaskDraft { role: "dev".into(), description: "parse a duration".into(), ..TaskDraft::default() }
    }

    fn with_metadata(key: &str, value: &str) -> TaskDraft {
        TaskDraft { metadata: BTreeMap::from([(key.into(), value.into())]), ..draft() }
    }

    #[test]
    fn a_lower_case_role_is_raised() {
        assert_eq!(draft().check().unwrap().role.as_str(), "DEV");
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let bad =
            TaskDraft { role: "a b".into(), rounds: 9, num_agents: -1, timeout_seconds: -5, ..TaskDraft::default() };
        let fields: Vec<_> = bad.check().unwrap_err().0.into_iter().map(|problem| problem.field).collect();
        let expected = ["role", "task_description", "rounds", "constraints.timeout_seconds", "num_agents"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn review_follows_the_table() {
        assert_eq!(draft().check().unwrap().review, Review::Council);
        assert_eq!(with_metadata("rounds", "none").check().unwrap().review, Review::Skip);
        assert_eq!(with_metadata("requires_pre_deliberation", "false").check().unwrap().review, Review::Skip);
        let options = |peer, rounds| TaskDraft {
            options: Some(OptionsDraft { enable_peer_review: peer, deliberation_rounds: rounds, ..Default::default() }),
            ..draft()
        };
        assert_eq!(options(false, 0).check().unwrap().review, Review::Skip);
        assert_eq!(options(false, 2).check().unwrap().review, Review::Rounds(2));
        assert_eq!(options(true, 0).check().unwrap().review, Review::Council);
        let both = TaskDraft { rounds: 3, ..with_metadata("rounds", "none") };
        assert_eq!(both.check().unwrap().review, Review::Rounds(3));
        assert!(with_metadata("rounds", "9").check().is_err());
    }

    #[test]
    fn the_story_does_not_change_the_content() {
        let plain = draft().check().unwrap().content_hash();
        assert_eq!(with_metadata("story_id", "s-1").check().unwrap().content_hash(), plain);
        assert_ne!(with_metadata("strategy", "fast").check().unwrap().content_hash(), plain);
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let text = |bytes| TaskDraft { description: "x".repeat(bytes), ..draft() };
        assert!(text(MAX_DESCRIPTION_BYTES).check().is_ok());
        assert!(text(MAX_DESCRIPTION_BYTES + 1).check().is_err());
        let rounds = |n| TaskDraft { rounds: n, ..draft() };
        assert!(rounds(8).check().is_ok());
        assert!(rounds(9).check().is_err());
    }
}
