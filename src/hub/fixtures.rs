//! What tests of the built-in hub begin with.

use std::time::Duration;

use moothall_actors::System;
use moothall_actors::domain::queue::OnDependencyFailure;
use moothall_actors::domain::workflow::{Phase, WorkflowId, WorkflowType};
use moothall_actors::ports::{Invocation, InvocationId};
use moothall_actors::testing::Stage as Story;

use super::built_in::BuiltInHub;
use crate::config::{Config, HubConfig, PlansConfig, Sources, UnknownRole};
use crate::intake::{Intake, IntakeSettings};
use crate::vllm::Retry;

pub(super) fn intake(system: &System) -> Intake {
    let plans = PlansConfig {
        max_tasks: 9,
        unknown_role: UnknownRole::Park,
        hold_until_phase: None,
        on_dependency_failure: OnDependencyFailure::Block,
    };
    Intake::new(system.clone(), IntakeSettings { plans, council: None })
}

/// As configured by default, but with little patience.
pub(super) fn hub() -> BuiltInHub {
    let config = Config::load(&Sources::default()).unwrap().config;
    let retry = Retry { times: 3, first: Duration::from_millis(10), last: Duration::from_millis(20) };
    BuiltInHub::new(config.workflows.roles, &HubConfig { timeout: Duration::from_secs(2), retry, ..config.hub })
}

pub(super) fn opened(story: &Story) -> BuiltInHub {
    let hub = hub();
    hub.open(story.system().clone(), intake(story.system()));
    hub
}

pub(super) fn invocation(workflow_type: WorkflowType, phase: Phase) -> Invocation {
    Invocation {
        id: InvocationId { workflow: WorkflowId([9; 16]), phase, attempt: 1 },
        workflow_type,
        feature_id: "001-login".into(),
        description: "People log in with a passkey".into(),
        context: None,
        origin: None,
        previous: None,
        rejected: None,
        rejection_reason: None,
    }
}
