//! What is seen of a queue.

use std::collections::BTreeMap;

use moothall_actors::domain::id::{Role, Timestamp};
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use moothall_actors::ports::queue::{Claim, Filter, Report};

use super::Stage;
use super::told::{claim, entry, id, lease, needing, of_story, put};

pub(crate) async fn lists_go_on_behind_a_task_and_hold_what_was_asked_for(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, (0..9).map(|number| entry(&format!("t{number}"), number)).collect()).await;
    put(queue, vec![of_story("t9", "A")]).await;
    claim(queue, 3).await;
    let page = |after: Option<&str>, state| Filter { after: after.map(id), state, limit: 4, ..Filter::default() };
    let shown = async |filter: &Filter| -> Vec<String> {
        queue.list(filter).await.unwrap().iter().map(|row| row.entry.task.to_string()).collect()
    };
    assert_eq!(shown(&page(None, None)).await, ["t0", "t1", "t2", "t3"]);
    assert_eq!(shown(&page(Some("t7"), None)).await, ["t8", "t9"]);
    assert_eq!(shown(&page(None, Some(QueueState::InProgress))).await, ["t0", "t1", "t9"]);
    assert!(shown(&Filter { limit: 0, ..Filter::default() }).await.is_empty());
    assert_eq!(shown(&Filter { story: Some("A".into()), ..page(None, None) }).await, ["t9"]);
    assert!(shown(&Filter { role: Some(Role::architect()), ..page(None, None) }).await.is_empty());
    let counts = queue.counts().await.unwrap();
    let count = |state| counts[&(Role::dev(), state)];
    assert_eq!((count(QueueState::InProgress), count(QueueState::Queued)), (3, 7));
}

pub(crate) async fn a_task_comes_back_as_it_went_in(stage: &dyn Stage) {
    let queue = stage.queue();
    let whole = Entry {
        run: 3,
        role: Role::parse("role", "QA_2").unwrap(),
        story: Some("a story: with \"all\"\nkinds ü of = text".into()),
        plan: Some(String::new().into()),
        priority: Priority::read("77").unwrap(),
        enqueued_at: Timestamp(u64::MAX),
        needs: vec![id("one"), id("two")],
        on_failure: OnDependencyFailure::Run,
        ..entry("whole: ü/1", 1)
    };
    let waits = Entry {
        task: id("waits"),
        not_before: Some(Timestamp(u64::MAX)),
        hold: Some("a phase".into()),
        parked: true,
        ..whole.clone()
    };
    let ended = BTreeMap::from([(id("one"), QueueState::Completed), (id("two"), QueueState::Failed)]);
    queue.enqueue(vec![whole.clone(), waits.clone()], ended).await.unwrap();
    let rows = queue.list(&Filter { plan: whole.plan.clone(), limit: 9, ..Filter::default() }).await.unwrap();
    assert_eq!((&rows[0].entry, rows[0].open_needs, &rows[0].failed_needs), (&waits, 1, &vec![id("two")]));
    assert_eq!(rows[1].entry, whole);
    let taken = Claim { role: whole.role.clone(), most: 9, most_per_story: 1, holder: "".into() };
    let claimed = queue.claim(&taken).await.unwrap();
    assert_eq!((claimed.len(), &claimed[0].entry), (1, &whole));
}

pub(crate) async fn a_row_tells_what_a_task_waits_for(stage: &dyn Stage) {
    let queue = stage.queue();
    let entries =
        vec![entry("a", 1), entry("b", 2), entry("c", 3), needing("d", &["a", "b", "c"], OnDependencyFailure::Block)];
    put(queue, entries).await;
    let claimed = claim(queue, 9).await;
    queue.report(&lease(&claimed, "a"), Report::Completed).await.unwrap();
    queue.report(&lease(&claimed, "b"), Report::Failed).await.unwrap();
    let rows = queue.list(&Filter { limit: 9, ..Filter::default() }).await.unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (row.entry.task.as_str(), row.state)).collect();
    let states = [("b", QueueState::Failed), ("c", QueueState::InProgress), ("d", QueueState::Blocked)];
    assert_eq!(shown, states);
    assert_eq!((rows[2].open_needs, &rows[2].failed_needs), (2, &vec![id("b")]), "the failed one is open");
    assert_eq!((rows[0].fence, rows[1].fence), (None, Some(lease(&claimed, "c").fence)));
}
