//! Open while journal and queue answer. One message that finds them down closes it until its next try.

use std::sync::Arc;

use tokio::sync::watch;

use super::status::{Board, Part};

/// Cheap to clone; all pumps share one.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    held: Arc<watch::Sender<usize>>,
    board: Board,
}

/// Keeps the gate closed.
#[derive(Debug)]
pub(super) struct Held(Gate);

impl Gate {
    pub(super) fn new(board: Board) -> Self {
        Self { held: Arc::new(watch::Sender::new(0)), board }
    }

    pub(super) fn close(&self, why: &str) -> Held {
        self.held.send_modify(|held| *held += 1);
        self.board.degraded(Part::Inbox, why);
        Held(self.clone())
    }

    pub(super) async fn opened(&self) {
        // The sender lives as long as this.
        let _ = self.held.subscribe().wait_for(|held| *held == 0).await;
    }

    pub(super) async fn closed(&self) {
        let _ = self.held.subscribe().wait_for(|held| *held > 0).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut last = false;
        self.0.held.send_modify(|held| {
            *held -= 1;
            last = *held == 0;
        });
        if last {
            self.0.board.well(&Part::Inbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_opens_when_the_last_holder_lets_go() {
        let board = Board::new();
        let gate = Gate::new(board.clone());
        gate.opened().await;
        let (one, two) = (gate.close("journal down"), gate.close("journal down"));
        gate.closed().await;
        drop(one);
        gate.closed().await;
        assert_eq!(board.watch().borrow().degraded[&Part::Inbox], "journal down");
        drop(two);
        gate.opened().await;
        assert!(board.watch().borrow().degraded.is_empty());
    }
}
