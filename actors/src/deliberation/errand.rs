//! Submissions on their way: handed to the executor, followed, called back.
//!
//! Each is a task of its own, since calling back outlives the actor. One whose actor dies is left alone: the executor goes
//! on, and the next actor attaches.

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::ActorRef;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::ask;
use super::message::Message;
use super::prompt::Prompts;
use super::record::Record;
use super::step::{Input, Submit};
use crate::agent::Reply;
use crate::domain::answer::{Class, Failure};
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::CallId;
use crate::ports::executor::{Executor, Followed, NotTaken, Told, WaveCall};
use crate::world::World;

/// Of one actor. Dropped, they are left alone.
#[derive(Default)]
pub(super) struct Errands {
    /// How each is called back.
    recalls: Vec<oneshot::Sender<()>>,
    /// Who waits until a call's outcome is durable.
    waiting: Vec<(CallId, oneshot::Sender<()>)>,
}

impl Errands {
    pub(super) fn start(&mut self, world: &Arc<World>, to: &ActorRef<Message>, errand: Errand) {
        if errand.replies.is_empty() {
            return;
        }
        let (recall, recalled) = oneshot::channel();
        self.recalls.retain(|earlier| !earlier.is_closed());
        self.recalls.push(recall);
        let (executor, presence, to) = (world.ports.executor.clone(), world.census.enter(), to.clone());
        let places = world.executor_places.clone();
        Handle::current().spawn(async move {
            let _presence = presence;
            match executor {
                Some(executor) => errand.run(&*executor, places, (&to, recalled)).await,
                None => errand.fail(&Failure::new(Class::Refused, "no executor is configured")),
            }
        });
    }

    /// Nobody needs what they bring.
    pub(super) fn recall(&mut self) {
        for recall in self.recalls.drain(..) {
            // One that has ended needs no word.
            let _ = recall.send(());
        }
    }

    /// Until the outcome is durable.
    pub(super) fn wait(&mut self, call: CallId, durable: oneshot::Sender<()>) {
        self.waiting.push((call, durable));
    }

    /// These events are durable.
    pub(super) fn settle(&mut self, events: &[NewEvent]) {
        if self.waiting.is_empty() {
            return;
        }
        for event in events {
            let (Event::CallAnswered { call, .. } | Event::CallFailed { call, .. }) = &event.event else { continue };
            for (_, durable) in self.waiting.extract_if(.., |(waits_for, _)| waits_for == call) {
                // Who has gone meanwhile needs no word.
                let _ = durable.send(());
            }
        }
    }
}

pub(super) struct Errand {
    wave: WaveCall,
    name: Option<Arc<str>>,
    replies: BTreeMap<CallId, Reply>,
}

impl Errand {
    /// Calls whose prompts cannot be made are told so.
    pub(super) fn new(record: &Record, prompts: &Prompts, submit: Submit, to: &ActorRef<Message>) -> Self {
        let Submit { attempt, asks, name } = submit;
        let (mut calls, mut replies) = (Vec::with_capacity(asks.len()), BTreeMap::new());
        for ask in asks {
            let call = ask.call.clone();
            let reply = Reply::new(to.clone(), call.clone(), record.drafting(&call));
            match ask::model_call(record, prompts, ask) {
                Ok(made) => {
                    calls.push(made);
                    replies.insert(call, reply);
                }
                Err(error) => reply.fail(Failure::new(Class::Internal, format!("the prompt cannot be made: {error}"))),
            }
        }
        let (run, spec) = (record.plan.run.clone(), &record.plan.spec);
        let (role, description, story) = (spec.role.clone(), spec.description.clone(), spec.story_id().map(Arc::from));
        let (wave, backlog) = (record.wave, spec.backlog);
        let wave = WaveCall { run, wave, attempt, role, description, story, backlog, calls };
        Self { wave, name, replies }
    }

    async fn run(
        mut self,
        executor: &dyn Executor,
        places: Arc<Semaphore>,
        (to, mut recalled): (&ActorRef<Message>, oneshot::Receiver<()>),
    ) {
        let Some(_place) = self.place(executor, places, &mut recalled).await else { return };
        let name = match self.name.take() {
            Some(name) => name,
            None => {
                let Some(taken) = until_taken(executor, &self.wave, &mut recalled).await else { return };
                match taken {
                    Taken::As(name) => self.tell_accepted(to, name),
                    Taken::InVain(name) => return executor.cancel(&name).await,
                    Taken::Not(NotTaken::Refused(failure)) => return self.fail(&failure),
                    Taken::Not(NotTaken::Away { why }) => return self.tell_away(to, why),
                }
            }
        };
        self.follow(executor, (&name, to), recalled).await;
    }

    /// One of those at the executor at once. `None` = it was called back first.
    async fn place(
        &self,
        executor: &dyn Executor,
        places: Arc<Semaphore>,
        recalled: &mut oneshot::Receiver<()>,
    ) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            place = places.acquire_owned() => place.ok(),
            wish = recalled => {
                if let (Ok(()), Some(name)) = (wish, &self.name) {
                    executor.cancel(name).await;
                }
                None
            }
        }
    }

    fn tell_accepted(&self, to: &ActorRef<Message>, name: Arc<str>) -> Arc<str> {
        let accepted = Input::Accepted { wave: self.wave.wave, attempt: self.wave.attempt, name: name.clone() };
        drop(to.cast(Message::Input(accepted)));
        name
    }

    fn tell_away(mut self, to: &ActorRef<Message>, why: Arc<str>) {
        let replies = std::mem::take(&mut self.replies);
        let calls = replies.into_iter().map(|(call, reply)| {
            reply.forget();
            call
        });
        drop(to.cast(Message::Input(Input::ExecutorAway { calls: calls.collect(), why })));
    }

    fn fail(self, failure: &Failure) {
        self.replies.into_values().for_each(|reply| reply.fail(failure.clone()));
    }

    /// What is not told when this ends is told as `Gone`.
    async fn follow(
        mut self,
        executor: &dyn Executor,
        (name, to): (&str, &ActorRef<Message>),
        mut recalled: oneshot::Receiver<()>,
    ) {
        let (told, mut results) = mpsc::channel(self.wave.calls.len().max(1));
        let wave = self.wave.clone();
        let following = executor.follow(name, &wave, told);
        let telling = async {
            while let Some(outcome) = results.recv().await {
                self.tell(to, outcome).await;
            }
        };
        let followed = tokio::select! {
            (followed, ()) = async { tokio::join!(following, telling) } => followed,
            wish = &mut recalled => {
                if wish.is_ok() {
                    executor.cancel(name).await;
                }
                return;
            }
        };
        if let Followed::Away { why } = followed {
            self.tell_away(to, why);
        }
    }

    async fn tell(&mut self, to: &ActorRef<Message>, Told { call, result, durable }: Told) {
        let Some(reply) = self.replies.remove(&call) else { return };
        // In the mailbox it stands before the outcome.
        if let Some(durable) = durable {
            drop(to.cast(Message::WhenDurable { call, durable }));
        }
        reply.tell(result).await;
    }
}

enum Taken {
    As(Arc<str>),
    /// It was called back meanwhile.
    InVain(Arc<str>),
    Not(NotTaken),
}

/// Whether it was taken must be known to call it back. `None` = the actor is gone.
async fn until_taken(executor: &dyn Executor, wave: &WaveCall, recalled: &mut oneshot::Receiver<()>) -> Option<Taken> {
    let submitting = executor.submit(wave);
    tokio::pin!(submitting);
    let taken = tokio::select! {
        taken = &mut submitting => return Some(taken.map_or_else(Taken::Not, Taken::As)),
        wish = recalled => match wish {
            Ok(()) => submitting.await,
            Err(_) => return None,
        },
    };
    Some(taken.map_or_else(Taken::Not, Taken::InVain))
}
