//! What is known of a task's story, asked once before a run begins.
//!
//! ```text
//!                      no story
//!  task ─▶ its story ───────────────────────────────────────▶ nothing is said
//!              │                  failed, or nothing known
//!              └▶ phase ─▶ source ──────────────────────────▶ the run goes on without, and its verdict says why
//!                            │ known
//!                            └▶ names taken out ─▶ fenced ──▶ the prefix of all its prompts
//! ```
//!
//! It is asked by whoever writes that the run begins, in a task of its own and within the source's deadline. A resume asks
//! nobody: the text stands in the plan. What the source says is data, never obeyed.

mod block;
mod names;

use std::sync::Arc;

use crate::System;
use crate::domain::context::Informed;
use crate::domain::council::Seat;
use crate::domain::event::Event;
use crate::domain::id::{Role, StreamId};
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::{Context, ContextQuery, ContextSource, StoryPhase, whole_stream};
use crate::world::World;

pub(crate) use block::fenced;
use names::unnamed;

/// The key of `constraints.metadata` that says what a task's work is at.
const PHASE_KEY: &str = "phase";

/// What the prompts of a run may say of its story.
#[derive(Clone, Debug)]
pub(crate) enum Background {
    /// The task belongs to none.
    NoStory,
    Context(Context),
    Nothing {
        why: Arc<str>,
    },
}

impl Background {
    /// Asks once. Never fails: whoever begins a run begins it.
    pub(crate) async fn of(world: &World, spec: &TaskSpec) -> Self {
        let Some(story) = story(spec) else { return Self::NoStory };
        let Some(source) = &world.ports.context else { return Self::nothing("no context service is configured") };
        let query = query(world, story, &spec.role, phase(world, spec, story).await);
        match source.context(&query).await {
            Ok(context) if context.is_empty() => Self::nothing("the context service knows nothing of the story"),
            Ok(context) => Self::Context(context),
            Err(error) => {
                tracing::debug!(story, %error, "a run goes on without the context of its story");
                Self::nothing(error.message)
            }
        }
    }

    /// Whether somebody has to be waited for.
    pub(crate) fn is_asked_for(world: &World, spec: &TaskSpec) -> bool {
        world.ports.context.is_some() && story(spec).is_some()
    }

    /// For a run that an earlier version accepted and did not begin: a restart asks nobody.
    pub(crate) fn unasked(spec: &TaskSpec) -> Self {
        story(spec).map_or(Self::NoStory, |_| Self::nothing("the run was taken up after a restart"))
    }

    fn nothing(why: impl Into<Arc<str>>) -> Self {
        Self::Nothing { why: why.into() }
    }

    /// Reviewers and judges may not learn who wrote what: these seats are not named in it.
    pub(crate) fn without_names<'a>(self, seats: impl Iterator<Item = &'a Seat>) -> Self {
        match self {
            Self::Context(context) => Self::Context(unnamed(context, seats)),
            Self::NoStory | Self::Nothing { .. } => self,
        }
    }

    pub(crate) fn context(&self) -> Option<&Context> {
        match self {
            Self::Context(context) => Some(context),
            Self::NoStory | Self::Nothing { .. } => None,
        }
    }

    /// For journal and verdict. `is_told`: the context stands in the prompts.
    pub(crate) fn informed(&self, is_told: bool) -> Option<Informed> {
        match self {
            Self::NoStory => None,
            Self::Context(_) if !is_told => {
                Some(Informed::Without { why: "the template shared.md has no place for it".into() })
            }
            Self::Context(Context { version_hash, token_count, .. }) => {
                Some(Informed::With { version_hash: version_hash.clone(), tokens: *token_count })
            }
            Self::Nothing { why } => Some(Informed::Without { why: why.clone() }),
        }
    }
}

fn story(spec: &TaskSpec) -> Option<&str> {
    spec.story_id().filter(|story| !story.is_empty())
}

/// The same for prompts and for clients, so that both are answered from one cache.
fn query(world: &World, story: &str, role: &Role, phase: StoryPhase) -> ContextQuery {
    let token_budget = world.settings.context_tokens;
    ContextQuery { token_budget, ..ContextQuery::new(story, role.as_str(), phase) }
}

/// What the task says, else where its story is, else BUILD: what most tasks are for.
async fn phase(world: &World, spec: &TaskSpec, story: &str) -> StoryPhase {
    let said = spec.metadata.get(PHASE_KEY).and_then(|text| StoryPhase::parse(text));
    match said {
        Some(phase) => phase,
        None => reached(world, story).await.unwrap_or(StoryPhase::Build),
    }
}

/// The last of the four phases that the story moved to.
async fn reached(world: &World, story: &str) -> Option<StoryPhase> {
    let moves = match whole_stream(&*world.ports.journal, &StreamId::story(story)).await {
        Ok(moves) => moves,
        Err(error) => {
            tracing::debug!(story, %error, "where the story is cannot be read now");
            return None;
        }
    };
    moves.iter().rev().find_map(|recorded| match &recorded.event.event {
        Event::StoryMoved { to, .. } => StoryPhase::parse(to),
        _ => None,
    })
}

impl System {
    /// What is known of a story, as the prompts of its tasks would say it. Dropping the future leaves the source alone.
    pub async fn story_context(&self, story: &str, role: &Role, phase: StoryPhase) -> Result<Context, SystemError> {
        let source = self.context_source().ok_or_else(|| {
            SystemError::WrongState("there is no context service: set context.address (CONTEXT_ADDRESS)".into())
        })?;
        Ok(source.context(&query(&self.world, story, role, phase)).await?)
    }

    /// A story changed elsewhere: runs that begin from now on are told the new context. `None` = its version is not known.
    pub fn context_changed(&self, story: &str, version: Option<&str>) {
        if let Some(source) = self.context_source() {
            source.invalidate(story, version);
        }
    }

    fn context_source(&self) -> Option<&Arc<dyn ContextSource>> {
        self.world.ports.context.as_ref()
    }
}
