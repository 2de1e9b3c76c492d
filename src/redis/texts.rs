//! What tasks are about, for those that take them over: read from the journal that took them in.

use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{StreamId, TaskId};
use moothall_actors::domain::queue::Entry;
use moothall_actors::ports::queue::QueueError;
use moothall_actors::ports::shared::Texts;
use moothall_actors::ports::{Journal, whole_stream};

use super::call::garbled;
use super::queue::RedisQueue;
use super::wire::{self, Args, Garbled};

/// The last words of each task's stream on what is to be done.
pub struct JournalTexts {
    journal: Arc<dyn Journal>,
    /// The store's id.
    name: Arc<str>,
}

impl JournalTexts {
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, name: impl Into<Arc<str>>) -> Self {
        Self { journal, name: name.into() }
    }
}

#[async_trait]
impl Texts for JournalTexts {
    async fn text(&self, task: &TaskId) -> Option<Arc<str>> {
        let events = whole_stream(&*self.journal, &StreamId::task(task)).await;
        let events = events.inspect_err(|error| tracing::warn!(%task, %error, "what a task is about cannot be read"));
        let spec = events.ok()?.into_iter().rev().find_map(|recorded| match recorded.event.event {
            Event::TaskAccepted { spec, .. } | Event::TaskAmended { spec, .. } => Some(spec),
            _ => None,
        });
        serde_json::to_string(&*spec?).ok().map(Into::into)
    }

    fn journal(&self) -> Arc<str> {
        self.name.clone()
    }
}

impl RedisQueue {
    /// With the journal that each is from; empty = nobody here knows it.
    pub(super) async fn texts(&self, entries: &[Entry]) -> Vec<String> {
        let mut texts = Vec::with_capacity(entries.len());
        for entry in entries {
            texts.push(self.text_of(&entry.task).await);
        }
        texts
    }

    async fn text_of(&self, task: &TaskId) -> String {
        let Some(known) = &self.texts else { return String::new() };
        let text = known.text(task).await;
        text.map(|text| format!("{}\n{text}", known.journal())).unwrap_or_default()
    }

    /// The same, but only of those that the server has nothing of: what is said anew is mostly there.
    pub(super) async fn lacking_texts(&self, entries: &[Entry]) -> Result<Vec<String>, QueueError> {
        if self.texts.is_none() {
            return Ok(vec![String::new(); entries.len()]);
        }
        let mut args = Args::default();
        for entry in entries {
            args.push(entry.task.as_str());
        }
        let answer = self.caller.look(&self.caller.scripts.lacking, &args).await?;
        let mut texts = vec![String::new(); entries.len()];
        for place in wire::list(answer).map_err(garbled)? {
            let place: usize = wire::number(place).map_err(garbled)?;
            let (Some(text), Some(entry)) = (texts.get_mut(place), entries.get(place)) else {
                return Err(garbled(Garbled));
            };
            *text = self.text_of(&entry.task).await;
        }
        Ok(texts)
    }
}
