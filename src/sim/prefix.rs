//! A prefix cache as model servers have one, simulated: which system messages were read before, and what that saves.
//!
//! A prefix counts as read from the moment that its first call comes, since servers share what is still being processed.
//! Full, the cache forgets the prefix that was used least lately.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

/// Prefixes unless told otherwise: far more than there are deliberations open at one replica.
pub(super) const PREFIXES: usize = 4096;

pub(crate) struct PrefixCache {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Counts uses.
    clock: u64,
    /// When each prefix was used last, and the same the other way round.
    last_use: HashMap<u64, u64>,
    by_use: BTreeMap<u64, u64>,
}

/// What the cache did for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefilled {
    pub(crate) hit: bool,
    /// Bytes of the prefix.
    bytes: usize,
}

impl Prefilled {
    /// Bytes of the prompt that were in the cache.
    pub(crate) fn cached_bytes(&self) -> usize {
        if self.hit { self.bytes } else { 0 }
    }

    pub(crate) fn wait(&self, prefill: Duration) -> Duration {
        if self.hit { Duration::ZERO } else { prefill }
    }
}

impl PrefixCache {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), held: Mutex::default() }
    }

    /// Reads the prefix of a request; `None` = it has none.
    pub(crate) fn read(&self, body: &[u8]) -> Option<Prefilled> {
        let prefix = system_message(body)?;
        let mut hasher = DefaultHasher::new();
        prefix.hash(&mut hasher);
        Some(Prefilled { hit: self.uses(hasher.finish()), bytes: prefix.len() })
    }

    /// Whether it was there; from now on it is.
    fn uses(&self, prefix: u64) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clock += 1;
        let now = held.clock;
        let before = held.last_use.insert(prefix, now);
        if let Some(before) = before {
            held.by_use.remove(&before);
        }
        held.by_use.insert(now, prefix);
        if held.last_use.len() > self.most
            && let Some((_, oldest)) = held.by_use.pop_first()
        {
            held.last_use.remove(&oldest);
        }
        before.is_some()
    }
}

/// Its text, without copying what stands between.
fn system_message(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Opening<'a> {
        #[serde(borrow)]
        messages: Vec<Message<'a>>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
        #[serde(borrow)]
        content: Cow<'a, str>,
    }
    let opening: Opening<'_> = serde_json::from_slice(body).ok()?;
    let first = opening.messages.into_iter().next()?;
    (first.role == "system").then_some(first.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(system: &str, user: &str) -> Vec<u8> {
        let message = |role, content| serde_json::json!({"role": role, "content": content});
        let body = serde_json::json!({"model": "m", "messages": [message("system", system), message("user", user)]});
        body.to_string().into_bytes()
    }

    #[test]
    fn the_same_system_message_hits_whoever_asks() {
        let cache = PrefixCache::new(8);
        let hits = [("a\n", "x"), ("a\n", "y"), ("b", "x")].map(|(system, user)| cache.read(&body(system, user)));
        let seen = |hit, bytes| Some(Prefilled { hit, bytes });
        assert_eq!(hits, [seen(false, 2), seen(true, 2), seen(false, 1)]);
        let [miss, hit, _] = hits.map(Option::unwrap);
        let prefill = Duration::from_millis(9);
        assert_eq!((miss.cached_bytes(), hit.cached_bytes()), (0, 2));
        assert_eq!((miss.wait(prefill), hit.wait(prefill)), (prefill, Duration::ZERO));
    }

    #[test]
    fn a_request_without_a_system_message_has_no_prefix() {
        let cache = PrefixCache::new(8);
        for body in ["", "[]", r#"{"messages":[]}"#, r#"{"messages":[{"role":"user","content":"a"}]}"#] {
            assert_eq!(cache.read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn the_prefix_used_least_lately_is_forgotten_first() {
        let cache = PrefixCache::new(2);
        let uses = [1, 2, 1, 3, 1, 2].map(|prefix| cache.uses(prefix));
        assert_eq!(uses, [false, false, true, false, true, false]);
        let held = cache.held.lock().unwrap();
        assert_eq!((held.last_use.len(), held.by_use.len()), (2, 2));
    }
}
