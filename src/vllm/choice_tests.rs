//! The choice of a replica: tables of cases, and what holds for any pool.

use moothall_actors::domain::id::TaskId;
use proptest::prelude::*;

use super::*;

fn key(task: &str, run: u32) -> Key {
    Key::of(&RunId { task: TaskId::parse("task", task).unwrap(), run })
}

fn pool(outstanding: &[usize]) -> Vec<Candidate> {
    let candidate = |(place, &outstanding): (usize, &usize)| {
        let name = Name::of(&format!("http://gpu-{place}:8000"));
        Candidate { name, outstanding, admits: true }
    };
    outstanding.iter().enumerate().map(candidate).collect()
}

/// The places of an idle pool in the order in which this key prefers them.
fn preferred(key: Key, replicas: usize) -> Vec<usize> {
    let pool = pool(&vec![0; replicas]);
    let mut places: Vec<_> = (0..replicas).collect();
    places.sort_by_key(|&place| std::cmp::Reverse(pool[place].name.weight(key)));
    places
}

fn home(key: Key, candidates: &[Candidate]) -> Name {
    let (place, placement) = by_prefix(key, candidates, None).unwrap();
    assert_eq!(placement, Placement::Home);
    candidates[place].name
}

#[test]
fn a_key_and_a_name_are_the_same_in_every_process() {
    assert_eq!(key("t-1", 1), Key(0x7bc3_8577_a71d_2a3e));
    assert_eq!(Name::of("http://gpu-0:8000"), Name(0x7333_87df_9cdb_d109));
    assert_ne!(key("t-1", 1), key("t-1", 2));
}

/// Outstanding calls by preference, who is left alone, who failed last, and who is asked then.
type Case<'a> = (&'a str, [usize; 4], &'a [usize], Option<usize>, (usize, Placement));

#[test]
fn the_home_is_left_only_for_a_reason() {
    let key = key("t-1", 1);
    let order = preferred(key, 4);
    let (first, second, third) = (order[0], order[1], order[2]);
    let cases: [Case<'_>; 9] = [
        ("all idle", [0, 0, 0, 0], &[], None, (first, Placement::Home)),
        ("a wave that stays together", [5, 0, 0, 0], &[], None, (first, Placement::Home)),
        ("more than the bound", [6, 0, 0, 0], &[], None, (second, Placement::Load)),
        ("as busy as the others", [900, 900, 900, 900], &[], None, (first, Placement::Home)),
        ("both above the bound", [30, 30, 1, 0], &[], None, (third, Placement::Load)),
        ("left alone", [0, 0, 0, 0], &[first], None, (second, Placement::Breaker)),
        ("left alone, the next too busy", [0, 50, 0, 0], &[first], None, (third, Placement::Breaker)),
        ("failed just now", [0, 0, 0, 0], &[], Some(first), (second, Placement::Retry)),
        ("the next one failed", [0, 0, 0, 0], &[], Some(second), (first, Placement::Home)),
    ];
    for (name, by_preference, alone, last, expected) in cases {
        let mut outstanding = [0; 4];
        order.iter().zip(by_preference).for_each(|(&place, calls)| outstanding[place] = calls);
        let mut pool = pool(&outstanding);
        alone.iter().for_each(|&place| pool[place].admits = false);
        assert_eq!(by_prefix(key, &pool, last), Some(expected), "{name}");
    }
}

#[test]
fn the_only_one_left_is_asked_again_and_none_is_none() {
    let mut pool = pool(&[7, 0]);
    pool[1].admits = false;
    let chosen = by_prefix(key("t-1", 1), &pool, Some(0)).map(|(place, _)| place);
    assert_eq!((chosen, least_outstanding(&pool, Some(0), 3)), (Some(0), Some(0)));
    pool[0].admits = false;
    assert_eq!((by_prefix(key("t-1", 1), &pool, None), least_outstanding(&pool, None, 0)), (None, None));
    assert_eq!((by_prefix(key("t-1", 1), &[], None), least_outstanding(&[], None, 0)), (None, None));
}

#[test]
fn equal_ones_take_turns_and_the_least_busy_goes_first() {
    let idle = pool(&[2, 2, 2]);
    let turns: Vec<_> = (0..4).filter_map(|turn| least_outstanding(&idle, None, turn)).collect();
    assert_eq!(turns, [0, 1, 2, 0]);
    assert_eq!(least_outstanding(&pool(&[2, 1, 2]), None, 0), Some(1));
    assert_eq!(least_outstanding(&pool(&[2, 1, 2]), Some(1), 2), Some(2));
}

#[test]
fn deliberations_spread_evenly() {
    for replicas in [2, 3, 4, 8, 16] {
        let (pool, tasks) = (pool(&vec![0; replicas]), 16_000);
        let mut homes = vec![0usize; replicas];
        for task in 0..tasks {
            let (place, _) = by_prefix(key(&format!("task-{task}"), 1), &pool, None).unwrap();
            homes[place] += 1;
        }
        let even = tasks / replicas;
        // Six deviations of a fair draw at the largest pool.
        assert!(homes.iter().all(|&count| count.abs_diff(even) <= even / 5), "{homes:?}");
    }
}

proptest! {
    #[test]
    fn a_replica_that_comes_or_goes_moves_only_its_own(
        task in "[a-z0-9-]{1,40}",
        run in 1..9u32,
        replicas in 2..12usize,
        gone in 0..12usize,
    ) {
        let (key, all) = (key(&task, run), pool(&vec![0; replicas]));
        let gone = all[gone % replicas].name;
        let left: Vec<_> = all.iter().copied().filter(|candidate| candidate.name != gone).collect();
        let before = home(key, &all);
        if before == gone {
            prop_assert_ne!(home(key, &left), gone);
        } else {
            prop_assert_eq!(home(key, &left), before);
        }
    }

    #[test]
    fn the_order_in_the_configuration_does_not_matter(
        task in "[a-z0-9-]{1,40}",
        replicas in 1..12usize,
        turned in 0..12usize,
    ) {
        let (key, all) = (key(&task, 1), pool(&vec![0; replicas]));
        let mut other = all.clone();
        other.rotate_left(turned % replicas);
        prop_assert_eq!(home(key, &all), home(key, &other));
    }

    #[test]
    fn nobody_above_the_bound_is_given_more(
        loads in prop::collection::vec((0..2_000usize, any::<bool>()), 1..12),
        task in "[a-z0-9-]{1,40}",
        last in prop::option::of(0..12usize),
    ) {
        let mut pool = pool(&loads.iter().map(|(outstanding, _)| *outstanding).collect::<Vec<_>>());
        pool.iter_mut().zip(&loads).for_each(|(candidate, (_, admits))| candidate.admits = *admits);
        let chosen = by_prefix(key(&task, 1), &pool, last);
        prop_assert_eq!(chosen.is_some(), pool.iter().any(|candidate| candidate.admits));
        if let Some((place, _)) = chosen {
            let asked: Vec<_> = eligible(&pool, last).collect();
            let mean = (asked.iter().map(|&place| pool[place].outstanding).sum::<usize>() + 1) as f64 / asked.len() as f64;
            prop_assert!(asked.contains(&place) && pool[place].admits);
            prop_assert!((pool[place].outstanding + 1) as f64 <= mean.ceil() + SLACK as f64);
            prop_assert!(last != Some(place) || asked.len() == 1);
        }
    }

    #[test]
    fn queues_never_drift_further_apart_than_the_slack(tasks in prop::collection::vec(0..6usize, 1..400), replicas in 2..8usize) {
        let mut pool = pool(&vec![0; replicas]);
        for task in tasks {
            let (place, _) = by_prefix(key(&format!("hot-{task}"), 1), &pool, None).unwrap();
            pool[place].outstanding += 1;
        }
        let all: usize = pool.iter().map(|candidate| candidate.outstanding).sum();
        let most = pool.iter().map(|candidate| candidate.outstanding).max().unwrap();
        prop_assert!(most <= all.div_ceil(replicas) + SLACK);
    }
}
