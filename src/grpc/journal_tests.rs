//! Reading the journal by pages, and the names of backups.

use futures::StreamExt;
use moothall_actors::testing::MemoryJournal;
use tonic::Code;

use super::super::fixtures::{journal_of, write};
use super::*;
use crate::http::Readiness;

fn cursor(journal: &MemoryJournal, request: &wire::ReadRequest, readiness: &Readiness) -> Cursor {
    let (query, left) = query(request).unwrap();
    Cursor {
        journal: Arc::new(journal.clone()),
        query,
        left,
        follow: request.follow,
        stage: readiness.subscribe(),
        page: Vec::new().into_iter(),
        end: false,
        read_at: Instant::now(),
    }
}

async fn seqs(journal: &MemoryJournal, request: wire::ReadRequest) -> Vec<i64> {
    let events = cursor(journal, &request, &Readiness::default()).events(shown).await.unwrap();
    events.map(|event| event.unwrap().seq).collect().await
}

#[tokio::test]
async fn all_events_are_read_page_by_page() {
    let journal = journal_of(PAGE as u64 * 2 + 5).await;
    let read = seqs(&journal, wire::ReadRequest::default()).await;
    assert_eq!(read, (1..=PAGE as i64 * 2 + 5).collect::<Vec<_>>());
}

#[tokio::test]
async fn filters_limit_and_place_hold_together() {
    let journal = journal_of(300).await;
    let request = wire::ReadRequest {
        after_seq: 2,
        limit: 3,
        stream_prefix: "council/".into(),
        types: vec!["RoleResumed".into()],
        ..Default::default()
    };
    assert_eq!(seqs(&journal, request).await, [4, 6, 8]);
    let none =
        wire::ReadRequest { stream_prefix: "council/".into(), types: vec!["TaskRetried".into()], ..Default::default() };
    assert!(seqs(&journal, none).await.is_empty());
}

#[tokio::test]
async fn times_have_a_first_and_an_end_that_is_not_part_of_them() {
    let journal = journal_of(200).await;
    let between = |since_ms, until_ms| wire::ReadRequest { since_ms, until_ms, ..Default::default() };
    assert_eq!(seqs(&journal, between(150, 153)).await, [150, 151, 152]);
    assert_eq!(seqs(&journal, between(199, 0)).await, [199, 200]);
    assert_eq!(seqs(&journal, between(0, 3)).await, [1, 2]);
    assert_eq!(seqs(&journal, between(201, 0)).await, [0; 0]);
}

#[tokio::test]
async fn an_event_is_shown_as_it_was_stored() {
    let journal = journal_of(1).await;
    let read = cursor(&journal, &wire::ReadRequest::default(), &Readiness::default()).next().await.unwrap();
    let event = shown(read.unwrap()).unwrap();
    assert_eq!((event.stream.as_str(), event.r#type.as_str(), event.version), ("task/T-1", "TaskRetried", 1));
    assert_eq!(&event.payload[..], br#"{"run":2}"#);
    assert_eq!(event.event_id, "00000000-0000-0000-0000-000000000001");
}

#[tokio::test(start_paused = true)]
async fn a_follower_sees_what_is_written_later_and_ends_with_the_daemon() {
    let journal = journal_of(1).await;
    let readiness = Readiness::default();
    readiness.enter(Stage::Ready);
    let request = wire::ReadRequest { follow: true, ..Default::default() };
    let mut events = Box::pin(cursor(&journal, &request, &readiness).events(shown).await.unwrap());
    assert_eq!(events.next().await.unwrap().unwrap().seq, 1);
    assert!(futures::poll!(events.next()).is_pending());
    write(&journal, 2).await;
    assert_eq!(events.next().await.unwrap().unwrap().seq, 2);
    readiness.enter(Stage::Draining);
    assert_eq!(events.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(events.next().await.is_none());
}

#[test]
fn unknown_types_and_negative_places_are_named_at_once() {
    let request =
        wire::ReadRequest { after_seq: -1, limit: -1, types: vec!["TaskRetired".into()], ..Default::default() };
    let status = query(&request).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for part in ["after_seq", "limit", "types[0]", "TaskRetried"] {
        assert!(status.message().contains(part), "{part} in {}", status.message());
    }
}

#[test]
fn times_that_nothing_can_be_between_are_refused() {
    let refused = |since_ms, until_ms, follow| {
        let request = wire::ReadRequest { since_ms, until_ms, follow, ..Default::default() };
        query(&request).unwrap_err().message().to_owned()
    };
    assert_eq!(
        refused(-1, -2, false),
        "since_ms is -1; allowed are 0 and above; until_ms is -2; allowed are 0 and above"
    );
    assert_eq!(refused(5, 5, false), "until_ms is 5; allowed is a time after since_ms, 5");
    assert!(refused(0, 5, true).contains("follow"));
}

#[test]
fn a_backup_has_a_plain_name() {
    for good in ["a", "moothall-1.db", "A_b.c-d", &"x".repeat(128)] {
        assert!(is_plain_name(good), "{good}");
    }
    for bad in ["", ".", "..", ".hidden", "-rf", "a/b", "/etc/passwd", "a\\b", "a b", "ä", "a\0", &"x".repeat(129)] {
        assert!(!is_plain_name(bad), "{bad:?}");
    }
}

#[test]
fn a_failed_backup_says_why_and_in_which_way() {
    assert_eq!(not_made(&BackupError::Exists("a.db".into())).code(), Code::AlreadyExists);
    assert_eq!(not_made(&BackupError::NotPossible("the store is in memory".into())).code(), Code::FailedPrecondition);
    assert_eq!(not_made(&BackupError::Failed("disk full".into())).code(), Code::Unavailable);
}
