//! Spec Kit's order: what its phases and `[P]` labels make wait for what.
//!
//! ```text
//! ## Setup         T001            ─┐ a phase is a barrier
//! ## Foundational  T002 [P]         ├─ T002 and T003 are a wave …
//!                  T003 [P]         │
//!                  T004            ─┘ … that T004 waits for, and that waits for T001
//! ```
//!
//! Each group waits for the whole group before it, and so for all before that. Within a wave, tasks that name the same
//! path run one after the other.

use std::collections::BTreeMap;

use super::super::limit::MAX_DEPENDENCIES;
use super::path;
use super::spec_kit::Item;

/// For each item the places of those that it waits for because of where it stands; `None` when there would be
/// too many.
pub(crate) fn needs(items: &[Item<'_>]) -> Option<Vec<Vec<usize>>> {
    let groups = groups(items);
    let count: usize = groups.windows(2).map(|pair| pair.iter().map(Vec::len).product::<usize>()).sum();
    if count > MAX_DEPENDENCIES {
        return None;
    }
    let mut all = vec![Vec::new(); items.len()];
    let mut before: &[usize] = &[];
    for group in &groups {
        let mut last_with: BTreeMap<String, usize> = BTreeMap::new();
        for &place in group {
            let (Some(item), Some(needed)) = (items.get(place), all.get_mut(place)) else { continue };
            needed.extend_from_slice(before);
            needed.extend(path::named(item.text).into_iter().filter_map(|path| last_with.insert(path, place)));
        }
        before = group;
    }
    Some(all)
}

/// Runs of `[P]` tasks of one phase, and each other task by itself.
fn groups(items: &[Item<'_>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let last = place.checked_sub(1).and_then(|before| items.get(before));
        let joins = last.is_some_and(|last| last.parallel && item.parallel && last.phase == item.phase);
        match groups.last_mut().filter(|_| joins) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}
