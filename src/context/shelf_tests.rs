//! Many callers, few fetches, and what events do to those under way: in virtual time.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use moothall_actors::ports::{Blocks, StoryPhase};
use proptest::prelude::*;
use tokio::time::{advance, sleep};

use super::*;

const AGE: Duration = Duration::from_secs(600);
const TRIP: Duration = Duration::from_secs(1);

type Asked = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A shelf before a service that takes a second and counts its calls.
#[derive(Clone)]
struct Stand {
    shelf: Shelf,
    calls: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
}

impl Stand {
    fn new() -> Self {
        let shelf = Shelf::new(Limits { entries: 8, bytes: 10_000, age: AGE });
        Self { shelf, calls: Arc::default(), ended: Arc::default() }
    }

    /// Asks; the service would bring this version.
    fn ask(&self, story: &str, version: &'static str) -> Asked {
        self.ask_for(story, async move {
            sleep(TRIP).await;
            Ok(context(version))
        })
    }

    fn ask_for(&self, story: &str, trip: impl Future<Output = Outcome> + Send + 'static) -> Asked {
        let (stand, query) = (self.clone(), query(story));
        Box::pin(async move {
            let fetch = || {
                stand.calls.fetch_add(1, Ordering::Relaxed);
                let ended = Arc::clone(&stand.ended);
                async move {
                    let outcome = trip.await;
                    ended.fetch_add(1, Ordering::Relaxed);
                    outcome
                }
            };
            stand.shelf.get(&query, &"http://context:1".into(), fetch).await
        })
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        let inner = self.shelf.lock();
        inner.flights.is_empty() && inner.current.is_empty()
    }

    fn kept(&self, story: &str) -> Option<Arc<str>> {
        let kept = self.shelf.lock().cache.get(&query(story), Instant::now());
        kept.map(|context| context.version)
    }
}

fn query(story: &str) -> ContextQuery {
    ContextQuery::new(story, "DEV", StoryPhase::Build)
}

fn context(version: &str) -> Context {
    Context {
        text: "text".into(),
        token_count: 1,
        scopes: [].into(),
        version: version.into(),
        version_hash: "".into(),
        blocks: Blocks::default(),
    }
}

fn failure(class: Class) -> ContextError {
    ContextError { class, message: "it failed".into() }
}

fn version(outcome: Outcome) -> Arc<str> {
    outcome.unwrap().version
}

/// Lets a caller begin without waiting for it.
async fn begin(asked: &mut Asked) {
    assert!(poll_immediate(asked).await.is_none(), "answered at once");
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_ask_the_service_once() {
    let stand = Stand::new();
    let answers = join_all((0..1_000).map(|_| stand.ask("s", "v1"))).await;
    assert!(answers.into_iter().all(|answer| &*version(answer) == "v1"));
    assert_eq!(stand.calls(), 1);
    assert_eq!(&*version(stand.ask("s", "v2").await), "v1", "and those who come later none");
    assert_eq!(stand.calls(), 1);
    assert!(stand.is_idle());
}

#[tokio::test(start_paused = true)]
async fn another_story_is_another_call() {
    let stand = Stand::new();
    let (one, two) = tokio::join!(stand.ask("s", "v1"), stand.ask("t", "v2"));
    assert_eq!((&*version(one), &*version(two)), ("v1", "v2"));
    assert_eq!(stand.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_it_is_asked_again() {
    let stand = Stand::new();
    stand.ask("s", "v1").await.unwrap();
    advance(AGE - Duration::from_millis(1)).await;
    assert_eq!(&*version(stand.ask("s", "v2").await), "v1");
    advance(Duration::from_millis(1)).await;
    assert_eq!(&*version(stand.ask("s", "v2").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_and_not_kept() {
    let stand = Stand::new();
    let failing = || stand.ask_for("s", async { Err(failure(Class::Transient)) });
    let answers = join_all([failing(), failing()]).await;
    assert_eq!(answers, [Err(failure(Class::Transient)), Err(failure(Class::Transient))]);
    assert_eq!(&*version(stand.ask("s", "v1").await), "v1");
}

#[tokio::test(start_paused = true)]
async fn who_asked_first_may_leave() {
    let stand = Stand::new();
    let (mut first, mut second) = (stand.ask("s", "v1"), stand.ask("s", "v2"));
    begin(&mut first).await;
    begin(&mut second).await;
    drop(first);
    assert_eq!(&*version(second.await), "v1");
    assert_eq!(stand.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_ends() {
    let stand = Stand::new();
    let (mut first, mut second) = (stand.ask("s", "v1"), stand.ask("s", "v1"));
    begin(&mut first).await;
    begin(&mut second).await;
    drop((first, second));
    assert!(stand.is_idle());
    sleep(2 * TRIP).await;
    assert_eq!((stand.kept("s"), stand.ended.load(Ordering::Relaxed)), (None, 0));
    assert_eq!(&*version(stand.ask("s", "v2").await), "v2");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_dies_takes_nobody_with_it() {
    let stand = Stand::new();
    let dying = || stand.ask_for("s", async { std::panic::panic_any("a bug") });
    for answer in join_all([dying(), dying()]).await {
        let error = answer.unwrap_err();
        assert_eq!(error.class, Class::Gone);
        assert!(error.message.contains("http://context:1"), "{error}");
    }
    assert!(stand.is_idle());
    assert_eq!(&*version(stand.ask("s", "v1").await), "v1");
}

#[tokio::test(start_paused = true)]
async fn an_event_drops_what_is_kept_unless_it_has_that_version() {
    let stand = Stand::new();
    stand.ask("s", "v1").await.unwrap();
    stand.shelf.invalidate("t", None);
    stand.shelf.invalidate("s", Some("v1"));
    assert_eq!(stand.kept("s").as_deref(), Some("v1"));
    stand.shelf.invalidate("s", Some("v2"));
    assert_eq!(stand.kept("s"), None);
}

#[tokio::test(start_paused = true)]
async fn an_event_parts_what_is_under_way() {
    let stand = Stand::new();
    let mut early = stand.ask("s", "v1");
    begin(&mut early).await;
    stand.shelf.invalidate("s", Some("v2"));
    let mut late = stand.ask("s", "v2");
    begin(&mut late).await;
    assert_eq!(&*version(early.await), "v1", "who waits gets it");
    assert_eq!(stand.kept("s"), None, "and it is not kept");
    assert_eq!(&*version(late.await), "v2", "who came later has asked anew");
    assert_eq!((stand.kept("s").as_deref(), stand.calls()), (Some("v2"), 2));
    assert!(stand.is_idle());
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_is_kept_if_it_has_the_events_version() {
    for (events, kept) in [
        (&[Some("v2")][..], true),
        (&[Some("v2"), Some("v2")], true),
        (&[Some("v1"), Some("v2")], false),
        (&[Some("v2"), None], false),
        (&[None], false),
    ] {
        let stand = Stand::new();
        let mut asked = stand.ask("s", "v2");
        begin(&mut asked).await;
        events.iter().for_each(|version| stand.shelf.invalidate("s", *version));
        asked.await.unwrap();
        assert_eq!(stand.kept("s").is_some(), kept, "{events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_an_event_replaces_nothing_newer() {
    let stand = Stand::new();
    let mut slow = stand.ask_for("s", async {
        sleep(5 * TRIP).await;
        Ok(context("v2"))
    });
    begin(&mut slow).await;
    stand.shelf.invalidate("s", Some("v2"));
    assert_eq!(&*version(stand.ask("s", "v3").await), "v3");
    assert_eq!(&*version(slow.await), "v2");
    assert_eq!(stand.kept("s").as_deref(), Some("v3"));
}

/// What happens around one story.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Leave(usize),
    /// The story changes, and the event comes at once.
    Change,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        1 => (0..8_usize).prop_map(Step::Leave),
        2 => Just(Step::Change),
        3 => (0..1_500_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..40)
}

/// Every caller is answered with a version no older than when it asked, and nothing old is ever kept.
async fn nobody_gets_what_was_old_when_it_asked(steps: Vec<Step>) {
    let stand = Stand::new();
    let newest = Arc::new(AtomicU32::new(0));
    let mut waiting: Vec<(u32, Asked)> = Vec::new();
    for step in steps {
        match step {
            Step::Ask => {
                let read = Arc::clone(&newest);
                // The service reads the story when the call reaches it.
                let trip = async move {
                    let version = read.load(Ordering::Relaxed);
                    sleep(TRIP).await;
                    Ok(context(&version.to_string()))
                };
                waiting.push((newest.load(Ordering::Relaxed), stand.ask_for("s", trip)));
            }
            Step::Leave(at) if at < waiting.len() => drop(waiting.remove(at)),
            Step::Leave(_) => {}
            Step::Change => {
                let version = newest.fetch_add(1, Ordering::Relaxed) + 1;
                stand.shelf.invalidate("s", Some(&version.to_string()));
            }
            Step::Wait(millis) => sleep(Duration::from_millis(millis)).await,
        }
        waiting = settle(waiting);
        let kept = stand.kept("s").map(|version| version.parse::<u32>().unwrap());
        assert!(kept.is_none_or(|kept| kept == newest.load(Ordering::Relaxed)), "{kept:?}");
    }
    for (asked, answer) in waiting {
        assert!(version(answer.await).parse::<u32>().unwrap() >= asked);
    }
    assert!(stand.is_idle());
}

/// Polls all once and checks those that were answered.
fn settle(waiting: Vec<(u32, Asked)>) -> Vec<(u32, Asked)> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut left = Vec::new();
    for (asked, mut answer) in waiting {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => assert!(version(outcome).parse::<u32>().unwrap() >= asked),
            Poll::Pending => left.push((asked, answer)),
        }
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn callers_events_and_leavers_in_any_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(nobody_gets_what_was_old_when_it_asked(steps));
    }
}
