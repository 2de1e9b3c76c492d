//! Checks: executable evidence about a text.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::check::CheckReport;

/// Runs every check there is over texts. Deterministic: the same text and rules give the same report.
#[async_trait]
pub trait Checks: Send + Sync + 'static {
    /// Names the rules in force.
    fn policy_hash(&self) -> Arc<str>;

    /// One report per text, in order. Never fails: a check that cannot run says so in its report.
    async fn check(&self, texts: Vec<Arc<str>>) -> Vec<CheckReport>;
}
