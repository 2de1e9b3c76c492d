//! Tasks as they travel: arguments of scripts, and what scripts answer.
//!
//! A text that may be missing is empty or begins with `=`, so that none sorts before all others, as on the board.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::id::{Role, TaskId, Timestamp};
use moothall_actors::domain::queue::{Entry, Fence, OnDependencyFailure, Priority, QueueState};
use moothall_actors::ports::queue::{Claimed, Consequence, Lease, Row};
use redis::Value;

/// The server answered something that is no answer to what was asked: another version, or not this queue at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer cannot be understood")]
pub(super) struct Garbled;

type Read<T> = Result<T, Garbled>;

/// Arguments in one buffer, since tasks come by the thousand.
#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Args {
    pub(super) fn push(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self.ends.push(self.bytes.len());
        self
    }

    pub(super) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        self.push(number.into().to_string())
    }

    pub(super) fn maybe(&mut self, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.bytes.push(b'=');
            self.bytes.extend_from_slice(text.as_bytes());
        }
        self.ends.push(self.bytes.len());
        self
    }

    pub(super) fn due(&mut self, due: Option<Timestamp>) -> &mut Self {
        self.push(due.map(|due| due.0.to_string()).unwrap_or_default())
    }

    pub(super) fn entry(&mut self, entry: &Entry, age: Duration) -> &mut Self {
        // Each once, in the order of their ids.
        let needs: BTreeSet<&str> = entry.needs.iter().map(TaskId::as_str).collect();
        let needs: Vec<&str> = needs.into_iter().collect();
        let on_failure = match entry.on_failure {
            OnDependencyFailure::Block => "block",
            OnDependencyFailure::Skip => "skip",
            OnDependencyFailure::Run => "run",
        };
        self.push(entry.task.as_str()).push(entry.role.as_str());
        self.maybe(entry.story.as_deref()).maybe(entry.plan.as_deref());
        self.number(entry.priority.get()).number(entry.enqueued_at.0).number(rank(entry, age));
        self.push(needs.join("\n")).push(on_failure).maybe(entry.hold.as_deref());
        self.number(entry.run).due(entry.not_before).push(if entry.parked { "parked" } else { "" })
    }

    pub(super) fn lease(&mut self, lease: &Lease) -> &mut Self {
        self.push(lease.task.as_str()).number(lease.run).number(lease.fence.epoch).number(lease.fence.number)
    }

    /// Behind these those.
    pub(super) fn extend(&mut self, more: &Self) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&more.bytes);
        self.ends.extend(more.ends.iter().map(|end| before + end));
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).filter_map(|(begin, end)| self.bytes.get(begin..*end))
    }
}

/// Smaller is sooner; the same as the board's.
fn rank(entry: &Entry, age: Duration) -> i64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let arrived = i64::try_from(entry.enqueued_at.0).unwrap_or(i64::MAX);
    arrived.saturating_sub(age.saturating_mul(entry.priority.get().into()))
}

/// As the scripts number the states.
pub(super) fn state_number(state: QueueState) -> u8 {
    let place = QueueState::ALL.iter().position(|one| *one == state);
    place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or_default()
}

pub(super) fn list(value: Value) -> Read<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Garbled),
    }
}

pub(super) fn fields<const N: usize>(value: Value) -> Read<[Value; N]> {
    list(value)?.try_into().map_err(|_| Garbled)
}

pub(super) fn bytes(value: Value) -> Read<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err(Garbled),
    }
}

pub(super) fn text(value: Value) -> Read<String> {
    String::from_utf8(bytes(value)?).map_err(|_| Garbled)
}

pub(super) fn number<T: std::str::FromStr>(value: Value) -> Read<T> {
    text(value)?.parse().map_err(|_| Garbled)
}

fn maybe(value: Value) -> Read<Option<Arc<str>>> {
    Ok(text(value)?.strip_prefix('=').map(Arc::from))
}

pub(super) fn task(value: Value) -> Read<TaskId> {
    TaskId::parse("task", &text(value)?).map_err(|_| Garbled)
}

pub(super) fn tasks(value: Value) -> Read<Vec<TaskId>> {
    list(value)?.into_iter().map(task).collect()
}

pub(super) fn state(value: Value) -> Read<QueueState> {
    let number: usize = number(value)?;
    number.checked_sub(1).and_then(|place| QueueState::ALL.get(place)).copied().ok_or(Garbled)
}

/// What a count is of: `<role>:<state>`.
pub(super) fn counted(value: Value) -> Read<(Role, QueueState)> {
    let text = text(value)?;
    let (role, number) = text.rsplit_once(':').ok_or(Garbled)?;
    let state = state(Value::SimpleString(number.to_owned()))?;
    Ok((Role::parse("role", role).map_err(|_| Garbled)?, state))
}

pub(super) fn due(value: Value) -> Read<Option<Timestamp>> {
    let text = text(value)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(|due| Some(Timestamp(due))).map_err(|_| Garbled) }
}

pub(super) fn consequences(value: Value) -> Read<Vec<Consequence>> {
    list(value)?.into_iter().map(consequence).collect()
}

fn consequence(value: Value) -> Read<Consequence> {
    let [of, run, now, cause] = fields(value)?;
    Ok(Consequence { task: task(of)?, run: number(run)?, state: state(now)?, cause: task(cause)? })
}

/// A record as it is stored.
struct Record {
    entry: Entry,
    state: QueueState,
    fence: Fence,
    is_held: bool,
}

fn record(of: Value, slot: Value) -> Read<Record> {
    let slot: [Value; 19] = fields(slot)?;
    let [role, story, plan, priority, at, _rank, needs, on_failure, hold, rest @ ..] = slot;
    let [run, now, _arrival, not_before, epoch, fence, holder, _until, _placed, _lost_by] = rest;
    let needs = text(needs)?;
    let needs = needs.split('\n').filter(|need| !need.is_empty());
    let on_failure = match text(on_failure)?.as_str() {
        "skip" => OnDependencyFailure::Skip,
        "run" => OnDependencyFailure::Run,
        _ => OnDependencyFailure::Block,
    };
    let state = state(now)?;
    let entry = Entry {
        task: task(of)?,
        run: number(run)?,
        role: Role::parse("role", &text(role)?).map_err(|_| Garbled)?,
        story: maybe(story)?,
        plan: maybe(plan)?,
        priority: Priority::read(&text(priority)?).ok_or(Garbled)?,
        enqueued_at: Timestamp(number(at)?),
        not_before: due(not_before)?,
        needs: needs.map(|need| TaskId::parse("needs", need).map_err(|_| Garbled)).collect::<Read<_>>()?,
        on_failure,
        hold: maybe(hold)?,
        parked: state == QueueState::Parked,
    };
    let fence = Fence { epoch: number(epoch)?, number: number(fence)? };
    Ok(Record { entry, state, fence, is_held: !text(holder)?.is_empty() })
}

pub(super) fn claimed(value: Value) -> Read<Vec<Claimed>> {
    list(value)?.into_iter().map(one_claimed).collect()
}

fn one_claimed(value: Value) -> Read<Claimed> {
    let [of, slot] = fields(value)?;
    let Record { entry, fence, .. } = record(of, slot)?;
    let lease = Lease { task: entry.task.clone(), run: entry.run, fence };
    Ok(Claimed { entry, lease })
}

/// The fence of a lease on a task that is known.
pub(super) fn lease(value: Value, task: &TaskId, run: u32) -> Read<Lease> {
    let [epoch, fence] = fields(value)?;
    Ok(Lease { task: task.clone(), run, fence: Fence { epoch: number(epoch)?, number: number(fence)? } })
}

pub(super) fn row(value: Value) -> Read<Row> {
    let [of, slot, open, failed] = fields(value)?;
    let Record { entry, state, fence, is_held } = record(of, slot)?;
    let fence = is_held.then_some(fence);
    Ok(Row { entry, state, fence, open_needs: number(open)?, failed_needs: tasks(failed)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_out_as_they_went_in() {
        let mut args = Args::default();
        args.push("a").maybe(None).maybe(Some("")).number(7u8).push("");
        let mut twice = args.clone();
        twice.extend(&args);
        let expected = [b"a" as &[u8], b"", b"=", b"7", b""];
        assert_eq!(twice.each().collect::<Vec<_>>(), [expected, expected].concat());
    }

    #[test]
    fn states_have_the_numbers_of_the_scripts() {
        let script = include_str!("lua/record.lua");
        let line = script.lines().find_map(|line| line.strip_prefix("local QUEUED, ")).unwrap();
        let names = format!("QUEUED, {}", line.split(" = ").next().unwrap());
        assert_eq!(names.split(", ").collect::<Vec<_>>(), QueueState::ALL.map(QueueState::as_str));
        for one in QueueState::ALL {
            assert_eq!(state(Value::Int(state_number(one).into())), Ok(one));
        }
    }

    #[test]
    fn nonsense_is_no_answer() {
        assert_eq!(claimed(Value::Nil), Err(Garbled));
        assert_eq!(state(Value::Int(0)), Err(Garbled));
        assert_eq!(state(Value::Int(10)), Err(Garbled));
        assert_eq!(task(Value::BulkString(b" blank ".to_vec())), Err(Garbled));
    }
}
