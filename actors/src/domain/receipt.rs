//! What a message from elsewhere is known by once it is taken in, so that it changes nothing when it comes again.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::id::Timestamp;

/// One of a message's names, as the first half of a SHA-256: two of a million million messages share one with a chance of
/// one in 10^14.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptKey(pub [u8; 16]);

impl ReceiptKey {
    /// Of a name's parts, kept apart whatever they hold.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Self(key)
    }

    /// Of a place in a stream, under which another message lay when the server gave the sequence before. Neighbours there
    /// are neighbours here, so that what is taken in together is written side by side: 3 bytes of the stream, 5 of the
    /// sequence, 8 of all.
    #[must_use]
    pub fn place(stream: &str, sequence: u64, published_ns: i64) -> Self {
        let of_stream = Self::of(&["stream", stream]);
        let of_all = Self::of(&["place", stream, &sequence.to_string(), &published_ns.to_string()]);
        let mut key = of_all.0;
        key[..3].copy_from_slice(&of_stream.0[..3]);
        key[3..8].copy_from_slice(&sequence.to_be_bytes()[3..]);
        Self(key)
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A message's names: where it lay, and what it says of itself. Written with its effect; whoever has one of them has had
/// that effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub keys: Vec<ReceiptKey>,
    /// Forgotten afterwards: the message cannot come any more.
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stand_in_the_order_of_their_stream_and_every_difference_counts() {
        let place = |sequence| ReceiptKey::place("PLANNING_EVENTS", sequence, 7);
        assert!((0..1_000).all(|sequence| place(sequence) < place(sequence + 1)));
        assert_ne!(place(1), ReceiptKey::place("PLANNING_EVENTS", 1, 8));
        assert_ne!(place(1), ReceiptKey::place("CONTEXT", 1, 7));
        assert_ne!(place(1), place(1 + (1 << 40)));
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_eq!(ReceiptKey::of(&["a", "b"]), ReceiptKey::of(&["a", "b"]));
        assert_ne!(ReceiptKey::of(&["a", "b"]), ReceiptKey::of(&["ab", ""]));
        assert_ne!(ReceiptKey::of(&["a"]), ReceiptKey::of(&["a", ""]));
    }
}
