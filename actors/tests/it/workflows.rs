//! Workflows as their users see them: executed by a hub, decided on by people, at rest meanwhile, and never lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::event::Event;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{
    ApprovalRule, Dispatch, OnDeadline, Phase, Request, Trigger, Workflow, WorkflowId, WorkflowStatus as Status,
    WorkflowType,
};
use moothall_actors::ports::{HubError, InvocationId, WorkflowQuery};
use moothall_actors::testing::{FakeHub, JournalFaults, PowerCut, Random, Scenario, Stage};
use moothall_actors::{Asked, NewWorkflow, Wish, WorkflowError};
use tokio::task::JoinSet;

fn wanted() -> NewWorkflow {
    NewWorkflow {
        id: None,
        workflow_type: WorkflowType::Specify,
        description: "Sign in with a key".into(),
        slug: "sign-in-with-a-key".into(),
        context: None,
        dispatch: Dispatch::Auto,
        approval: ApprovalRule::default(),
        chain: Vec::new(),
        request: None,
    }
}

fn manual() -> NewWorkflow {
    NewWorkflow { dispatch: Dispatch::Manual, ..wanted() }
}

async fn create(stage: &Stage, new: NewWorkflow) -> Arc<Workflow> {
    loop {
        match stage.system().create_workflow(new.clone()).await {
            Err(WorkflowError::Busy { retry_after, .. }) => tokio::time::sleep(retry_after).await,
            told => return told.unwrap(),
        }
    }
}

async fn advance(stage: &Stage, id: WorkflowId, wish: Wish) -> Result<Arc<Workflow>, WorkflowError> {
    stage.system().advance_workflow(id, Asked::plain(wish)).await
}

/// Waits until it stands so; every step is told to followers.
async fn until(stage: &Stage, id: WorkflowId, status: Status) -> Arc<Workflow> {
    let mut following = stage.system().follow_workflow(id);
    let waits = async {
        loop {
            let workflow = stage.system().workflow(id).await.unwrap();
            if workflow.status == status {
                return workflow;
            }
            assert!(!workflow.status.is_over(), "it ended: {:?}", workflow.error);
            following.news().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3_600), waits).await.unwrap()
}

/// From where to where, by what.
fn steps(stage: &Stage, id: WorkflowId) -> Vec<(Status, Status, Trigger)> {
    let of = format!("workflow/{id}");
    let events = stage.journal.events().into_iter().filter(|recorded| recorded.stream.as_str() == of);
    let step = |event| match event {
        Event::WorkflowAdvanced(step) => Some((step.from, step.to, step.trigger)),
        _ => None,
    };
    events.filter_map(|recorded| step(recorded.event.event)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_workflow_goes_through_both_phases_and_is_completed() {
    let hub = FakeHub::willing();
    let stage = Scenario::new().hub(hub.clone()).start().await;
    let created = create(&stage, wanted()).await;
    assert_eq!((created.status, &*created.feature_id), (Status::InProgress, "001-sign-in-with-a-key"));
    let id = created.id;
    for _ in 0..2 {
        let waiting = until(&stage, id, Status::WaitingApproval).await;
        assert_eq!(waiting.artifact.as_ref().unwrap().confidence, Some(90.0));
        advance(&stage, id, Wish::Approve).await.unwrap();
    }
    let done = stage.system().workflow(id).await.unwrap();
    assert_eq!((done.status, done.phase), (Status::Completed, Phase::Two));
    let result: serde_json::Value = done.result.as_ref().unwrap().read().unwrap();
    assert_eq!(result["output"]["content"], format!("{id}/phase_2/1"));
    let invoked = hub.invoked();
    assert_eq!(invoked.len(), 2);
    assert!(invoked[1].previous.is_some() && invoked[0].previous.is_none());
    assert_eq!(stage.system().workflow_past(id).await.unwrap().len(), 6);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_has_no_actor_and_is_woken_by_whoever_asks() {
    let stage = Scenario::new().hub(FakeHub::willing()).start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(create(&stage, wanted()).await.id);
    }
    assert_eq!(stage.system().workflows_present(), 20);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.system().workflows_present(), 0);
    for id in &ids {
        assert_eq!(stage.system().workflow(*id).await.unwrap().status, Status::WaitingApproval);
        assert_eq!(advance(&stage, *id, Wish::Approve).await.unwrap().phase, Phase::Two);
    }
    let unknown = advance(&stage, WorkflowId([9; 16]), Wish::Approve).await.unwrap_err();
    assert_eq!(unknown, WorkflowError::Unknown { id: WorkflowId([9; 16]) });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.system().workflows_present(), 0, "nothing stays of one that never was");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_drives_a_manual_workflow_and_no_hub_is_asked() {
    let hub = FakeHub::willing();
    let stage = Scenario::new().hub(hub.clone()).start().await;
    let id = create(&stage, manual()).await.id;
    for wish in [Wish::Complete, Wish::Approve, Wish::Complete, Wish::Reject, Wish::Complete, Wish::Approve] {
        advance(&stage, id, wish).await.unwrap();
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    assert_eq!(stage.system().workflow(id).await.unwrap().status, Status::Completed);
    assert_eq!(hub.invoked().len(), 0);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn forty_clients_race_and_each_step_is_made_once() {
    let stage = Scenario::new().start().await;
    let id = create(&stage, manual()).await.id;
    for (wish, late) in [(Wish::Complete, true), (Wish::Approve, false), (Wish::Complete, true), (Wish::Approve, false)]
    {
        let before = stage.system().workflow(id).await.unwrap();
        let mut racers = JoinSet::new();
        for _ in 0..40 {
            let system = stage.system().clone();
            racers.spawn(async move { system.advance_workflow(id, Asked::plain(wish)).await });
        }
        let told = racers.join_all().await;
        let refused = told.iter().filter(|told| matches!(told, Err(WorkflowError::WrongState { .. }))).count();
        assert_eq!(refused, if late { 0 } else { 39 });
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 40 - refused);
        assert_eq!(stage.system().workflow(id).await.unwrap().version, before.version + 1);
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_any_more_is_withdrawn_from_the_hub() {
    let hub = FakeHub::new(|_| (Duration::from_secs(1_000), Err(HubError::Failed("late".into()))));
    let stage = Scenario::new().hub(hub.clone()).start().await;
    let cancelled = create(&stage, wanted()).await.id;
    let taken_over = create(&stage, wanted()).await.id;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(stage.system().workflows_present(), 2, "a hub that works keeps them awake");
    advance(&stage, cancelled, Wish::Cancel).await.unwrap();
    advance(&stage, taken_over, Wish::Complete).await.unwrap();
    let first = |workflow| InvocationId { workflow, phase: Phase::One, attempt: 1 };
    assert_eq!(hub.withdrawn(), [first(cancelled), first(taken_over)]);
    tokio::time::sleep(Duration::from_secs(2_000)).await;
    assert_eq!(stage.system().workflow(taken_over).await.unwrap().status, Status::WaitingApproval);
    assert_eq!(stage.system().workflow(cancelled).await.unwrap().error.as_deref(), Some("cancelled"));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_wakes_one_that_rests_also_after_a_restart() {
    let approval = ApprovalRule {
        deadline: Some(Duration::from_secs(3_600)),
        on_deadline: OnDeadline::Fail,
        ..ApprovalRule::default()
    };
    let mut stage = Scenario::new().hub(FakeHub::willing()).start().await;
    let early = create(&stage, NewWorkflow { approval: approval.clone(), ..wanted() }).await.id;
    tokio::time::sleep(Duration::from_secs(1_800)).await;
    let late = create(&stage, NewWorkflow { approval, ..wanted() }).await.id;
    tokio::time::sleep(Duration::from_secs(60)).await;
    stage.crash().await;
    stage.rise().await;
    assert_eq!(stage.system().workflow(early).await.unwrap().status, Status::WaitingApproval);
    tokio::time::sleep(Duration::from_secs(1_745)).await;
    let failed = stage.system().workflow(early).await.unwrap();
    assert_eq!(failed.error.as_deref(), Some("phase_1: nobody decided within 3600 s"));
    assert_eq!(stage.system().workflow(late).await.unwrap().status, Status::WaitingApproval);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_makes_the_next_workflow_with_what_came_of_the_one_before() {
    let hub = FakeHub::willing();
    let stage = Scenario::new().hub(hub.clone()).start().await;
    let approval = ApprovalRule { auto_approve: Some(80.0), ..ApprovalRule::default() };
    let chain = vec![WorkflowType::Plan, WorkflowType::Tasks];
    let first = create(&stage, NewWorkflow { approval, chain, ..wanted() }).await;
    let mut id = first.id;
    let mut types = Vec::new();
    loop {
        let workflow = until(&stage, id, Status::Completed).await;
        assert_eq!(workflow.feature_id, first.feature_id);
        types.push(workflow.workflow_type);
        match workflow.next {
            Some(next) => id = next,
            None => break,
        }
    }
    assert_eq!(types, [WorkflowType::Specify, WorkflowType::Plan, WorkflowType::Tasks]);
    let invoked = hub.invoked();
    assert_eq!(invoked.len(), 6);
    let origin = invoked[2].origin.clone().unwrap();
    assert!(origin.artifact.as_str().contains(&format!("{}/phase_2/1", first.id)), "{origin:?}");
    let other = create(&stage, NewWorkflow { workflow_type: WorkflowType::Plan, ..manual() }).await;
    assert_eq!(&*other.feature_id, "002-sign-in-with-a-key", "the chain's number is taken in all of its types");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_request_finds_the_workflow_that_it_made() {
    let stage = Scenario::new().start().await;
    let request = |content: &str| Some(Request { key: "k-1".into(), content: content.into() });
    let new = NewWorkflow { id: Some(WorkflowId([3; 16])), request: request("a"), ..manual() };
    let (one, two) = tokio::join!(create(&stage, new.clone()), create(&stage, new.clone()));
    assert_eq!((one.id, one.version), (two.id, two.version));
    let other = NewWorkflow { request: request("b"), ..new };
    let refused = stage.system().create_workflow(other).await.unwrap_err();
    assert_eq!(refused, WorkflowError::KeyReused { key: "k-1".into() });
    let all = WorkflowQuery { limit: 10, ..WorkflowQuery::default() };
    assert_eq!(stage.system().workflows(&all).await.unwrap().len(), 1);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn numbers_go_on_after_a_restart() {
    let mut stage = Scenario::new().start().await;
    create(&stage, manual()).await;
    stage.crash().await;
    stage.rise().await;
    assert_eq!(create(&stage, manual()).await.number(), 2);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_breaks_down_is_asked_again() {
    let broken = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = broken.clone();
    let hub = FakeHub::new(move |invocation| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
            std::panic::panic_any("a bug of the hub");
        }
        (Duration::ZERO, Ok(FakeHub::artifact(&invocation.id.to_string(), 50.0)))
    });
    let stage = Scenario::new().hub(hub).start().await;
    let id = create(&stage, wanted()).await.id;
    until(&stage, id, Status::WaitingApproval).await;
    assert_eq!(broken.load(std::sync::atomic::Ordering::Relaxed), 3);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn workflows_outlive_their_supervisor() {
    let stage = Scenario::new().hub(FakeHub::willing()).start().await;
    let id = create(&stage, wanted()).await.id;
    assert!(stage.system().kill_actor("workflows"));
    until(&stage, id, Status::WaitingApproval).await;
    assert!(stage.system().kill_actor("workflows"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(advance(&stage, id, Wish::Approve).await.unwrap().phase, Phase::Two);
    stage.close().await;
}

/// A client that takes a workflow to its end: it looks, and asks for what comes next. The first attempt it rejects.
async fn drive(stage: &Stage) -> WorkflowId {
    let request = Some(Request { key: "k".into(), content: "c".into() });
    let new = NewWorkflow { id: Some(WorkflowId([3; 16])), request, ..wanted() };
    let Ok(created) = stage.system().create_workflow(new).await else { std::future::pending().await };
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok(workflow) = stage.system().workflow(created.id).await else { continue };
        let is_first = (workflow.phase, workflow.attempt) == (Phase::One, 1);
        let wish = match workflow.status {
            Status::Completed => return created.id,
            Status::Failed => panic!("{:?}", workflow.error),
            Status::WaitingApproval => {
                if is_first {
                    Wish::Reject
                } else {
                    Wish::Approve
                }
            }
            Status::Pending | Status::InProgress => continue,
        };
        let asked = Asked { if_match: Some(workflow.version), ..Asked::plain(wish) };
        // Whatever comes of it, the next look tells.
        drop(stage.system().advance_workflow(created.id, asked).await);
    }
}

#[tokio::test(start_paused = true)]
async fn power_that_goes_at_any_step_loses_nothing_and_repeats_no_answer() {
    for after in 1..=8 {
        for acknowledged in [false, true] {
            let hub = FakeHub::willing();
            let mut stage = Scenario::new().hub(hub.clone()).start().await;
            let before = stage.journal.events().len();
            stage.journal.cut_power(PowerCut { after: before + after, acknowledged });
            let cut = stage.journal.clone();
            tokio::select! {
                biased;
                () = cut.power_is_cut() => {}
                id = drive(&stage) => panic!("{id} came to its end before the power went"),
            }
            stage.crash().await;
            stage.rise().await;
            let id = drive(&stage).await;
            let expected = [
                Trigger::Start,
                Trigger::AgentComplete,
                Trigger::HumanRejected,
                Trigger::AgentComplete,
                Trigger::HumanApproved,
                Trigger::AgentComplete,
                Trigger::HumanApproved,
            ];
            let triggers: Vec<_> = steps(&stage, id).into_iter().map(|(_, _, trigger)| trigger).collect();
            assert_eq!(triggers, expected, "the power went after event {after}, {acknowledged}");
            let asked: BTreeSet<_> = hub.invoked().iter().map(|invocation| invocation.id).collect();
            assert_eq!(asked.len(), 3);
            assert!(hub.invoked().len() <= 4, "only what was in flight is asked again");
            stage.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_journal_that_is_often_full_changes_nothing_but_the_time() {
    let faults = JournalFaults { random: Random::new(7), delay_ms: 50, busy_percent: 40 };
    let stage = Scenario::new().hub(FakeHub::willing()).journal_faults(faults).start().await;
    let id = create(&stage, wanted()).await.id;
    for _ in 0..2 {
        until(&stage, id, Status::WaitingApproval).await;
        advance(&stage, id, Wish::Approve).await.unwrap();
    }
    assert_eq!(until(&stage, id, Status::Completed).await.version, 6);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_edited_artifact_and_what_the_approver_said_stand_in_the_past() {
    let stage = Scenario::new().hub(FakeHub::willing()).start().await;
    let id = create(&stage, wanted()).await.id;
    until(&stage, id, Status::WaitingApproval).await;
    let phase_result = Some(Json::parse(r#"{"content":"edited"}"#).unwrap());
    let asked = Asked { actor: Some("ann".into()), phase_result, ..Asked::plain(Wish::Approve) };
    stage.system().advance_workflow(id, asked).await.unwrap();
    let past = stage.system().workflow_past(id).await.unwrap();
    let artifacts: Vec<_> = past
        .iter()
        .filter_map(|recorded| match &recorded.event.event {
            Event::WorkflowAdvanced(step) => step.artifact.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(artifacts.len(), 2, "the original and the edited one");
    assert!(artifacts[1].content.as_str().contains("edited"));
    stage.close().await;
}
