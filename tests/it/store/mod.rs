//! Tests of the journal on disk: one contract for every journal, and what only a disk can do.

mod checkpoint;
mod conformance;
mod damage;
pub(crate) mod disk;
mod golden;
mod look;
mod pace;
mod pressure;
mod properties;
mod prune;
mod rebuild;
mod restore;
pub(crate) mod sample;
mod sample_workflows;
mod upgrade;
mod workflows;
