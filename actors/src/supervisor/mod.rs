//! Who restarts whom.
//!
//! ```text
//!  Root ─┬─ Architect                                             restart: holds no state
//!        ├─ Dispatcher                                            restart: fills the queue again
//!        ├─ Workflows ─ Workflow(id)…                             restart: reads who is to be woken
//!        └─ Councils ─ RoleSupervisor(role) ─┬─ Council              restart: reads its stream again
//!                                            ├─ Agent(seat)…         restart: its calls are asked again
//!                                            └─ Deliberations ─ Deliberation(task)…  restart: folds its stream
//! ```
//!
//! A supervisor holds a policy table and no business code. What dies too often is parked with an event and a reason
//! while everything else goes on; what neither lives nor dies ends the process, and the journal brings it all back.

mod children;
mod councils;
mod deliberations;
mod parking;
pub mod policy;
mod recovery;
mod role;
mod root;
mod workflows;

pub(crate) use deliberations::Message as DeliberationsMessage;
pub(crate) use role::Message as RoleMessage;
pub(crate) use root::{Message as RootMessage, Root};
pub(crate) use workflows::Message as WorkflowsMessage;
