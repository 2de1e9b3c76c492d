//! One operation from its sending to its answer, however often it has to be sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moothall_actors::domain::id::TaskId;
use moothall_actors::domain::queue::Fence;
use moothall_actors::ports::queue::QueueError;
use moothall_actors::ports::shared::QueueHealth as State;
use redis::{ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep, timeout_at};

use super::address::AddressError;
use super::link::{Away, Link, Live, breath};
use super::place::{Places, Stamp};
use super::script::Scripts;
use super::settings::Settings;
use super::wire::{self, Args, Garbled};

/// Worth another try by the caller, when nothing better is known.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What a call is about, for its refusal.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    Tasks,
    Task(&'a TaskId),
}

struct Answer {
    kind: String,
    rest: Vec<Value>,
}

/// Sends operations, and knows the highest fence that it has seen.
pub(super) struct Caller {
    pub(super) link: Link,
    pub(super) settings: Settings,
    pub(super) scripts: Scripts,
    places: Places,
    key: String,
    known: Mutex<Fence>,
}

impl Caller {
    pub(super) fn new(settings: Settings, scripts: Scripts) -> Result<Self, AddressError> {
        Ok(Self {
            link: Link::new(&settings)?,
            scripts,
            places: Places::new(settings.in_flight),
            key: format!("{{{}}}", settings.prefix),
            known: Mutex::new(Fence { epoch: 0, number: 0 }),
            settings,
        })
    }

    /// Seen in any answer.
    pub(super) fn highest(&self) -> Fence {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that is only read: it may be asked as often as one likes.
    pub(super) async fn look(&self, script: &Script, args: &Args) -> Result<Value, QueueError> {
        let deadline = Instant::now() + self.settings.deadline;
        self.run(script, None, args, deadline).await
    }

    /// A change. Every try carries the same place and number, and is answered as the first that arrived.
    pub(super) async fn change(&self, script: &Script, args: &Args, about: About<'_>) -> Result<Value, QueueError> {
        let deadline = Instant::now() + self.settings.deadline;
        let place = timeout_at(deadline, self.places.take()).await.ok().flatten();
        let Some(place) = place else { return Err(unavailable("too many calls wait for it")) };
        self.change_at(place.stamp, script, args, about, deadline).await
    }

    /// A place besides those that are taken by turns, for calls that come one after the other.
    pub(super) fn own_place(&self) -> usize {
        self.settings.in_flight.max(1)
    }

    pub(super) async fn change_at(
        &self,
        stamp: Stamp,
        script: &Script,
        args: &Args,
        about: About<'_>,
        deadline: Instant,
    ) -> Result<Value, QueueError> {
        loop {
            let answer = self.run(script, Some(stamp), args, deadline).await?;
            let Answer { kind, rest } = self.open(answer).map_err(garbled)?;
            if kind != "more" || Instant::now() >= deadline {
                return self.read(&kind, rest, about);
            }
        }
    }

    /// Learns what stands in the head of every answer.
    fn open(&self, answer: Value) -> Result<Answer, Garbled> {
        let mut rest = wire::list(answer)?.into_iter();
        let mut next = || rest.next().ok_or(Garbled);
        let kind = wire::text(next()?)?;
        let fence = Fence { epoch: wire::number(next()?)?, number: wire::number(next()?)? };
        let doubt = wire::text(next()?)?;
        self.learn(fence);
        let why = || format!("{doubt}, and nobody has said since what the journal knows").into();
        self.link.trust((!doubt.is_empty()).then(why));
        Ok(Answer { kind, rest: rest.collect() })
    }

    fn learn(&self, fence: Fence) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = fence.max(*known);
    }

    fn read(&self, kind: &str, rest: Vec<Value>, about: About<'_>) -> Result<Value, QueueError> {
        let first = || rest.first().cloned().ok_or(Garbled).map_err(garbled);
        match (kind, about) {
            ("ok", _) => rest.into_iter().next().ok_or(Garbled).map_err(garbled),
            ("unknown", About::Task(task)) => Err(QueueError::Unknown { task: task.clone() }),
            ("full", _) => Err(QueueError::Full { most: self.settings.most }),
            ("needs", _) => Err(unknown_needs(first()?)),
            ("wrong", _) => Err(wrong_state(&rest).unwrap_or_else(garbled)),
            ("more", _) => Err(unavailable("time brought more than fits into one call")),
            ("late", _) => Err(unavailable("a later call took the place of this one")),
            ("unproven", _) => Err(self.unproven(rest.into_iter().next())),
            _ => Err(garbled(Garbled)),
        }
    }

    /// For a reason of its own, or for that of every answer.
    fn unproven(&self, own: Option<Value>) -> QueueError {
        match (own.and_then(|own| wire::text(own).ok()), self.link.state()) {
            (Some(why), _) => unavailable(&why),
            (None, State::Degraded { why }) => gone(why, RETRY_AFTER),
            (None, State::Healthy) => unavailable("nobody has said what the journal knows"),
        }
    }

    async fn run(
        &self,
        script: &Script,
        stamp: Option<Stamp>,
        args: &Args,
        deadline: Instant,
    ) -> Result<Value, QueueError> {
        loop {
            let live = self.link.live(deadline).await.map_err(|Away { why, retry_after }| gone(why, retry_after))?;
            let Ok(answer) = timeout_at(deadline, self.send(live.clone(), script, stamp, args)).await else {
                return Err(unavailable("it did not answer in time"));
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let remedy = remedy(&error);
            if remedy == Remedy::Reconnect {
                self.link.lost(&live, &error.to_string());
            }
            let pause = breath();
            if remedy == Remedy::None || Instant::now() + pause >= deadline {
                let why: Arc<str> = error.to_string().into();
                return Err(gone(why, RETRY_AFTER));
            }
            sleep(pause).await;
        }
    }

    async fn send(&self, mut live: Live, script: &Script, stamp: Option<Stamp>, args: &Args) -> RedisResult<Value> {
        let mut command = cmd("EVALSHA");
        command.arg(script.get_hash()).arg(1).arg(&self.key);
        if let Some(Stamp { place, sequence }) = stamp {
            let known = self.highest();
            command.arg(&*live.server).arg(known.epoch).arg(known.number);
            command.arg(&self.places.client).arg(place).arg(sequence);
        }
        for arg in args.each() {
            command.arg(arg);
        }
        let answer = command.query_async(&mut live.connection).await;
        match answer {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                script.load_async(&mut live.connection).await?;
                command.query_async(&mut live.connection).await
            }
            answer => answer,
        }
    }
}

/// What helps after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Wait,
    Reconnect,
    None,
}

fn remedy(error: &RedisError) -> Remedy {
    use ServerErrorKind as Server;
    match error.kind() {
        ErrorKind::Server(Server::BusyLoading | Server::TryAgain | Server::ClusterDown | Server::NoScript) => {
            Remedy::Wait
        }
        // What was the first server is one no more.
        ErrorKind::Server(Server::ReadOnly | Server::MasterDown) => Remedy::Reconnect,
        ErrorKind::Server(_) => Remedy::None,
        ErrorKind::Extension if error.code() == Some("BUSY") => Remedy::Wait,
        ErrorKind::Extension if error.code() == Some("UNBLOCKED") => Remedy::Reconnect,
        ErrorKind::Extension => Remedy::None,
        _ => Remedy::Reconnect,
    }
}

fn unknown_needs(value: Value) -> QueueError {
    let Ok(mut tasks) = wire::tasks(value) else { return garbled(Garbled) };
    tasks.sort_unstable();
    tasks.dedup();
    QueueError::UnknownNeeds(tasks)
}

fn wrong_state(rest: &[Value]) -> Result<QueueError, Garbled> {
    let [task, state] = rest else { return Err(Garbled) };
    Ok(QueueError::WrongState { task: wire::task(task.clone())?, state: wire::state(state.clone())? })
}

fn gone(why: Arc<str>, retry_after: Duration) -> QueueError {
    QueueError::Unavailable { why, retry_after }
}

pub(super) fn unavailable(why: &str) -> QueueError {
    gone(why.into(), RETRY_AFTER)
}

pub(super) fn garbled(garbled: Garbled) -> QueueError {
    unavailable(&garbled.to_string())
}
