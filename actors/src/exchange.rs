//! What is exchanged with others: messages that were taken in or refused, events that could not go out.

use std::sync::Arc;

use crate::System;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::StreamId;
use crate::domain::message::Rejected;
use crate::domain::receipt::Receipt;
use crate::error::SystemError;
use crate::ports::{Append, Batch, JournalError, commit_patiently, whole_stream};
use crate::world::World;

impl System {
    /// Whether a message was taken in before, under any of its names.
    pub async fn received(&self, receipt: &Receipt) -> Result<bool, SystemError> {
        Ok(self.world.ports.journal.received(receipt).await?)
    }

    /// Keeps a message that nobody can act on, once. Durable when it answers.
    pub async fn reject(&self, message: Rejected, receipt: Receipt) -> Result<(), SystemError> {
        let Some(key) = receipt.keys.first() else { return Ok(()) };
        let stream = StreamId::message(key);
        let (id, at) = (self.world.ports.ids.event_id(), self.world.ports.clock.now());
        let correlation = message.cause.correlation_id.clone();
        let event = Event::MessageRejected(Arc::new(message));
        let new = NewEvent { id, at, correlation, causation: None, event };
        let batch = Batch { receipt: Some(receipt), ..Batch::one(stream, 0, vec![new]) };
        match commit_patiently(&*self.world.ports.journal, batch).await {
            Ok(_) | Err(JournalError::Received | JournalError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that an event will never go out, once. Called by one at a time.
    pub async fn refuse_publishing(&self, seq: u64, why: &str) -> Result<(), SystemError> {
        let journal = &*self.world.ports.journal;
        let stream = StreamId::outbox();
        let before = whole_stream(journal, &stream).await?;
        let event = Event::PublishRefused { seq, why: why.into() };
        let is_same = |event: &Event| matches!(event, Event::PublishRefused { seq: refused, .. } if *refused == seq);
        if before.iter().any(|recorded| is_same(&recorded.event.event)) {
            return Ok(());
        }
        let (id, at) = (self.world.ports.ids.event_id(), self.world.ports.clock.now());
        let new = NewEvent { id, at, correlation: None, causation: None, event };
        let append = Append { stream, expected_version: before.len() as u64, events: [new].into() };
        commit_patiently(journal, Batch::of(vec![append])).await?;
        Ok(())
    }
}

/// A message whose effect is there already is known from now on.
pub(crate) async fn note(world: &World, receipt: Option<Receipt>) -> Result<(), SystemError> {
    let Some(receipt) = receipt else { return Ok(()) };
    let batch = Batch { receipt: Some(receipt), ..Batch::default() };
    match commit_patiently(&*world.ports.journal, batch).await {
        Ok(_) | Err(JournalError::Received) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
