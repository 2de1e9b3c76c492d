//! The calls in flight of one agent, shared with the tasks that make them.
//!
//! A call that is over needs no message of its own: the agent looks when the next one comes. Only while somebody waits
//! for a place is it told at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ractor::ActorRef;

use super::message::Message;
use super::state::Ticket;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    in_flight: AtomicU32,
    over: Mutex<Over>,
}

#[derive(Debug, Default)]
struct Over {
    /// At most as many as may be in flight: a place is free once the agent has looked.
    tickets: Vec<Ticket>,
    /// The agent is to be told of the next end.
    awaited: bool,
}

impl Calls {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// One more call, until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, ticket: Ticket, agent: ActorRef<Message>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { calls: self.clone(), agent, ticket }
    }

    /// A call that is over. After the last one, `awaited` says whether the agent is to be told of the next.
    pub(super) fn next_over(&self, awaited: bool) -> Option<Ticket> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = over.tickets.pop();
        over.awaited = awaited && ticket.is_none();
        ticket
    }
}

/// A call under way; dropped when it is over, also when it panicked or was aborted.
pub(super) struct InFlight {
    calls: Arc<Calls>,
    agent: ActorRef<Message>,
    ticket: Ticket,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.calls.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut over = self.calls.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.tickets.push(self.ticket);
        let awaited = std::mem::take(&mut over.awaited);
        drop(over);
        if awaited {
            drop(self.agent.cast(Message::Ended));
        }
    }
}
