//! Contexts that were fetched: bounded by number and by size, the one not used for longest goes first, none grows old.
//!
//! Pure: the time comes in with each question.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::ports::{Context, ContextQuery};
use tokio::time::Instant;

use super::settings::ContextSettings;

#[derive(Debug)]
pub(super) struct Cache {
    limits: Limits,
    entries: HashMap<Arc<ContextQuery>, Entry>,
    /// By when they were last used; each entry stands here once.
    order: BTreeMap<u64, Arc<ContextQuery>>,
    uses: u64,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    pub(super) age: Duration,
}

impl From<&ContextSettings> for Limits {
    fn from(settings: &ContextSettings) -> Self {
        Self { entries: settings.kept_entries, bytes: settings.kept_bytes, age: settings.kept_for }
    }
}

#[derive(Debug)]
struct Entry {
    context: Context,
    since: Instant,
    used: u64,
    bytes: usize,
}

impl Cache {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, entries: HashMap::new(), order: BTreeMap::new(), uses: 0, bytes: 0 }
    }

    /// The context kept for a query, unless it is too old.
    pub(super) fn get(&mut self, query: &ContextQuery, now: Instant) -> Option<Context> {
        let age = now.saturating_duration_since(self.entries.get(query)?.since);
        if age >= self.limits.age {
            self.remove(query);
            return None;
        }
        let used = self.next_use();
        let entry = self.entries.get_mut(query)?;
        if let Some(query) = self.order.remove(&entry.used) {
            self.order.insert(used, query);
        }
        entry.used = used;
        Some(entry.context.clone())
    }

    /// Keeps a context; others go if there is no room.
    pub(super) fn insert(&mut self, query: Arc<ContextQuery>, context: Context, now: Instant) {
        self.remove(&query);
        let bytes = size(&query, &context);
        if bytes > self.limits.bytes || self.limits.entries == 0 {
            return;
        }
        while self.entries.len() >= self.limits.entries || self.bytes + bytes > self.limits.bytes {
            let Some(oldest) = self.order.first_key_value().map(|(_, query)| Arc::clone(query)) else { break };
            self.remove(&oldest);
        }
        let used = self.next_use();
        self.bytes += bytes;
        self.order.insert(used, Arc::clone(&query));
        self.entries.insert(query, Entry { context, since: now, used, bytes });
    }

    pub(super) fn contains(&self, query: &ContextQuery) -> bool {
        self.entries.contains_key(query)
    }

    /// Drops what is kept of a story, unless it has that version already.
    pub(super) fn invalidate(&mut self, story_id: &str, version: Option<&str>) {
        let is_stale = |query: &ContextQuery, entry: &Entry| {
            &*query.story_id == story_id && version.is_none_or(|version| *entry.context.version != *version)
        };
        let stale: Vec<_> = self.entries.iter().filter(|(query, entry)| is_stale(query, entry)).collect();
        let stale: Vec<_> = stale.into_iter().map(|(query, _)| Arc::clone(query)).collect();
        stale.iter().for_each(|query| self.remove(query));
    }

    fn remove(&mut self, query: &ContextQuery) {
        if let Some(entry) = self.entries.remove(query) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}

/// Bytes of all texts of an entry.
fn size(query: &ContextQuery, context: &Context) -> usize {
    let Context { text, token_count: _, scopes, version, version_hash, blocks } = context;
    let asked = [&query.story_id, &query.role, &query.subtask_id];
    let told = [text, version, version_hash, &blocks.system, &blocks.context, &blocks.tools];
    asked.into_iter().chain(told).chain(scopes.iter()).map(|text| text.len()).sum()
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
