//! How far publishing has come, and what proves it.
//!
//! A checkpoint says: everything up to this journal seq is out, and the last of it stands at this place of this stream
//! under this id. Looked up later, the place shows whether the server still has what it once acknowledged. A server that
//! was set back to older data does not; then an older checkpoint of the trail holds, and what came after it is compared
//! with the stream's tail. So the trail goes back ten minutes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far back the trail goes, in milliseconds.
const KEEP_MS: i64 = 600_000;
/// The least distance of two checkpoints that stay, in milliseconds: forty of them make ten minutes.
const SPACING_MS: i64 = 15_000;

/// What the daemon keeps for the publisher; one row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Oldest first; the last one counts, the others prove.
    pub trail: Vec<Checkpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything up to here is out or refused.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    pub marks: Vec<Mark>,
}

/// One stream at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub stream: String,
    /// Nothing of ours beyond the checkpoint's seq stands at or before this place.
    pub read_from: u64,
    /// The last of ours up to the checkpoint's seq.
    pub last: Option<Place>,
}

/// Where the server said it put a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub sequence: u64,
    pub event_id: Uuid,
}

impl Cursor {
    /// Everything up to this seq is as good as out.
    #[must_use]
    pub fn beginning(seq: u64, at_ms: i64) -> Self {
        Self { trail: vec![Checkpoint { seq, at_ms, marks: Vec::new() }] }
    }

    /// The journal seq up to which everything is out; what prunes the journal goes by [`Cursor::oldest`].
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.trail.last().map_or(0, |checkpoint| checkpoint.seq)
    }

    /// The journal seq after which publications can be asked for again.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.trail.first().map_or(0, |checkpoint| checkpoint.seq)
    }

    /// Adds a checkpoint, and drops those that are too near to another or too old. One that is too old stays as long as
    /// none younger has its age, so that the trail is never shorter than it should be.
    pub(super) fn push(&mut self, checkpoint: Checkpoint) {
        let now = checkpoint.at_ms;
        let near = |pair: &[Checkpoint]| matches!(pair, [one, two] if two.at_ms - one.at_ms < SPACING_MS);
        if self.trail.len() >= 2 && near(&self.trail[self.trail.len() - 2..]) {
            self.trail.pop();
        }
        self.trail.push(checkpoint);
        let old = self.trail.iter().skip(1).take_while(|checkpoint| now - checkpoint.at_ms >= KEEP_MS).count();
        self.trail.drain(..old);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Checkpoint {
        Checkpoint { seq: u64::try_from(seconds).unwrap(), at_ms: seconds * 1_000, marks: Vec::new() }
    }

    #[test]
    fn checkpoints_every_second_leave_one_in_fifteen_for_ten_minutes() {
        let mut cursor = Cursor::default();
        (0..3_600).for_each(|second| cursor.push(at(second)));
        assert_eq!(cursor.seq(), 3_599);
        assert!((2_980..=2_999).contains(&cursor.oldest()), "{}", cursor.oldest());
        assert!((40..=43).contains(&cursor.trail.len()), "{}", cursor.trail.len());
    }

    #[test]
    fn after_a_long_silence_the_one_before_it_stays() {
        let mut cursor = Cursor::default();
        [0, 20, 5_000].into_iter().for_each(|second| cursor.push(at(second)));
        assert_eq!(cursor.trail, [at(20), at(5_000)]);
    }

    #[test]
    fn it_survives_its_row() {
        let mark = Mark {
            stream: "ORCHESTRATOR_EVENTS".into(),
            read_from: 3,
            last: Some(Place { sequence: 4, event_id: Uuid::from_u128(5) }),
        };
        let cursor = Cursor { trail: vec![Checkpoint { seq: 1, at_ms: 2, marks: vec![mark] }] };
        let row = serde_json::to_string(&cursor).unwrap();
        assert_eq!(serde_json::from_str::<Cursor>(&row).unwrap(), cursor);
    }

    proptest! {
        #[test]
        fn the_trail_is_short_and_long_enough(steps in prop::collection::vec(0_i64..40, 1..400)) {
            let (mut cursor, mut now) = (Cursor::default(), 0);
            for step in steps {
                now += step;
                cursor.push(at(now));
                prop_assert!(cursor.trail.is_sorted_by_key(|checkpoint| checkpoint.seq));
                prop_assert!(cursor.trail.len() <= 44);
                prop_assert_eq!(cursor.seq(), u64::try_from(now).unwrap());
                // Ten minutes back, or all there ever was, less one spacing.
                let back = now - i64::try_from(cursor.oldest()).unwrap();
                prop_assert!(back >= (now - 40).min(600));
            }
        }
    }
}
