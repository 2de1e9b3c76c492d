//! Checks: executable evidence about a text, and the honest word when a check did not run.
//!
//! ```text
//! texts ─▶ equal ones once ─▶ < 16 KiB: here   ─▶ policy: passed │ failed (findings) │ not run (too large)
//!                             larger: a thread   lint, dry run: not run
//! ```
//!
//! A short text takes the policy some microseconds, less than handing it to another thread would; a long one would
//! hold up every task of its runtime thread.

mod code;
mod policy;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::ports::Checks;
use tokio::sync::Semaphore;

pub use policy::{BUILT_IN, PolicyError};

use self::policy::Policy;
use crate::config::ChecksConfig;

/// Texts from this size are checked on another thread.
const INLINE_BYTES: usize = 16 * 1024;

/// Texts above this size are not checked: nobody reads them either.
const MOST_BYTES: usize = 256 * 1024;

/// Long texts checked at once: they are CPU-bound, and the runtime needs the processors too. More wait their turn.
const AT_ONCE: usize = 2;

/// The policy over texts; lint and dry run are reported as not run.
#[derive(Clone, Debug)]
pub struct PolicyChecks {
    /// `None` = checks are switched off.
    policy: Option<Arc<Policy>>,
    turns: Arc<Semaphore>,
}

impl PolicyChecks {
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
        Self { policy: policy.map(Arc::new), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    async fn report(&self, text: &Arc<str>) -> CheckReport {
        let Some(policy) = &self.policy else {
            return CheckReport::not_run(&"checks are switched off".into());
        };
        let outcome = match text.len() {
            bytes if bytes > MOST_BYTES => {
                CheckOutcome::not_run(format!("too large: {bytes} bytes, at most {MOST_BYTES} are checked"))
            }
            bytes if bytes >= INLINE_BYTES => self.elsewhere(policy, text).await,
            _ => outcome(policy, text),
        };
        CheckReport {
            policy: outcome,
            lint: CheckOutcome::not_run("no linter is set up"),
            dry_run: CheckOutcome::not_run("no runner is set up"),
            additional: Default::default(),
        }
    }

    async fn elsewhere(&self, policy: &Arc<Policy>, text: &Arc<str>) -> CheckOutcome {
        let Ok(_turn) = self.turns.acquire().await else {
            return CheckOutcome::not_run("the daemon is stopping");
        };
        let (policy, text) = (policy.clone(), text.clone());
        match tokio::task::spawn_blocking(move || outcome(&policy, &text)).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, "a policy check broke");
                CheckOutcome::not_run("the check broke; the log says more")
            }
        }
    }
}

fn outcome(policy: &Policy, text: &str) -> CheckOutcome {
    match policy.findings(text) {
        findings if findings.is_empty() => CheckOutcome::Passed,
        findings => CheckOutcome::Failed { findings },
    }
}

#[async_trait]
impl Checks for PolicyChecks {
    fn policy_hash(&self) -> Arc<str> {
        self.policy.as_ref().map_or_else(|| "off".into(), |policy| policy.hash.clone())
    }

    async fn check(&self, texts: Vec<Arc<str>>) -> Vec<CheckReport> {
        let mut reports: Vec<CheckReport> = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            // Few texts, seldom of one length: comparing them costs less than hashing them.
            let known = texts[..place].iter().position(|earlier| earlier == text);
            let report = match known {
                Some(known) => reports[known].clone(),
                None => self.report(text).await,
            };
            reports.push(report);
        }
        reports
    }
}
