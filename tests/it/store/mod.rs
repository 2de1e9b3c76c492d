//! Tests of the journal on disk: one contract for every journal, and what only a disk can do.

mod conformance;
mod damage;
pub(crate) mod disk;
mod golden;
mod look;
mod pressure;
mod properties;
mod sample;
mod upgrade;
