//! How much a plan may hold: each number with its reason. What a task may hold is the same however it comes.

pub use moothall_actors::domain::id::MAX_ID_BYTES;
pub use moothall_actors::domain::queue::MAX_PRIORITY;
pub use moothall_actors::domain::task::{
    MAX_DESCRIPTION_BYTES, MAX_METADATA, MAX_METADATA_BYTES, MAX_REQUIREMENTS, MAX_ROUNDS, MAX_RUBRIC_BYTES,
};

/// Largest plan text, in bytes. A year of tasks fits; more is a mistake or an attack.
pub const MAX_PLAN_BYTES: usize = 4 * 1024 * 1024;
/// Most tasks of one plan unless `plans.max_tasks` says otherwise: more than a team reviews.
pub const DEFAULT_MAX_TASKS: usize = 500;
/// Most tasks that `plans.max_tasks` can allow: they are queued in one step.
pub const HARD_MAX_TASKS: usize = 10_000;
/// Most dependencies of a whole plan: the queue counts each one down. Two waves of 250 tasks have 62,500 between them.
pub const MAX_DEPENDENCIES: usize = 100_000;
/// Deepest nesting of a JSON or YAML plan; a task's metadata stands at 6.
pub const MAX_DEPTH: usize = 32;
/// Most values of a JSON or YAML plan, aliases expanded: 10,000 tasks with every key have half as many.
pub const MAX_VALUES: usize = 500_000;
/// Most agents that a task can ask for; a smaller council takes part whole.
pub const MAX_AGENTS: u16 = u16::MAX;
/// Longest deliberation, in seconds: a day.
pub const MAX_TIMEOUT_SECONDS: u32 = 86_400;
/// Longest execution of a verdict, in seconds: a week, since people may be part of it.
pub const MAX_EXECUTION_SECONDS: u32 = 604_800;

/// Most bracket labels of one task; further ones stay in its text.
pub const MAX_TAGS: usize = 16;
/// Most roles that a plan or strategy can name: as many as there can be councils.
pub const MAX_ROLES: usize = 64;
/// Most problems, and most notes, that one answer holds; the rest is counted. More than anybody mends in one go.
pub const MAX_REPORTED: usize = 200;
/// Most tasks of a cycle that are written out, so that a message stays a message.
pub const MAX_CYCLE_SHOWN: usize = 100;
/// Farthest column that is counted; finding a later one would cost more than it tells.
pub const MAX_COLUMN: usize = 4_096;
