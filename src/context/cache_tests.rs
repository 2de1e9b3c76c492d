//! What the cache keeps, for how long, and what goes first.

use moothall_actors::ports::{Blocks, StoryPhase};
use proptest::prelude::*;

use super::*;

const AGE: Duration = Duration::from_secs(600);

fn query(story: &str, subtask: usize) -> ContextQuery {
    ContextQuery { subtask_id: subtask.to_string().into(), ..ContextQuery::new(story, "DEV", StoryPhase::Build) }
}

fn context(text: &str, version: &str) -> Context {
    Context {
        text: text.into(),
        token_count: 1,
        scopes: [].into(),
        version: version.into(),
        version_hash: "".into(),
        blocks: Blocks::default(),
    }
}

fn cache(entries: usize, bytes: usize) -> Cache {
    Cache::new(Limits { entries, bytes, age: AGE })
}

/// Each entry stands once in the order, and the sum is that of the entries.
fn assert_sound(cache: &Cache) {
    assert_eq!(cache.order.len(), cache.entries.len());
    assert!(cache.order.iter().all(|(used, query)| cache.entries[query].used == *used));
    assert_eq!(cache.bytes, cache.entries.iter().map(|(query, entry)| size(query, &entry.context)).sum::<usize>());
    assert!(cache.entries.len() <= cache.limits.entries && cache.bytes <= cache.limits.bytes);
}

#[test]
fn at_most_4096_are_kept_and_the_one_not_used_for_longest_goes() {
    let now = Instant::now();
    let mut cache = Cache::new(Limits::from(&ContextSettings::default()));
    (0..4_096).for_each(|n| cache.insert(query("s", n).into(), context("text", "v1"), now));
    assert_eq!(cache.entries.len(), 4_096);
    assert!(cache.get(&query("s", 0), now).is_some(), "used again: the next one goes instead");
    cache.insert(query("s", 4_096).into(), context("text", "v1"), now);
    assert_eq!(cache.entries.len(), 4_096);
    assert!(cache.contains(&query("s", 0)) && cache.contains(&query("s", 4_096)));
    assert!(!cache.contains(&query("s", 1)));
    assert_sound(&cache);
}

#[test]
fn at_most_64_mib_of_text_are_kept() {
    let now = Instant::now();
    let mut cache = Cache::new(Limits::from(&ContextSettings::default()));
    let text = "x".repeat(1 << 20);
    (0..70).for_each(|n| cache.insert(query("s", n).into(), context(&text, "v1"), now));
    assert_eq!(cache.entries.len(), 63, "names and versions count too");
    assert!(cache.bytes <= 64 << 20);
    assert!(!cache.contains(&query("s", 6)) && cache.contains(&query("s", 7)));
    assert_sound(&cache);
}

#[test]
fn blocks_and_scopes_are_text_too() {
    let bare = size(&query("s", 0), &context("text", "v1"));
    let blocks = Blocks { system: "12".into(), context: "345".into(), tools: "6".into() };
    let full = Context { blocks, scopes: ["789".into()].into(), ..context("text", "v1") };
    assert_eq!(size(&query("s", 0), &full), bare + 9);
}

#[test]
fn what_is_larger_than_all_room_drives_nothing_out() {
    let now = Instant::now();
    let mut cache = cache(4, 100);
    cache.insert(query("s", 0).into(), context("small", "v1"), now);
    cache.insert(query("s", 1).into(), context(&"x".repeat(101), "v1"), now);
    assert!(cache.contains(&query("s", 0)) && !cache.contains(&query("s", 1)));
    cache.insert(query("s", 0).into(), context(&"x".repeat(101), "v2"), now);
    assert!(!cache.contains(&query("s", 0)), "what it replaces is older");
    assert_sound(&cache);
}

#[test]
fn an_entry_lives_ten_minutes_however_often_it_is_used() {
    let start = Instant::now();
    let mut cache = cache(4, 1_000);
    cache.insert(query("s", 0).into(), context("text", "v1"), start);
    assert!(cache.get(&query("s", 0), start + AGE / 2).is_some());
    assert!(cache.get(&query("s", 0), start + AGE - Duration::from_millis(1)).is_some());
    assert!(cache.get(&query("s", 0), start + AGE).is_none());
    assert_sound(&cache);
    assert_eq!(cache.bytes, 0);
}

#[test]
fn each_part_of_the_query_matters() {
    let now = Instant::now();
    let mut cache = cache(8, 1_000);
    let asked = query("s", 0);
    cache.insert(asked.clone().into(), context("text", "v1"), now);
    for other in [
        ContextQuery { story_id: "t".into(), ..asked.clone() },
        ContextQuery { role: "QA".into(), ..asked.clone() },
        ContextQuery { phase: StoryPhase::Test, ..asked.clone() },
        ContextQuery { subtask_id: "".into(), ..asked.clone() },
        ContextQuery { token_budget: 201, ..asked.clone() },
    ] {
        assert!(cache.get(&other, now).is_none(), "{other:?}");
    }
    assert!(cache.get(&asked, now).is_some());
}

#[test]
fn an_event_drops_the_storys_other_versions() {
    let now = Instant::now();
    let mut cache = cache(8, 1_000);
    cache.insert(query("s", 0).into(), context("text", "v1"), now);
    cache.insert(query("s", 1).into(), context("text", "v2"), now);
    cache.insert(query("t", 0).into(), context("text", "v1"), now);
    cache.invalidate("s", Some("v2"));
    assert!(!cache.contains(&query("s", 0)) && cache.contains(&query("s", 1)) && cache.contains(&query("t", 0)));
    cache.invalidate("s", None);
    assert!(!cache.contains(&query("s", 1)) && cache.contains(&query("t", 0)));
    assert_sound(&cache);
}

/// What happens to a cache.
#[derive(Clone, Debug)]
enum Step {
    Get(usize),
    Insert(usize, usize, u8),
    Invalidate(usize, Option<u8>),
    Wait(u64),
}

const STORIES: [&str; 3] = ["r", "s", "t"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..12_usize).prop_map(Step::Get),
        4 => (0..12_usize, 0..60_usize, 0..3_u8).prop_map(|(n, len, version)| Step::Insert(n, len, version)),
        1 => (0..3_usize, proptest::option::of(0..3_u8)).prop_map(|(story, version)| Step::Invalidate(story, version)),
        1 => (0..400_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The same, done simply: the last used one stands at the end.
struct Model {
    entries: usize,
    bytes: usize,
    kept: Vec<(ContextQuery, Context, Instant)>,
}

impl Model {
    fn get(&mut self, query: &ContextQuery, now: Instant) -> Option<Context> {
        let at = self.kept.iter().position(|(kept, ..)| kept == query)?;
        let found = self.kept.remove(at);
        let fresh = now - found.2 < AGE;
        fresh.then(|| {
            self.kept.push(found.clone());
            found.1
        })
    }

    fn insert(&mut self, query: ContextQuery, context: Context, now: Instant) {
        self.kept.retain(|(kept, ..)| *kept != query);
        self.kept.push((query, context, now));
        let bytes = |kept: &[(ContextQuery, Context, Instant)]| -> usize {
            kept.iter().map(|(query, context, _)| size(query, context)).sum()
        };
        if bytes(&self.kept[self.kept.len() - 1..]) > self.bytes {
            self.kept.pop();
        }
        while self.kept.len() > self.entries || bytes(&self.kept) > self.bytes {
            self.kept.remove(0);
        }
    }
}

proptest! {
    #[test]
    fn it_keeps_what_a_simple_list_would_keep(steps in steps(), entries in 1_usize..8, bytes in 20_usize..300) {
        let mut now = Instant::now();
        let (mut cache, mut model) = (cache(entries, bytes), Model { entries, bytes, kept: Vec::new() });
        let named = |n: usize| query(STORIES[n % 3], n);
        for step in steps {
            match step {
                Step::Get(n) => prop_assert_eq!(cache.get(&named(n), now), model.get(&named(n), now)),
                Step::Insert(n, len, version) => {
                    let context = context(&"x".repeat(len), &format!("v{version}"));
                    cache.insert(named(n).into(), context.clone(), now);
                    model.insert(named(n), context, now);
                }
                Step::Invalidate(story, version) => {
                    let version = version.map(|version| format!("v{version}"));
                    cache.invalidate(STORIES[story], version.as_deref());
                    model.kept.retain(|(query, context, _)| {
                        *query.story_id != *STORIES[story] || version.as_deref() == Some(&*context.version)
                    });
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            assert_sound(&cache);
            prop_assert_eq!(cache.entries.len(), model.kept.len());
            prop_assert!(model.kept.iter().all(|(query, ..)| cache.contains(query)));
        }
    }
}
