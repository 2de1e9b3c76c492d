//! Checks: executable evidence about a text, and the honest word when a check did not run.
//!
//! ```text
//! texts ─▶ equal ones once ─▶ policy: passed │ failed (findings) │ not run (too large)
//!                                < 16 KiB: here; larger: a thread
//!                         └─▶ lint of the only code block: passed │ failed (line, column) │ not run (why)
//!                                always a thread, all texts of one call together
//! ```
//!
//! A short text takes the policy some microseconds, less than handing it to another thread would. A parse takes some
//! hundred, and a hostile text half a second: it never runs where others wait.

mod code;
pub mod lint;
mod policy;
mod syntax;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::ports::Checks;
use tokio::sync::Semaphore;

pub use policy::{BUILT_IN, PolicyError};

use self::lint::Linter;
use self::policy::Policy;
use crate::config::ChecksConfig;

/// Texts from this size are checked on another thread.
const INLINE_BYTES: usize = 16 * 1024;

/// Texts above this size are not checked: nobody reads them either.
const MOST_BYTES: usize = 256 * 1024;

/// Threads that check at once: they are CPU-bound, and the runtime needs the processors too. More wait their turn.
const AT_ONCE: usize = 2;

/// The policy and the lint over texts; a dry run is reported as not run.
#[derive(Clone, Debug)]
pub struct TextChecks {
    /// `None` = checks are switched off.
    policy: Option<Arc<Policy>>,
    linter: Linter,
    turns: Arc<Semaphore>,
}

impl TextChecks {
    /// The built-in rules.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::parse(BUILT_IN)
    }

    /// Rules as text, in the form of `config/checks/policy.toml`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Policy::parse(text).map(|policy| Self::with(Some(policy)))
    }

    /// Rules from a file.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        Policy::read(path).map(|policy| Self::with(Some(policy)))
    }

    /// As configured.
    pub fn configured(config: &ChecksConfig) -> Result<Self, PolicyError> {
        match &config.policy {
            _ if !config.enabled => Ok(Self::disabled()),
            Some(path) => Self::read(path),
            None => Self::built_in(),
        }
    }

    /// Nothing runs, and every report says so.
    #[must_use]
    pub fn disabled() -> Self {
        Self::with(None)
    }

    fn with(policy: Option<Policy>) -> Self {
        Self { policy: policy.map(Arc::new), linter: Linter::new(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    async fn policy(&self, policy: &Arc<Policy>, text: &Arc<str>) -> CheckOutcome {
        match text.len() {
            bytes if bytes > MOST_BYTES => {
                CheckOutcome::not_run(format!("too large: {bytes} bytes, at most {MOST_BYTES} are checked"))
            }
            bytes if bytes >= INLINE_BYTES => self.elsewhere(policy, text).await,
            _ => outcome(policy, text),
        }
    }

    async fn elsewhere(&self, policy: &Arc<Policy>, text: &Arc<str>) -> CheckOutcome {
        let (policy, text) = (policy.clone(), text.clone());
        self.in_turn(move || outcome(&policy, &text)).await.unwrap_or_else(CheckOutcome::not_run)
    }

    /// One outcome per text.
    async fn lint(&self, texts: &[&Arc<str>]) -> Vec<CheckOutcome> {
        if !texts.iter().any(|text| syntax::is_lintable(text)) {
            return texts.iter().map(|text| syntax::lint(&self.linter, text, Duration::ZERO)).collect();
        }
        let (linter, owned) = (self.linter.clone(), texts.iter().map(|&text| text.clone()).collect::<Vec<_>>());
        let linted = self.in_turn(move || syntax::lint_all(&linter, &owned)).await;
        linted.unwrap_or_else(|why| vec![CheckOutcome::not_run(why); texts.len()])
    }

    /// Where blocking is allowed; or why it did not run.
    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, &'static str> {
        let _turn = self.turns.acquire().await.map_err(|_| "the daemon is stopping")?;
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "a check broke");
            "the check broke; the log says more"
        })
    }
}

fn outcome(policy: &Policy, text: &str) -> CheckOutcome {
    match policy.findings(text) {
        findings if findings.is_empty() => CheckOutcome::Passed,
        findings => CheckOutcome::Failed { findings },
    }
}

#[async_trait]
impl Checks for TextChecks {
    fn policy_hash(&self) -> Arc<str> {
        self.policy.as_ref().map_or_else(|| "off".into(), |policy| policy.hash.clone())
    }

    async fn check(&self, texts: Vec<Arc<str>>) -> Vec<CheckReport> {
        let Some(policy) = &self.policy else {
            return vec![CheckReport::not_run(&"checks are switched off".into()); texts.len()];
        };
        let mut different: Vec<&Arc<str>> = Vec::with_capacity(texts.len());
        for text in &texts {
            // Few texts, seldom of one length: comparing them costs less than hashing them.
            if !different.contains(&text) {
                different.push(text);
            }
        }
        let mut reports = Vec::with_capacity(different.len());
        for (text, lint) in different.iter().zip(self.lint(&different).await) {
            let (policy, dry_run) = (self.policy(policy, text).await, CheckOutcome::not_run("no runner is set up"));
            reports.push(CheckReport { policy, lint, dry_run, additional: Default::default() });
        }
        let place = |text| different.iter().position(|known| *known == text).unwrap_or_default();
        texts.iter().map(|text| reports[place(text)].clone()).collect()
    }
}
