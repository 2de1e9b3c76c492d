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
mod notes;

use std::sync::Arc;

use crate::System;
use crate::domain::context::Informed;
use crate::domain::council::Seat;
use crate::domain::event::{Event, Recorded};
use crate::domain::id::{Role, StreamId};
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::{Context, ContextQuery, ContextSource, StoryPhase, whole_stream};
use crate::world::World;

pub(crate) use block::fenced;
use names::Names;

/// The key of `constraints.metadata` that says what a task's work is at.
const PHASE_KEY: &str = "phase";

/// What the prompts of a run may say of its story.
#[derive(Clone, Debug)]
pub(crate) struct Background {
    known: Known,
    /// What others told of the story, oldest first.
    notes: Vec<Arc<str>>,
}

/// What the source says.
#[derive(Clone, Debug)]
enum Known {
    /// The task belongs to no story.
    NoStory,
    Context(Context),
    Nothing {
        why: Arc<str>,
    },
}

impl Background {
    /// Asks once. Never fails: whoever begins a run begins it.
    pub(crate) async fn of(world: &World, spec: &TaskSpec) -> Self {
        let Some(story) = story(spec) else { return Known::NoStory.into() };
        let told = story_events(world, story).await;
        let known = match &world.ports.context {
            None => Known::nothing("no context service is configured"),
            Some(source) => {
                let query = query(world, story, &spec.role, phase(spec, &told));
                match source.context(&query).await {
                    Ok(context) if context.is_empty() => {
                        Known::nothing("the context service knows nothing of the story")
                    }
                    Ok(context) => Known::Context(context),
                    Err(error) => {
                        tracing::debug!(story, %error, "a run goes on without the context of its story");
                        Known::nothing(error.message)
                    }
                }
            }
        };
        Self { known, notes: notes::of(&told) }
    }

    /// Whether somebody has to be waited for.
    pub(crate) fn is_asked_for(world: &World, spec: &TaskSpec) -> bool {
        world.ports.context.is_some() && story(spec).is_some()
    }

    /// For a run that an earlier version accepted and did not begin: a restart asks nobody.
    pub(crate) fn unasked(spec: &TaskSpec) -> Self {
        story(spec).map_or(Known::NoStory, |_| Known::nothing("the run was taken up after a restart")).into()
    }

    /// Reviewers and judges may not learn who wrote what: these seats are not named in it.
    pub(crate) fn without_names<'a>(self, seats: impl Iterator<Item = &'a Seat>) -> Self {
        let names = Names::of(seats);
        let known = match self.known {
            Known::Context(context) => Known::Context(names.taken_out_of(context)),
            known => known,
        };
        Self { known, notes: self.notes.iter().map(|note| names.taken_out(note)).collect() }
    }

    /// All of it as one text.
    pub(crate) fn context(&self) -> Option<Context> {
        let context = match &self.known {
            Known::Context(context) => Some(context.clone()),
            Known::NoStory | Known::Nothing { .. } => None,
        };
        if self.notes.is_empty() {
            return context;
        }
        let notes = format!("Of this story:\n- {}", self.notes.join("\n- "));
        Some(match context {
            Some(context) => Context { text: format!("{}\n\n{notes}", context.text.trim_end()).into(), ..context },
            None => Context::plain(notes),
        })
    }

    /// For journal and verdict. `is_told`: the context stands in the prompts.
    pub(crate) fn informed(&self, is_told: bool) -> Option<Informed> {
        match &self.known {
            Known::NoStory => None,
            Known::Context(_) if !is_told => {
                Some(Informed::Without { why: "the template shared.md has no place for it".into() })
            }
            Known::Context(Context { version_hash, token_count, .. }) => {
                Some(Informed::With { version_hash: version_hash.clone(), tokens: *token_count })
            }
            Known::Nothing { why } => Some(Informed::Without { why: why.clone() }),
        }
    }
}

impl Known {
    fn nothing(why: impl Into<Arc<str>>) -> Self {
        Self::Nothing { why: why.into() }
    }
}

impl From<Known> for Background {
    fn from(known: Known) -> Self {
        Self { known, notes: Vec::new() }
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
fn phase(spec: &TaskSpec, told: &[Recorded]) -> StoryPhase {
    let said = spec.metadata.get(PHASE_KEY).and_then(|text| StoryPhase::parse(text));
    said.or_else(|| reached(told)).unwrap_or(StoryPhase::Build)
}

/// The last of the four phases that the story moved to.
fn reached(told: &[Recorded]) -> Option<StoryPhase> {
    told.iter().rev().find_map(|recorded| match &recorded.event.event {
        Event::StoryMoved { to, .. } => StoryPhase::parse(to),
        _ => None,
    })
}

async fn story_events(world: &World, story: &str) -> Vec<Recorded> {
    let told = whole_stream(&*world.ports.journal, &StreamId::story(story)).await;
    told.inspect_err(|error| tracing::debug!(story, %error, "what was told of the story cannot be read now"))
        .unwrap_or_default()
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
