//! Proposals that carry changes: asked for with anchors, translated once, shown as what Git takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall_actors::Hold;
use moothall_actors::artifact::{Artifact, Draft, Op};
use moothall_actors::domain::council::Defaults;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{Stage as Wave, StreamId};
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::domain::verdict::Outcome;
use moothall_actors::ports::{Journal as _, ModelCall, whole_stream};
use moothall_actors::testing::{FakeModel, Reaction, Scenario, Stage, draft, spec};

use crate::story::{ms, pass, submit_as, task};

const FILE: &str = "def seconds(text):\n    return int(text)\n";

fn patch() -> TaskDraft {
    let metadata = [("artifact", "patch"), ("file:src/duration.py", FILE), ("repo.paths", "src, tests")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    TaskDraft { metadata: BTreeMap::from(metadata), ..draft("strip the text") }
}

/// The code word that an answer must bear.
fn nonce(ask: &str) -> &str {
    let start = ask.find("### FILE[").unwrap() + "### FILE[".len();
    &ask[start..start + ask[start..].find(']').unwrap()]
}

fn edit(call: &ModelCall, old: &str, new: &str) -> Arc<str> {
    let nonce = nonce(&call.ask);
    let body = format!("<<<<<<< SEARCH\n    return {old}\n=======\n    return {new}\n>>>>>>> REPLACE");
    format!("It strips.\n\n### EDIT[{nonce}] src/duration.py\n```python\n{body}\n```\n").into()
}

/// Strips; every revision strips differently.
fn right(call: &ModelCall) -> Arc<str> {
    match call.stage() {
        Wave::Propose => edit(call, "int(text)", "int(text.strip())"),
        Wave::Revise => edit(call, "int(text)", &format!("int(text.strip({}))", call.id.wave.round)),
        _ => FakeModel::usual(call),
    }
}

fn model(script: impl Fn(&ModelCall) -> Arc<str> + Send + Sync + 'static) -> FakeModel {
    FakeModel::new(move |call, _| (ms(50), Reaction::Answer(script(call))))
}

async fn stage(agents: usize, script: impl Fn(&ModelCall) -> Arc<str> + Send + Sync + 'static) -> Stage {
    Scenario::new().council("DEV", agents).model(model(script)).start().await
}

async fn deliberated(stage: &Stage, draft: TaskDraft) -> Arc<Outcome> {
    submit_as(stage, "t-1", draft, Hold::Call).await.unwrap().outcome().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_asked_for_with_anchors_and_clients_get_what_git_takes() {
    let stage = stage(3, right).await;
    let outcome = deliberated(&stage, patch()).await;
    assert_eq!(outcome.verdict.calls, 9, "translating asks nobody");
    let proposal = &outcome.proposals[0];
    let artifact = Artifact::read(&proposal.text).unwrap();
    assert_eq!((artifact.files[0].path.as_str(), artifact.files[0].op), ("src/duration.py", Op::Modify));
    let after = artifact.apply(&spec(patch()).base()).unwrap();
    assert_eq!(&*after["src/duration.py"], "def seconds(text):\n    return int(text.strip(1))\n");
    assert!(proposal.text.starts_with("It strips.\n\n```diff\n"), "{}", proposal.text);
    assert!(Artifact::read(&proposal.revisions[0]).is_some(), "earlier texts are canonical too");
    let shown: Vec<_> = proposal.text.lines().filter(|line| line.contains("agent-") || line.contains("fake")).collect();
    assert!(shown.is_empty(), "no names: {shown:?}");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn everybody_sees_the_files_authors_the_dialect_and_reviewers_the_diff() {
    let stage = stage(2, right).await;
    deliberated(&stage, patch()).await;
    let asks = stage.model.asks();
    assert!(asks.iter().all(|call| call.shared == asks[0].shared), "the prefix is the same, byte for byte");
    assert!(asks[0].shared.contains(&format!("src/duration.py\n{FILE}>>>FILE")), "{}", asks[0].shared);
    let mut words: Vec<_> =
        asks.iter().filter(|call| call.stage() != Wave::Critique).map(|call| nonce(&call.ask).to_owned()).collect();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), 4, "each call of an author has a code word of its own");
    for call in asks.iter().filter(|call| call.stage() == Wave::Critique) {
        assert!(call.ask.contains("+    return int(text.strip())") && !call.ask.contains("SEARCH"), "{}", call.ask);
    }
    for call in asks.iter().filter(|call| call.stage() == Wave::Revise) {
        let own = format!("### EDIT[{}] src/duration.py", nonce(&call.ask));
        assert!(call.ask.contains(&own), "the author's own words bear today's code word: {}", call.ask);
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_goes_back_to_its_author_once_with_the_real_lines() {
    let stage = stage(2, |call| match call.id.ask {
        1 if call.stage() == Wave::Propose => edit(call, "float(text)", "1"),
        _ => right(call),
    })
    .await;
    let outcome = deliberated(&stage, patch()).await;
    assert_eq!(outcome.verdict.calls, 8, "two proposals more");
    assert!(outcome.proposals.iter().all(|proposal| Artifact::read(&proposal.text).is_some()));
    let asks = stage.model.asks();
    let second = asks.iter().find(|call| call.id.ask == 2).unwrap();
    for part in ["anchor_not_found", "    return int(text)\n", "    return float(text)\n=======", "<<<REPORT"] {
        assert!(second.ask.contains(part), "{part}: {}", second.ask);
    }
    assert!(second.ask.contains(&format!("### EDIT[{}] src", nonce(&second.ask))), "{}", second.ask);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_author_who_never_gets_it_right_has_a_failed_check_and_not_a_missing_seat() {
    let stage = stage(2, |call| match call.id.agent.as_str().ends_with("001") && call.stage() != Wave::Critique {
        true => "I would strip the text.".into(),
        false => right(call),
    })
    .await;
    let outcome = deliberated(&stage, patch()).await;
    let verdict = &outcome.verdict;
    assert!(verdict.missing.is_empty());
    assert_eq!(verdict.winner().unwrap().agent.as_str(), "agent-dev-002");
    let last = &verdict.ranking[1];
    assert!(last.checks.additional["artifact"].failed() && last.score < 0.5, "{last:?}");
    assert_eq!(&*outcome.proposals[1].text, "I would strip the text.", "its words are shown as they are");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_no_artifact_gives_way_to_the_proposal() {
    let stage = stage(2, |call| if call.stage() == Wave::Revise { "done".into() } else { right(call) }).await;
    let outcome = deliberated(&stage, patch()).await;
    for ranked in &outcome.verdict.ranking {
        assert_eq!((ranked.text, ranked.checks.any_failed()), (Some(0), false), "{ranked:?}");
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_translates_nothing_twice_and_repeats_no_call() {
    let mut stage = stage(3, |call| match (call.id.ask, call.stage()) {
        (1, Wave::Propose) => "no".into(),
        _ => right(call),
    })
    .await;
    for millis in [60, 60, 70, 80] {
        drop(submit_as(&stage, "t-1", patch(), Hold::Background).await.unwrap());
        pass(ms(millis)).await;
        stage.crash().await;
        stage.rise().await;
    }
    let outcome = deliberated(&stage, patch()).await;
    assert_eq!((outcome.verdict.calls, outcome.proposals.len()), (12, 3));
    let finished = stage.model.counts().into_values().filter(|counts| counts.finished > 1).count();
    assert_eq!(finished, 0, "a finished call is never repeated");
    let events = whole_stream(&stage.journal, &StreamId::named("deliberation/t-1/1")).await.unwrap();
    let drafts = events.iter().filter_map(|recorded| match &recorded.event.event {
        Event::CallAnswered { call, draft, .. } => Some((call.wave.stage, draft.as_ref().map(Draft::is_rejected))),
        _ => None,
    });
    let drafts: Vec<_> = drafts.collect();
    let count = |wanted| drafts.iter().filter(|it| **it == wanted).count();
    assert_eq!(count((Wave::Propose, Some(true))), 3);
    assert_eq!(count((Wave::Propose, Some(false))), 3);
    assert_eq!(count((Wave::Critique, None)), 3);
    assert_eq!(count((Wave::Revise, Some(false))), 3);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn existing_clients_are_asked_as_before_and_carried_files_are_shown() {
    let stage = stage(2, FakeModel::usual).await;
    let metadata = BTreeMap::from([("file:a.py".to_owned(), "x = 1".to_owned())]);
    let outcome = deliberated(&stage, TaskDraft { metadata, ..draft("d") }).await;
    assert_eq!(&*outcome.proposals[0].text, "revise of agent-dev-001 in round 1");
    let asks = stage.model.asks();
    assert!(asks.iter().all(|call| !call.ask.contains("### FILE[")));
    assert!(asks[0].shared.contains("a.py\nx = 1\n>>>FILE"), "{}", asks[0].shared);
    assert!(asks[0].shared.ends_with("(no line break at its end)"), "{}", asks[0].shared);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_council_says_what_its_tasks_get_by_default() {
    let defaults = Defaults {
        artifact: Some(moothall_actors::artifact::Wanted::Patch),
        persona: Some("You are brief.".into()),
        deadline_seconds: std::num::NonZeroU32::new(7),
        budget_tokens: std::num::NonZeroU64::new(1),
    };
    let stage = Scenario::new()
        .council("DEV", 2)
        .defaults(defaults)
        .model(model(|call| {
            let nonce = nonce(&call.ask);
            format!("### FILE[{nonce}] a.py\n```\nx = 1\n```\n").into()
        }))
        .start()
        .await;
    let attached = submit_as(&stage, "t-1", draft("d"), Hold::Call).await.unwrap();
    let outcome = attached.outcome().await.unwrap();
    assert_eq!(outcome.verdict.calls, 2, "the budget is spent with the first answers");
    assert!(Artifact::read(&outcome.proposals[0].text).is_some(), "without files a patch is new files");
    let shared = stage.model.asks()[0].shared.clone();
    assert!(shared.starts_with("You are brief."), "{shared}");
    let started = stage.journal.stream(&StreamId::named("deliberation/t-1/1"), 0, 1).await.unwrap();
    let Event::DeliberationStarted(plan) = &started[0].event.event else { panic!("{started:?}") };
    assert_eq!(plan.deadline.as_secs(), 7);
    assert_eq!(task("t-1"), plan.run.task);
    stage.close().await;
}
