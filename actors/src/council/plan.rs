//! From a task to the plan of its deliberation, for whoever writes that it begins.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::state::{self, Seating};
use crate::artifact::Wanted;
use crate::context::Background;
use crate::domain::council::{Council, Endpoint, Seat};
use crate::domain::event::Plan;
use crate::domain::execution::Output;
use crate::domain::id::{Role, RunId};
use crate::domain::task::TaskSpec;
use crate::ports::AnswerForm;
use crate::world::World;

/// What seats have carried out before anybody deliberates on it; none unless the task is for several agents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    pub(crate) seats: Vec<Seat>,
    /// In the order of the seats.
    pub(crate) outputs: Vec<Output>,
}

/// Who takes part in a task; or why nobody does now.
pub(crate) fn seats(world: &World, council: &Council, spec: &TaskSpec) -> Result<Vec<Seat>, Arc<str>> {
    seating(world, council, spec).map(|seating| seating.seats)
}

fn seating(world: &World, council: &Council, spec: &TaskSpec) -> Result<Seating, Arc<str>> {
    let ready = |agent: &_| world.registry.agent(&council.role, agent).is_some();
    state::seating(council, spec, world.settings.temperature, ready).ok_or_else(|| state::nobody_ready(council))
}

/// Everything that the run's prompts and a resume will need; or why it cannot begin.
pub(crate) fn plan(
    world: &World,
    council: &Council,
    (run, spec): (RunId, Arc<TaskSpec>),
    (background, made): (Background, Made),
) -> Result<Plan, Arc<str>> {
    let settings = &world.settings;
    let seating = match made.seats.is_empty() {
        true => seating(world, council, &spec)?,
        false => Seating::of(made.seats, council, &spec),
    };
    let seats = match spec.backlog && settings.backlog_by_executor {
        true => seating.seats.into_iter().map(at_executor).collect(),
        false => seating.seats,
    };
    let salt = world.ports.ids.random();
    let architect = architect(world, &spec, salt);
    let background = background.without_names(seats.iter().chain(&architect));
    let (persona, context) = (council.defaults.persona.as_deref(), background.context());
    let shared =
        world.prompts.shared(&spec, (persona, context.as_ref()), salt).map_err(|error| Arc::from(error.to_string()))?;
    let of_council = council.defaults.deadline_seconds.map(|seconds| Duration::from_secs(seconds.get().into()));
    let deadline = spec.timeout.or(of_council).unwrap_or(settings.deadline);
    Ok(Plan {
        run,
        wanted: wanted(council, &spec, !made.outputs.is_empty()),
        protected: settings.protected.clone(),
        budget_tokens: spec.budget_tokens.or(council.defaults.budget_tokens.map(NonZeroU64::get)),
        spec,
        seats,
        architect,
        rounds: seating.rounds,
        clamped: seating.clamped,
        prefix: shared.text.into(),
        context: background.informed(shared.is_informed),
        prompts_hash: world.prompts.hash().clone(),
        policy_hash: world.ports.checks.policy_hash(),
        ray_fallback: settings.ray_fallback,
        structured: world.ports.model.structured(AnswerForm::Critique),
        salt,
        execution_id: format!("{:016x}", world.ports.ids.random()).into(),
        outputs: made.outputs,
        deadline,
        call_timeout: settings.call_timeout.min(deadline),
    })
}

/// The same agent, but that the executor makes its calls: unless it has a server of its own.
fn at_executor(seat: Seat) -> Seat {
    match seat.endpoint {
        Endpoint::Pool => Seat { endpoint: Endpoint::Ray, ..seat },
        _ => seat,
    }
}

/// What the task says, else what its council does. A council's patch needs files: without them there are only new ones. What
/// is made elsewhere are no changes that could be read here.
fn wanted(council: &Council, spec: &TaskSpec, is_made: bool) -> Wanted {
    match spec.wanted().or(council.defaults.artifact).unwrap_or_default() {
        wanted if is_made && wanted != Wanted::Document => Wanted::None,
        Wanted::Patch if !spec.carries_files() => Wanted::Files,
        wanted => wanted,
    }
}

/// A ready agent of the ARCHITECT council, each in its turn. Those who proposed do not choose.
fn architect(world: &World, spec: &TaskSpec, salt: u64) -> Option<Seat> {
    let role = Role::architect();
    if !spec.architect || spec.role == role {
        return None;
    }
    let council = world.registry.councils.get(&role).map(|entry| entry.council.clone())?;
    let ready: Vec<&Seat> =
        council.seats.iter().filter(|seat| world.registry.agent(&role, &seat.agent).is_some()).collect();
    let place = usize::try_from(salt % ready.len().max(1) as u64).unwrap_or_default();
    ready.get(place).map(|seat| (*seat).clone())
}
