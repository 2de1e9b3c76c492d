//! Checks: executable evidence about a text, and the honest word when a check did not run.
//!
//! ```text
//! texts ─▶ equal ones once ─▶ examined as what they are meant to be ([`examine`]): artifact, apply, lint, sections, …
//!                                parses: a thread, all texts of one call together
//!                         └─▶ policy over what their authors wrote: passed │ failed (findings) │ not run (too large)
//!                                < 16 KiB: here; larger: a thread
//! ```
//!
//! A short text takes the policy some microseconds, less than handing it to another thread would. A parse takes some
//! hundred, and a hostile text half a second: it never runs where others wait.

mod changes;
mod code;
mod document;
mod examine;
mod lint;
mod policy;
mod syntax;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::ports::{Checks, Subject};
use tokio::sync::Semaphore;

pub use policy::{BUILT_IN, PolicyError};

use self::examine::Examined;
use self::lint::Linter;
use self::policy::Policy;
use crate::config::ChecksConfig;

/// Texts from this size are checked on another thread.
const INLINE_BYTES: usize = 16 * 1024;

/// Texts above this size are not checked: nobody reads them either.
const MOST_BYTES: usize = 256 * 1024;

/// Threads that check at once: they are CPU-bound, and the runtime needs the processors too. More wait their turn.
const AT_ONCE: usize = 2;

/// The policy over texts, and whether they are what they were meant to be; a dry run is reported as not run.
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

    async fn policy(&self, policy: &Arc<Policy>, policed: Result<Arc<str>, &'static str>) -> CheckOutcome {
        let text = match policed {
            Ok(text) => text,
            Err(why) => return CheckOutcome::not_run(why),
        };
        match text.len() {
            bytes if bytes > MOST_BYTES => {
                CheckOutcome::not_run(format!("too large: {bytes} bytes, at most {MOST_BYTES} are checked"))
            }
            bytes if bytes >= INLINE_BYTES => {
                let policy = policy.clone();
                self.in_turn(move || outcome(&policy, &text)).await.unwrap_or_else(CheckOutcome::not_run)
            }
            _ => outcome(policy, &text),
        }
    }

    /// One for each subject.
    async fn examine(&self, subjects: &[Subject]) -> Vec<Examined> {
        if !subjects.iter().any(examine::takes_long) {
            return examine::all(&self.linter, subjects);
        }
        let (linter, owned) = (self.linter.clone(), subjects.to_vec());
        let examined = self.in_turn(move || examine::all(&linter, &owned)).await;
        let unknown = |why| subjects.iter().map(move |it| Examined::new(CheckOutcome::not_run(why), it.text.clone()));
        examined.unwrap_or_else(|why| unknown(why).collect())
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

    async fn check(&self, subjects: Vec<Subject>) -> Vec<CheckReport> {
        let Some(policy) = &self.policy else {
            return vec![CheckReport::not_run(&"checks are switched off".into()); subjects.len()];
        };
        let mut different: Vec<Subject> = Vec::with_capacity(subjects.len());
        for subject in &subjects {
            // Few texts, seldom of one length: comparing them costs less than hashing them.
            if !different.contains(subject) {
                different.push(subject.clone());
            }
        }
        let mut reports = Vec::with_capacity(different.len());
        for Examined { lint, additional, policed } in self.examine(&different).await {
            let (policy, dry_run) = (self.policy(policy, policed).await, CheckOutcome::not_run("no runner is set up"));
            reports.push(CheckReport { policy, lint, dry_run, additional });
        }
        let place = |subject| different.iter().position(|known| known == subject).unwrap_or_default();
        subjects.iter().map(|subject| reports[place(subject)].clone()).collect()
    }
}
