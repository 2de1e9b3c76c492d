//! The sections about workflows: who executes their phases, which council answers for which, and who decides on what came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::id::Role;
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::workflow::{ApprovalRule, Dispatch, MAX_QUORUM, OnDeadline, Phase, WorkflowType};

use super::meaning::optional;
use super::model;
use super::raw::{RawApproval, RawHub, RawRoles, RawWorkflows};
use super::rule::{DAY, Rules};
use super::section::{HubConfig, PhaseRoles, WorkflowsConfig};
use crate::vllm::Retry;

/// Whoever rejects a thing more often than this should say what is wanted instead.
const MOST_REWORK: i64 = 100;

pub(super) fn hub(raw: &RawHub, rules: &mut Rules<'_>) -> Option<HubConfig> {
    let url = optional(&raw.url, |text| rules.web("hub.url", text));
    let api_key = model::key("hub.api_key", &raw.api_key, rules);
    let timeout = rules.time("hub.timeout", raw.timeout);
    let times = rules.whole("hub.retries", raw.retries, 0..=20);
    let span = rules.span(("hub.retry_min", raw.retry_min), ("hub.retry_max", raw.retry_max));
    let (first, last) = span?;
    Some(HubConfig {
        url: url?,
        api_key: Some(api_key?).filter(|key| !key.is_empty()),
        timeout: timeout?,
        retry: Retry { times: times?, first, last },
    })
}

pub(super) fn workflows(raw: &RawWorkflows, rules: &mut Rules<'_>) -> Option<WorkflowsConfig> {
    let kinds = [("auto", Dispatch::Auto), ("manual", Dispatch::Manual)];
    let dispatch = rules.word("workflows.dispatch", &raw.dispatch, &kinds);
    let phases = rules.whole("workflows.phases", raw.phases, 1..=65_536);
    let roles = roles(&raw.roles, rules);
    let approval = approval(&raw.approval, rules);
    Some(WorkflowsConfig { dispatch: dispatch?, phases: phases?, roles: roles?, approval: approval? })
}

fn roles(raw: &RawRoles, rules: &mut Rules<'_>) -> Option<PhaseRoles> {
    let of_type = [
        (WorkflowType::Specify, &raw.specify, [&raw.specify_phase_1, &raw.specify_phase_2]),
        (WorkflowType::Plan, &raw.plan, [&raw.plan_phase_1, &raw.plan_phase_2]),
        (WorkflowType::Tasks, &raw.tasks, [&raw.tasks_phase_1, &raw.tasks_phase_2]),
        (WorkflowType::Implement, &raw.implement, [&raw.implement_phase_1, &raw.implement_phase_2]),
    ];
    let mut all = BTreeMap::new();
    let mut complete = true;
    for (workflow_type, usual, own) in of_type {
        let usual = role(&format!("workflows.roles.{workflow_type}"), usual, rules);
        for (phase, text) in Phase::ALL.iter().zip(own) {
            let key = format!("workflows.roles.{workflow_type}_{phase}");
            match optional(text, |text| role(&key, text, rules)).and_then(|own| own.or_else(|| usual.clone())) {
                Some(role) => drop(all.insert((workflow_type, *phase), role)),
                None => complete = false,
            }
        }
    }
    complete.then_some(PhaseRoles(all))
}

fn role(key: &str, text: &str, rules: &mut Rules<'_>) -> Option<Role> {
    match Role::parse(key, text) {
        Ok(role) => Some(role),
        Err(problem) => rules.refuse(key, problem.message),
    }
}

fn approval(raw: &RawApproval, rules: &mut Rules<'_>) -> Option<ApprovalRule> {
    let place = |name: &str| format!("workflows.approval.{name}");
    let names = |given: &[String]| given.iter().map(|name| Arc::from(name.as_str())).collect();
    let before = rules.problems.len();
    let quorum = rules.whole(&place("quorum"), raw.quorum, 1..=i64::from(MAX_QUORUM));
    let deadline = rules.time_within(&place("deadline"), raw.deadline, 0.0..=30.0 * DAY);
    let kinds = [OnDeadline::Escalate, OnDeadline::Reject, OnDeadline::Fail].map(|kind| (kind.as_str(), kind));
    let on_deadline = rules.word(&place("on_deadline"), &raw.on_deadline, &kinds);
    let auto_approve = percent(&place("auto_approve_confidence"), raw.auto_approve_confidence, rules);
    let max_rework = rules.whole(&place("max_rework"), raw.max_rework, 0..=MOST_REWORK);
    let threshold = percent(&place("confidence_threshold"), raw.confidence_threshold, rules);
    let rule = ApprovalRule {
        approvers: names(&raw.approvers),
        // What is wrong with the names is said beside a quorum that is wrong too.
        quorum: quorum.unwrap_or(1),
        deadline: deadline.filter(|time| *time > Duration::ZERO),
        on_deadline: on_deadline.unwrap_or_default(),
        escalate_to: names(&raw.escalate_to),
        auto_approve: auto_approve.filter(|least| *least > 0.0),
        max_rework: max_rework.unwrap_or_default(),
        confidence_threshold: threshold.unwrap_or_default(),
    };
    let mut found = Problems::default();
    rule.check("workflows.approval", &mut found);
    for problem in found.0 {
        rules.refuse::<()>(&problem.field, problem.message);
    }
    (rules.problems.len() == before).then_some(rule)
}

fn percent(key: &str, given: f64, rules: &mut Rules<'_>) -> Option<f64> {
    match (0.0..=100.0).contains(&given) {
        true => Some(given),
        false => rules.refuse(key, "must be 0 to 100"),
    }
}
