//! Plain data of the field: tasks, councils, answers, checks, verdicts, events. Invalid values cannot be built.

pub mod answer;
mod changes;
pub mod check;
pub mod context;
pub mod council;
pub mod ended;
pub mod event;
pub mod execution;
pub mod id;
pub mod json;
pub mod message;
pub mod plan;
pub mod prefix;
pub mod problem;
pub mod queue;
pub mod receipt;
pub mod task;
pub mod verdict;
pub mod workflow;
