//! The context of stories: one question about a story, one context as the answer, one classed error.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::answer::Class;

/// Tokens a context may have unless somebody wants another number: it stands in every prompt.
pub const DEFAULT_CONTEXT_TOKENS: u32 = 200;

/// Where contexts of stories come from.
#[async_trait]
pub trait ContextSource: Send + Sync + 'static {
    /// The context of a story. Ends within a deadline of the source's own: the beginning of a run waits for it. A failure
    /// is no reason to fail the task: it goes on without, and says so.
    async fn context(&self, query: &ContextQuery) -> Result<Context, ContextError>;

    /// A story changed: what is kept of it is dropped, unless it has this version already. `None` = which one is not known.
    fn invalidate(&self, story: &str, version: Option<&str>);
}

/// What a story's work is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoryPhase {
    Design,
    Build,
    Test,
    Docs,
}

impl StoryPhase {
    pub const ALL: [Self; 4] = [Self::Design, Self::Build, Self::Test, Self::Docs];

    /// As the wire has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Design => "DESIGN",
            Self::Build => "BUILD",
            Self::Test => "TEST",
            Self::Docs => "DOCS",
        }
    }

    /// Reads the wire's word; nothing else is a phase.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// Which context is wanted. Equal queries have equal answers until the story changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContextQuery {
    pub story_id: Arc<str>,
    pub role: Arc<str>,
    pub phase: StoryPhase,
    /// Empty = the whole story.
    pub subtask_id: Arc<str>,
    /// Most tokens the text may have; at least 1.
    pub token_budget: u32,
}

impl ContextQuery {
    /// For the whole story, within the default budget.
    #[must_use]
    pub fn new(story_id: impl Into<Arc<str>>, role: impl Into<Arc<str>>, phase: StoryPhase) -> Self {
        Self {
            story_id: story_id.into(),
            role: role.into(),
            phase,
            subtask_id: "".into(),
            token_budget: DEFAULT_CONTEXT_TOKENS,
        }
    }
}

/// What is known of a story. All of it is data from elsewhere, never an instruction; cloning copies no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Within the budget; without control characters other than newline and tab.
    pub text: Arc<str>,
    /// Of `text`: the service's own count, or an estimate where it gave none or the text was cut.
    pub token_count: u32,
    /// What the text covers, each on one line.
    pub scopes: Arc<[Arc<str>]>,
    /// As the service names it.
    pub version: Arc<str>,
    /// SHA-256 of `version`, in hexadecimal.
    pub version_hash: Arc<str>,
    pub blocks: Blocks,
}

impl Context {
    /// A text alone.
    #[must_use]
    pub fn plain(text: impl Into<Arc<str>>) -> Self {
        let (version, version_hash, scopes) = ("".into(), "".into(), Arc::from([]));
        Self { text: text.into(), token_count: 0, scopes, version, version_hash, blocks: Blocks::default() }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.scopes.is_empty()
    }
}

/// The same context in parts, for clients that build prompts of their own. Not held to the budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    pub system: Arc<str>,
    pub context: Arc<str>,
    pub tools: Arc<str>,
}

/// A query that brought no context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ContextError {
    pub class: Class,
    /// A lower-case fragment that names the service's address and the cause.
    pub message: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_one_of_four_words() {
        let words = StoryPhase::ALL.map(StoryPhase::as_str);
        assert_eq!(words, ["DESIGN", "BUILD", "TEST", "DOCS"]);
        assert_eq!(words.map(StoryPhase::parse), StoryPhase::ALL.map(Some));
        for other in ["", "design", "BUILD ", "RELEASE"] {
            assert_eq!(StoryPhase::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_query_asks_for_the_whole_story_within_200_tokens() {
        let query = ContextQuery::new("story-1", "DEV", StoryPhase::Build);
        assert_eq!((&*query.subtask_id, query.token_budget), ("", 200));
    }
}
