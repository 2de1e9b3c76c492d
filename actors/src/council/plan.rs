//! From a task to the plan of its deliberation, for whoever writes that it begins.

use std::sync::Arc;

use super::state;
use crate::domain::council::Council;
use crate::domain::event::Plan;
use crate::domain::id::RunId;
use crate::domain::task::TaskSpec;
use crate::ports::AnswerForm;
use crate::world::World;

/// Everything that the run's prompts and a resume will need; or why it cannot begin.
pub(crate) fn plan(world: &World, council: &Council, run: RunId, spec: Arc<TaskSpec>) -> Result<Plan, Arc<str>> {
    let settings = &world.settings;
    let ready = |agent: &_| world.registry.agent(&council.role, agent).is_some();
    let seating =
        state::seating(council, &spec, settings.temperature, ready).ok_or_else(|| state::nobody_ready(council))?;
    let prefix = world.prompts.shared(&spec).map_err(|error| Arc::from(error.to_string()))?;
    let deadline = spec.timeout.unwrap_or(settings.deadline);
    Ok(Plan {
        run,
        spec,
        seats: seating.seats,
        rounds: seating.rounds,
        clamped: seating.clamped,
        prefix,
        prompts_hash: world.prompts.hash().clone(),
        policy_hash: world.ports.checks.policy_hash(),
        structured: world.ports.model.structured(AnswerForm::Critique),
        salt: world.ports.ids.random(),
        execution_id: format!("{:016x}", world.ports.ids.random()).into(),
        deadline,
        call_timeout: settings.call_timeout.min(deadline),
    })
}
