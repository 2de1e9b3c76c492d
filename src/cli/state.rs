//! `journal state`: what a task, a deliberation or a council was at an earlier place.

use std::io;

use clap::{Args, ValueEnum};

use super::exit::Failure;
use super::moment::Moment;
use super::output::{Output, count, millis, time};
use super::source::Source;
use crate::grpc::proto::moothall::v1::state_at_request::{At, Subject};
use crate::grpc::proto::moothall::v1::state_at_response::State;
use crate::grpc::proto::moothall::v1::{
    CouncilState, DeliberationRef, DeliberationState, StateAtRequest, StateAtResponse, TaskKind, TaskState, TaskStatus,
};

#[derive(Args, Debug)]
pub(crate) struct StateArgs {
    /// Of what
    of: Of,
    /// The task's id, or the council's role
    id: String,
    /// When: an event's number, a time such as 2026-11-22T07:30:00Z, or how long ago, such as 15m, 2h or 3d; without it,
    /// now
    #[arg(long, value_name = "SEQ|TIME", value_parser = place)]
    at: Option<Place>,
    /// Which run of a deliberation, from 1; without it the last that had begun by then
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    run: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    Task,
    Deliberation,
    Council,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Seq(i64),
    Time(Moment),
}

fn place(text: &str) -> Result<Place, String> {
    if let Some(seq) = text.parse().ok().filter(|seq| *seq > 0) {
        return Ok(Place::Seq(seq));
    }
    Moment::parse(text).map(Place::Time).map_err(|rule| format!("{rule}; or an event's number, from 1"))
}

impl StateArgs {
    fn request(&self) -> Result<StateAtRequest, Failure> {
        if self.run.is_some() && self.of != Of::Deliberation {
            return Err(Failure::usage("--run is for deliberations"));
        }
        let id = self.id.clone();
        let subject = match self.of {
            Of::Task => Subject::TaskId(id),
            Of::Deliberation => {
                Subject::Deliberation(DeliberationRef { task_id: id, run: self.run.unwrap_or_default() })
            }
            Of::Council => Subject::Council(id),
        };
        let at = self.at.map(|place| match place {
            Place::Seq(seq) => At::Seq(seq),
            Place::Time(moment) => At::AtMs(moment.millis()),
        });
        Ok(StateAtRequest { subject: Some(subject), at })
    }
}

pub(super) async fn run(args: &StateArgs, source: &Source, output: &Output) -> Result<(), Failure> {
    let answer = source.state(args.request()?).await?;
    output.message("moothall.v1.StateAtResponse", &answer, || show(&answer, output))
}

fn show(answer: &StateAtResponse, output: &Output) -> io::Result<()> {
    let place = format!("{}, {}, the last of {}", answer.seq, time(answer.at_ms), count(answer.events));
    let mut rows = vec![("event", place)];
    match &answer.state {
        Some(State::Task(task)) => rows.extend(task_rows(task)),
        Some(State::Deliberation(run)) => rows.extend(run_rows(run)),
        Some(State::Council(council)) => rows.extend(council_rows(council)),
        None => {}
    }
    rows.retain(|(_, value)| !value.is_empty());
    output.pairs(rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect())?;
    match &answer.state {
        Some(State::Deliberation(run)) => waves(run, output),
        Some(State::Council(council)) if !council.seats.is_empty() => seats(council, output),
        _ => Ok(()),
    }
}

type Row = (&'static str, String);

fn task_rows(task: &TaskState) -> Vec<Row> {
    let kind = match task.kind() {
        TaskKind::Orchestrate => "orchestrate",
        TaskKind::Deliberate | TaskKind::Unspecified => "deliberate",
    };
    let priority = if task.priority > 0 { task.priority.to_string() } else { String::new() };
    let took = if task.duration_ms > 0 { millis(task.duration_ms) } else { String::new() };
    vec![
        ("task", task.task_id.clone()),
        ("status", standing(task)),
        ("because of", task.cause_id.clone()),
        ("reason", task.reason.clone()),
        ("role", task.role.clone()),
        ("kind", kind.to_owned()),
        ("run", task.run.to_string()),
        ("winner", task.winner_id.clone()),
        ("error", task.error.as_ref().map(|error| error.message.clone()).unwrap_or_default()),
        ("story", task.story_id.clone()),
        ("plan", task.plan_id.clone()),
        ("priority", priority),
        ("needs", task.needs.join(", ")),
        ("accepted", time(task.accepted_at_ms)),
        ("ended", time(task.ended_at_ms)),
        ("took", took),
    ]
}

/// With where the queue has it.
fn standing(task: &TaskState) -> String {
    let status = match task.status() {
        TaskStatus::Unspecified => "unknown",
        TaskStatus::Open => "open",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "failed",
        TaskStatus::Cancelled => "cancelled",
        TaskStatus::Skipped => "skipped",
    };
    if task.queue.is_empty() { status.to_owned() } else { format!("{status} ({})", task.queue) }
}

fn run_rows(run: &DeliberationState) -> Vec<Row> {
    let tokens = format!("{} + {}", count(run.prompt_tokens), count(run.completion_tokens));
    let missing = run.missing.iter().map(|of| format!("{} in {} ({})", of.agent_id, of.wave, of.reason));
    vec![
        ("task", run.task_id.clone()),
        ("run", run.run.to_string()),
        ("status", if run.status == "open" { format!("open ({})", run.phase) } else { run.status.clone() }),
        ("wave", run.wave.clone()),
        ("role", run.role.clone()),
        ("seats", run.seats.join(", ")),
        ("architect", run.architect_id.clone()),
        ("rounds", run.rounds.to_string()),
        ("missing", missing.collect::<Vec<_>>().join(", ")),
        ("calls", format!("{} in {} requests", run.calls, run.attempts)),
        ("tokens", tokens),
        ("winner", run.winner_id.clone()),
        ("error", run.error.clone()),
        ("begun", time(run.started_at_ms)),
        ("ended", time(run.ended_at_ms)),
    ]
}

fn waves(run: &DeliberationState, output: &Output) -> io::Result<()> {
    output.line("")?;
    let row = |wave: &crate::grpc::proto::moothall::v1::WaveState| {
        let numbers = [wave.answered, wave.failed, wave.awaited].map(|number| number.to_string());
        std::iter::once(wave.wave.clone()).chain(numbers).collect()
    };
    output.table(&["WAVE", "ANSWERED", "FAILED", "AWAITED"], run.waves.iter().map(row).collect())
}

fn council_rows(council: &CouncilState) -> Vec<Row> {
    if council.deleted {
        return vec![("role", council.role.clone()), ("status", "deleted".to_owned())];
    }
    let review = match (council.review, council.rounds) {
        (false, _) => "no".to_owned(),
        (true, rounds) => format!("{} rounds", rounds.max(1)),
    };
    vec![
        ("role", council.role.clone()),
        ("status", if council.parked.is_empty() { "at work" } else { "parked" }.to_owned()),
        ("reason", council.parked.clone()),
        ("review", review),
        ("type", council.agent_type.clone()),
        ("model", council.model.clone()),
        ("created", time(council.created_at_ms)),
    ]
}

fn seats(council: &CouncilState, output: &Output) -> io::Result<()> {
    output.line("")?;
    let row = |seat: &crate::grpc::proto::moothall::v1::SeatState| {
        vec![seat.agent_id.clone(), seat.model.clone(), seat.endpoint.clone()]
    };
    output.table(&["AGENT", "MODEL", "ENDPOINT"], council.seats.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_number_is_an_event_and_everything_else_a_time() {
        assert_eq!(place("12"), Ok(Place::Seq(12)));
        assert_eq!(place("2h"), Ok(Place::Time(Moment::Ago(Duration::from_secs(7_200)))));
        assert_eq!(place("2026-11-21T07:30:00Z"), Ok(Place::Time(Moment::At(1_795_246_200_000))));
        for wrong in ["0", "-1", "soon", ""] {
            let rule = place(wrong).unwrap_err();
            assert!(rule.contains("15m") && rule.ends_with("or an event's number, from 1"), "{rule}");
        }
    }

    #[test]
    fn a_task_of_the_queue_says_where_it_stands() {
        let task =
            |queue: &str| TaskState { status: TaskStatus::Open.into(), queue: queue.into(), ..Default::default() };
        assert_eq!((standing(&task("BLOCKED")).as_str(), standing(&task("")).as_str()), ("open (BLOCKED)", "open"));
    }
}
