//! Which replica a call goes to: the one that has read the deliberation's prefix already, unless it has too much to do.
//!
//! ```text
//!  key of the run ─▶ every replica's weight ─▶ home = the highest of all
//!                                                │
//!  may be asked (breaker, not the one that just failed) and within the bound? ── no ─▶ the next highest that is
//! ```
//!
//! Nothing is remembered and nothing is drawn, so the same call finds the same home after a restart and from another
//! daemon, and a replica that comes or goes moves only the deliberations that are its own.

use moothall_actors::domain::id::RunId;

/// How many calls above the mean a replica may have and still be given one more.
///
/// Six calls of one deliberation stay together on idle servers. More than this and a few long queues make the slowest
/// deliberations slower than an even spread does; less and a crowded pool tears deliberations apart. A share of the
/// mean instead would let queues grow apart as they grow.
const SLACK: usize = 4;

/// What all calls of one run have in common, as a number that is the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) fn of(run: &RunId) -> Self {
        Self(mixed(digest(run.task.as_str().as_bytes()) ^ u64::from(run.run)))
    }
}

/// A replica's address as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(u64);

impl Name {
    pub(crate) fn of(address: &str) -> Self {
        Self(mixed(digest(address.as_bytes())))
    }

    /// The highest of all replicas is the key's home.
    fn weight(self, key: Key) -> u64 {
        mixed(self.0 ^ key.0)
    }
}

/// A replica as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) name: Name,
    /// Calls at it or waiting for it.
    pub(crate) outstanding: usize,
    /// Whether its breaker lets a call through.
    pub(crate) admits: bool,
}

/// Why a call is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    Home,
    /// Its home had more calls than the bound.
    Load,
    /// Its home is left alone after failures.
    Breaker,
    /// Its home has just failed it.
    Retry,
}

impl Placement {
    pub(crate) const ALL: [Self; 4] = [Self::Home, Self::Load, Self::Breaker, Self::Retry];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Load => "load",
            Self::Breaker => "breaker",
            Self::Retry => "retry",
        }
    }
}

/// The place of the replica to ask, and why that one; `last` is asked again only if it is the only one.
pub(crate) fn by_prefix(key: Key, candidates: &[Candidate], last: Option<usize>) -> Option<(usize, Placement)> {
    let weight = |&place: &usize| candidates[place].name.weight(key);
    let home = (0..candidates.len()).max_by_key(weight)?;
    let open = || eligible(candidates, last);
    let outstanding: usize = open().map(|place| candidates[place].outstanding).sum();
    let limit = limit(outstanding, open().count());
    // The least busy one is never above the mean, so at least one is within the limit.
    let place = open().max_by_key(|place| (candidates[*place].outstanding < limit, weight(place)))?;
    let why_not_home = if !candidates[home].admits {
        Placement::Breaker
    } else if last == Some(home) {
        Placement::Retry
    } else {
        Placement::Load
    };
    Some((place, if place == home { Placement::Home } else { why_not_home }))
}

/// The place of the replica with the fewest calls; equal ones take turns.
pub(crate) fn least_outstanding(candidates: &[Candidate], last: Option<usize>, turn: usize) -> Option<usize> {
    let count = candidates.len();
    let from_turn = |place: usize| (place + count - turn % count) % count;
    eligible(candidates, last).min_by_key(|&place| (candidates[place].outstanding, from_turn(place)))
}

/// Those that may be asked: all but the `last`, or that one when there is no other.
fn eligible(candidates: &[Candidate], last: Option<usize>) -> impl Iterator<Item = usize> + '_ {
    let admits = |place: &usize| candidates[*place].admits;
    let others = (0..candidates.len()).filter(admits).any(|place| last != Some(place));
    (0..candidates.len()).filter(admits).filter(move |&place| !others || last != Some(place))
}

/// Calls that a replica may have with one more: the mean over all of them, that one included, and the slack.
fn limit(outstanding: usize, replicas: usize) -> usize {
    (outstanding + 1).div_ceil(replicas.max(1)) + SLACK
}

/// FNV-1a, 64 bits: short texts, and the same number on every machine.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The last step of SplitMix64: every bit of the input moves every bit of the output.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
