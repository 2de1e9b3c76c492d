//! The window by itself: order per key, bounds, the gapless mark, floors.

use super::*;

fn item(seq: u64, key: &str) -> Item {
    Item { seq, event_id: Uuid::from_u128(seq.into()), key: key.into() }
}

fn window(limits: Limits) -> Window {
    let seen = Floors::from([("S".to_owned(), 10)]);
    Window::new(limits, Ground { read_from: seen.clone(), seen, ..Ground::default() })
}

fn wide() -> Window {
    window(Limits { in_flight: 256, ahead: 1_024 })
}

fn sendable(window: &mut Window) -> Vec<u64> {
    std::iter::from_fn(|| window.send()).collect()
}

#[test]
fn at_most_one_of_each_key_is_in_flight() {
    let mut window = wide();
    window.read(vec![item(1, "a"), item(2, "a"), item(3, "b"), item(4, "a")], true);
    assert_eq!(sendable(&mut window), [1, 3]);
    assert_eq!(window.acked(1, "S", 12, false), Acked::Well);
    assert_eq!(sendable(&mut window), [2]);
    window.refused(2);
    assert_eq!(sendable(&mut window), [4]);
}

#[test]
fn no_more_are_in_flight_or_read_than_may_be() {
    let mut window = window(Limits { in_flight: 2, ahead: 4 });
    window.read((1..=3).map(|seq| item(seq, &seq.to_string())).collect(), false);
    assert_eq!(window.room(), 1);
    assert_eq!(sendable(&mut window), [1, 2]);
    window.acked(2, "S", 11, false);
    assert_eq!(sendable(&mut window), [3]);
    // What is acknowledged out of turn still takes its place.
    assert_eq!(window.room(), 1);
    window.acked(1, "S", 12, false);
    assert_eq!(window.room(), 3);
}

#[test]
fn done_follows_the_gapless_part() {
    let mut window = wide();
    window.read(vec![item(3, "a"), item(7, "b"), item(9, "c")], true);
    sendable(&mut window);
    window.acked(7, "S", 11, false);
    assert_eq!(window.done_to(), 0);
    window.acked(3, "S", 12, false);
    assert_eq!(window.done_to(), 7);
    let checkpoint = window.checkpoint(5);
    let last = Some(Place { sequence: 12, event_id: Uuid::from_u128(3) });
    // 9 was sent when 10 was the last sequence known: it may stand at 11 or later.
    assert_eq!(checkpoint.marks, [Mark { stream: "S".into(), read_from: 10, last }]);
    window.refused(9);
    assert_eq!((window.done_to(), window.checkpoint(5).marks[0].read_from), (9, 12));
    assert!(window.is_idle());
}

#[test]
fn an_old_sequence_shows_a_server_set_back() {
    let mut window = wide();
    window.read(vec![item(1, "a"), item(2, "b")], true);
    sendable(&mut window);
    assert_eq!(window.acked(1, "S", 10, false), Acked::SetBack);
    // The same from a duplicate is what it says: it stood there before.
    assert_eq!(window.acked(2, "S", 9, true), Acked::Well);
}

#[test]
fn what_stands_in_the_tail_is_not_sent() {
    let ground = Ground {
        seq: 4,
        seen: Floors::from([("S".to_owned(), 20)]),
        read_from: Floors::from([("S".to_owned(), 15)]),
        present: BTreeMap::from([(Uuid::from_u128(6), ("S".to_owned(), 17))]),
        ..Ground::default()
    };
    let mut window = Window::new(Limits { in_flight: 9, ahead: 9 }, ground);
    assert_eq!(window.read(vec![item(4, "x"), item(5, "a"), item(6, "a")], false), [6]);
    assert_eq!(sendable(&mut window), [5]);
    // Others of the tail may still be read: a later look must begin where this one did.
    assert_eq!(window.checkpoint(0).marks[0].read_from, 15);
    window.acked(5, "S", 21, false);
    assert_eq!(window.done_to(), 6);
    window.read(Vec::new(), true);
    assert_eq!(window.checkpoint(0).marks[0].read_from, 21);
}

#[test]
fn a_refusal_or_an_acknowledgement_twice_changes_nothing() {
    let mut window = wide();
    window.read(vec![item(1, "a"), item(2, "a")], true);
    sendable(&mut window);
    window.refused(1);
    window.refused(1);
    window.acked(1, "S", 11, false);
    assert_eq!(sendable(&mut window), [2]);
    assert_eq!(sendable(&mut window), Vec::<u64>::new());
}
