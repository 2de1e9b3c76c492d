//! A source of contexts that answers as told, in virtual time, and remembers what it was asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::ports::{Blocks, Context, ContextError, ContextQuery, ContextSource};

/// After how long, and what.
type Script = Box<dyn Fn(&ContextQuery) -> (Duration, Result<Context, ContextError>) + Send + Sync>;

/// Keeps nothing: every question is one more.
pub struct FakeContexts {
    script: Script,
    asked: Mutex<Vec<ContextQuery>>,
    /// Stories that were said to have changed, with their versions.
    changed: Mutex<Vec<(String, Option<String>)>>,
}

impl FakeContexts {
    pub fn new(
        script: impl Fn(&ContextQuery) -> (Duration, Result<Context, ContextError>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), asked: Mutex::default(), changed: Mutex::default() })
    }

    /// Says the same of every story, at once.
    #[must_use]
    pub fn says(text: &str) -> Arc<Self> {
        let context = Self::context(text);
        Self::new(move |_| (Duration::ZERO, Ok(context.clone())))
    }

    /// One of seven tokens in version `v1`, whose hash is `hash of v1`.
    #[must_use]
    pub fn context(text: &str) -> Context {
        Context {
            text: text.into(),
            token_count: 7,
            scopes: [].into(),
            version: "v1".into(),
            version_hash: "hash of v1".into(),
            blocks: Blocks::default(),
        }
    }

    #[must_use]
    pub fn asked(&self) -> Vec<ContextQuery> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[must_use]
    pub fn changed(&self) -> Vec<(String, Option<String>)> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ContextSource for FakeContexts {
    async fn context(&self, query: &ContextQuery) -> Result<Context, ContextError> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(query.clone());
        let (after, outcome) = (self.script)(query);
        tokio::time::sleep(after).await;
        outcome
    }

    fn invalidate(&self, story: &str, version: Option<&str>) {
        let change = (story.to_owned(), version.map(str::to_owned));
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}
