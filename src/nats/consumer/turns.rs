//! Turns: what is about one thing is handled one after the other, in the order of arrival.

use std::collections::HashMap;

use tokio::sync::oneshot;

/// The last one of each thing, which the next one waits for.
#[derive(Debug, Default)]
pub(super) struct Turns {
    last: HashMap<String, (u64, oneshot::Receiver<()>)>,
    next: u64,
}

/// Held by whose turn it is or will be; the next one's begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    about: String,
    number: u64,
    _over: oneshot::Sender<()>,
}

/// The end of the turn before; `None` = nobody is before.
pub(super) type Wait = Option<oneshot::Receiver<()>>;

impl Turns {
    pub(super) fn take(&mut self, about: &str) -> (Turn, Wait) {
        let number = self.next;
        self.next += 1;
        let (sender, receiver) = oneshot::channel();
        let before = self.last.insert(about.to_owned(), (number, receiver));
        (Turn { about: about.to_owned(), number, _over: sender }, before.map(|(_, receiver)| receiver))
    }

    /// Forgets what nobody waits for.
    pub(super) fn ended(&mut self, turn: Turn) {
        if self.last.get(&turn.about).is_some_and(|(number, _)| *number == turn.number) {
            self.last.remove(&turn.about);
        }
    }
}

/// Returns when it is one's turn.
pub(super) async fn come(wait: Wait) {
    if let Some(wait) = wait {
        // Nothing is ever sent: the other one's end is what counts, however it ends.
        let _ = wait.await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_next_waits_for_the_one_before() {
        let mut turns = Turns::default();
        let (one, first) = turns.take("a");
        let (other, alone) = turns.take("b");
        let (two, second) = turns.take("a");
        assert!(first.is_none() && alone.is_none());
        let mut second = Box::pin(come(second));
        assert!((&mut second).now_or_never().is_none());
        turns.ended(one);
        assert!(second.now_or_never().is_some());
        turns.ended(two);
        turns.ended(other);
        assert!(turns.last.is_empty());
    }

    #[test]
    fn one_that_died_keeps_nobody() {
        let mut turns = Turns::default();
        let (one, _) = turns.take("a");
        let (_two, second) = turns.take("a");
        drop(one);
        assert!(come(second).now_or_never().is_some());
    }
}
