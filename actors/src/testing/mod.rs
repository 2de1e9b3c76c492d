//! Fakes for every port, for tests and benchmarks: simulated, in memory, seeded. Never part of a release.

mod calls;
mod context;
mod executor;
mod hub;
pub mod invariants;
mod journal;
mod model;
mod ports;
mod random;
mod scenario;

pub use calls::{model_call, wave_call};
pub use context::FakeContexts;
pub use executor::FakeExecutor;
pub use hub::FakeHub;
pub use journal::{JournalFaults, MemoryJournal, PowerCut};
pub use model::{FakeModel, Reaction, candidates};
pub use ports::{FakeChecks, FakeClock, FakeIds};
pub use random::Random;
pub use scenario::{Scenario, Stage, draft, embedded_prompts, spec};
