//! The agent hub: whoever executes the phases of workflows, here or elsewhere.
//!
//! ```text
//!                                ┌─ implement, phase_1, a list of tasks before it ─▶ task_list ─▶ Intake ─▶ queue
//!  workflow ─▶ Hub ─▶ PhaseHub ──┼─ hub.url is set ─▶ HubClient ── POST {url}/invoke/{agent} ─▶ another hub
//!                                └─ else ──────────▶ BuiltInHub ─▶ prompt ─▶ council ─▶ verdict ─▶ confidence
//!  POST /invoke/{agent} ───────────────────────────────▲
//! ```
//!
//! The built-in hub gets what an outside one would get, an [`InvokeRequest`], and has a council deliberate on it: a workflow
//! cannot tell the two apart. An invocation is known by its name, on either way: asked again after a crash it is attached to,
//! and what was finished is not made again.

mod artefact;
mod built_in;
mod client;
mod confidence;
mod evidence;
mod fault;
#[cfg(test)]
mod fixtures;
mod phase_hub;
mod prompt;
mod reply;
mod task_list;
mod wire;

pub use built_in::{BuiltInHub, InvokeError};
pub use client::{HubClient, HubStartError, HubState};
pub use phase_hub::PhaseHub;
pub use wire::{AgentView, InvokeContext, InvokeRequest, InvokeResponse, PhaseView};
