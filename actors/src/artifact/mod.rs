//! Artifacts: what a model wrote with anchors, translated once into a diff that Git takes, or refused as a whole.
//!
//! Models copy lines well and count them badly, so they write anchors; clients read Git. Everything behind this door
//! (checks, judges, runner, console) sees only the canonical form.
//!
//! ```text
//! words ─▶ dialect ─▶ operations ─▶ resolve ─▶ tree after ─▶ change ─▶ diff ─▶ canonical text ─▶ read ─▶ apply
//!          headers     edit bodies   anchors    all or nothing  hashes
//! ```
//!
//! Nothing here waits, asks a clock or draws random numbers: the same words over the same base give the same bytes.
//! Words, paths and canonical texts are data of strangers: every path is checked, every loop has an end.

mod align;
mod anchor;
mod apply;
mod base;
mod body;
mod bounds;
mod canonical;
mod change;
mod dialect;
mod diff;
mod excerpt;
mod failure;
mod fence;
mod guard;
mod header;
mod notes;
mod patch;
mod path;
mod placeholder;
mod quote;
mod replace;
mod resolve;
mod terms;
mod text;
mod translate;
mod tree;
mod wanted;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod git_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod story;

pub use apply::{Changed, NotApplied};
pub use base::{Base, BaseId};
pub use canonical::{Artifact, Kind};
pub use change::{FileChange, Op};
pub use failure::{Code, Excerpt, Failure, Rejected};
pub use fence::lone_block;
pub use guard::Guard;
pub(crate) use terms::Dialect;
pub use terms::{Draft, Terms};
pub use text::Grade;
pub use translate::translate;
pub use wanted::Wanted;
