//! Checks: executable evidence about a text.

use std::sync::Arc;

use async_trait::async_trait;

use crate::artifact::{Rejected, Terms};
use crate::domain::check::CheckReport;
use crate::domain::task::TaskSpec;

/// A text, and what it is checked as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub text: Arc<str>,
    pub form: Form,
}

/// What a text was meant to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nobody said: prose, code or both.
    Plain,
    /// Prose without code that counts.
    Prose,
    /// A document for this task, with the sections and requirements that it names.
    Document(Arc<TaskSpec>),
    /// The canonical text of an artifact that was translated against these.
    Changes(Arc<Terms>),
    /// Words that should have been an artifact.
    Rejected(Arc<Rejected>),
}

impl Subject {
    #[must_use]
    pub fn plain(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), form: Form::Plain }
    }
}

/// Runs every check there is over texts. Deterministic: the same text and rules give the same report.
#[async_trait]
pub trait Checks: Send + Sync + 'static {
    /// Names the rules in force.
    fn policy_hash(&self) -> Arc<str>;

    /// One report per text, in order. Never fails: a check that cannot run says so in its report.
    async fn check(&self, subjects: Vec<Subject>) -> Vec<CheckReport>;
}
