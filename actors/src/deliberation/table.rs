//! A table to try a deliberation's state on: the test is journal, model, checks and clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::record::Record;
use super::state::State;
use super::step::{Ask, Effect, Input, Timer};
use crate::artifact::Wanted;
use crate::domain::answer::{Answer, Class, Failure, Finish, Usage};
use crate::domain::check::{CheckOutcome, CheckReport};
use crate::domain::council::{Capabilities, Endpoint, Sampling, Seat};
use crate::domain::event::{Event, NewEvent, Plan};
use crate::domain::id::{AgentId, CallId, EventId, Role, RunId, Stage, TaskId, Timestamp};
use crate::domain::task::{TaskDraft, TaskSpec};
use crate::domain::verdict::Outcome;
use crate::error::SystemError;
use crate::ports::Subject;

pub(crate) fn plan(seats: usize, rounds: u8) -> Plan {
    let role = Role::parse("role", "DEV").unwrap();
    let seat = |ordinal| Seat {
        agent: AgentId::of_council(&role, ordinal),
        endpoint: Endpoint::Pool,
        model: "".into(),
        sampling: Sampling::default(),
        capabilities: Capabilities::default(),
        metadata: BTreeMap::new(),
    };
    let draft = TaskDraft { role: "DEV".into(), description: "d".into(), ..TaskDraft::default() };
    Plan {
        run: RunId { task: TaskId::parse("task_id", "t").unwrap(), run: 1 },
        spec: Arc::new(draft.check().unwrap()),
        seats: (1..=seats).map(seat).collect(),
        architect: None,
        rounds,
        wanted: Wanted::Auto,
        protected: Vec::new(),
        budget_tokens: None,
        clamped: false,
        prefix: "brief".into(),
        context: None,
        prompts_hash: "prompts".into(),
        policy_hash: "policy".into(),
        ray_fallback: false,
        structured: true,
        salt: 7,
        execution_id: "0000000000000007".into(),
        outputs: Vec::new(),
        deadline: Duration::from_secs(300),
        call_timeout: Duration::from_secs(60),
    }
}

/// The same, for a task whose winner an architect chooses.
pub(crate) fn chosen_by_architect(plan: Plan) -> Plan {
    let architect = Seat { agent: AgentId::of_council(&Role::architect(), 1), ..plan.seats[0].clone() };
    let spec = TaskSpec { architect: true, ..(*plan.spec).clone() };
    Plan { architect: Some(architect), spec: Arc::new(spec), ..plan }
}

pub(crate) fn answer(text: &str) -> Answer {
    Answer {
        text: text.into(),
        reasoning: None,
        usage: Usage { prompt: 100, completion: 50 },
        finish: Finish::Stop,
        model: "m".into(),
        attempts: 1,
        duration: Duration::from_millis(5),
    }
}

/// What every call is answered with when nothing goes wrong: texts differ by seat, ratings by reviewer.
pub(crate) fn usual(call: &CallId) -> Answer {
    let digit = call.agent.as_str().bytes().last().unwrap_or(b'0') - b'0';
    match call.wave.stage {
        Stage::Critique => answer(&format!(r#"{{"summary":"s","ratings":[{{"rating":{digit}}}]}}"#)),
        Stage::Select => answer(r#"{"ranking":[{"candidate":"A","reason":"the first place"}]}"#),
        stage => answer(&format!("{stage} of {digit} in {}", call.wave.round)),
    }
}

/// One run on the table.
pub(crate) struct Table {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// Durable events of the run.
    pub(crate) log: Vec<NewEvent>,
    /// Handed to the journal and not durable; the last of a decision carries the task's event.
    pub(crate) pending: VecDeque<(Vec<NewEvent>, Option<Event>)>,
    /// Asked and not answered.
    pub(crate) asks: VecDeque<Ask>,
    pub(crate) asked: Vec<Ask>,
    /// HTTP requests made for them, known to the run or not.
    pub(crate) requests: u32,
    pub(crate) repeats: VecDeque<CallId>,
    pub(crate) subjects: Option<Vec<Subject>>,
    pub(crate) timers: Vec<(Timer, Duration)>,
    pub(crate) withdrawn: u32,
    pub(crate) finals: Vec<Event>,
    pub(crate) ending: Option<Result<Arc<Outcome>, SystemError>>,
    ids: u64,
}

impl Table {
    fn at(state: State, log: Vec<NewEvent>, now: Timestamp) -> Self {
        let ids = log.len() as u64;
        Self {
            state,
            now,
            log,
            pending: VecDeque::new(),
            asks: VecDeque::new(),
            asked: Vec::new(),
            requests: 0,
            repeats: VecDeque::new(),
            subjects: None,
            timers: Vec::new(),
            withdrawn: 0,
            finals: Vec::new(),
            ending: None,
            ids,
        }
    }

    pub(crate) fn begin(plan: Plan) -> Self {
        let now = Timestamp(1_000);
        let mut table = Self::at(State::begin(Arc::new(plan), now), Vec::new(), now);
        table.take(Input::Begin);
        table
    }

    /// Begun, and its first event is durable.
    pub(crate) fn begun(plan: Plan) -> Self {
        let mut table = Self::begin(plan);
        table.acknowledge();
        table
    }

    /// As after a crash that left these events.
    pub(crate) fn resumed(log: &[NewEvent], downtime: Duration) -> Self {
        let last = log.last().unwrap().at;
        let now = Timestamp(last.0 + downtime.as_millis() as u64);
        let mut table = Self::at(State::with(fold(log)), log.to_vec(), now);
        table.take(Input::Resume);
        table
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.now.0 += millis;
    }

    pub(crate) fn take(&mut self, input: Input) {
        for effect in self.state.step(self.now, input) {
            match effect {
                Effect::Note(event) => {
                    let outcome = self.stamp(event);
                    self.pending.push_back((vec![outcome], None));
                }
                Effect::Decide { event, task } => {
                    let decision = self.stamp(event);
                    self.pending.push_back((vec![decision], task.map(|task| *task)));
                }
                Effect::Ask(ask) => {
                    self.asked.push(ask.clone());
                    self.asks.push_back(ask);
                }
                Effect::Submit(submit) => assert!(submit.asks.is_empty(), "no seat of a table is the executor's"),
                Effect::Recall => {}
                Effect::Withdraw => {
                    self.withdrawn += 1;
                    self.asks.clear();
                }
                Effect::Check { subjects, within } => {
                    assert!(within >= Duration::from_secs(5), "too little time for the checks");
                    self.subjects = Some(subjects);
                }
                Effect::Arm { timer: Timer::Repeat(call), .. } => self.repeats.push_back(call),
                Effect::Arm { timer, after } => self.timers.push((timer, after)),
                Effect::Show(_) => {}
                Effect::End(ending) => self.ending = Some(ending),
            }
        }
    }

    fn stamp(&mut self, event: Event) -> NewEvent {
        self.ids += 1;
        let id = EventId(u128::from(self.ids).to_be_bytes());
        NewEvent { id, at: self.now, correlation: None, causation: None, event }
    }

    /// The oldest batch is durable.
    pub(crate) fn acknowledge(&mut self) {
        let Some((events, task)) = self.pending.pop_front() else { return };
        self.log.extend(events.clone());
        self.finals.extend(task);
        self.take(Input::Appended { events: events.into() });
    }

    pub(crate) fn acknowledge_all(&mut self) {
        while !self.pending.is_empty() {
            self.acknowledge();
        }
    }

    /// The oldest ask is answered like this.
    pub(crate) fn reply(&mut self, reply: impl FnOnce(&Ask) -> Result<Answer, Failure>) {
        let Some(ask) = self.asks.pop_front() else { return };
        let reply = reply(&ask);
        self.requests += reply.as_ref().map_or_else(|failure| failure.attempts, |answer| answer.attempts);
        let call = ask.call;
        self.take(match reply {
            Ok(answer) => {
                let draft = self.state.record().drafting(&call).map(|drafting| drafting.now(&answer.text));
                Input::Answered { call, answer, draft }
            }
            Err(failure) => Input::Failed { call, failure },
        });
    }

    pub(crate) fn check(&mut self) {
        let Some(subjects) = self.subjects.take() else { return };
        self.take(Input::Checked { reports: subjects.iter().map(|subject| report(&subject.text)).collect() });
    }

    /// All that is asked now is answered as usual, and durable.
    pub(crate) fn wave(&mut self) {
        let asked = self.asks.len();
        for _ in 0..asked {
            self.reply(|ask| Ok(usual(&ask.call)));
        }
        self.acknowledge_all();
    }

    /// Goes on as usual to the end.
    pub(crate) fn finish(&mut self) {
        for _ in 0..1_000 {
            if self.ending.is_some() {
                return;
            }
            self.pass(1);
            self.acknowledge();
            self.reply(|ask| Ok(usual(&ask.call)));
            if let Some(call) = self.repeats.pop_front() {
                self.take(Input::RepeatDue { call });
            }
            self.check();
        }
        panic!("the run stands still: {:?}", self.state);
    }

    pub(crate) fn outcome(&self) -> Arc<Outcome> {
        self.ending.clone().unwrap().unwrap()
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.log.iter().map(|new| new.event.kind()).collect()
    }
}

pub(crate) fn fold(log: &[NewEvent]) -> Record {
    let Event::DeliberationStarted(plan) = &log[0].event else { panic!("it begins with its start") };
    Record::fold(plan.clone(), log[0].at, log[1..].iter().map(|new| (&new.event, new.at)))
}

/// Fails what contains `FORBIDDEN`.
pub(crate) fn report(text: &str) -> CheckReport {
    let policy = match text.contains("FORBIDDEN") {
        true => CheckOutcome::Failed { findings: vec!["forbidden".into()] },
        false => CheckOutcome::Passed,
    };
    CheckReport { policy, ..CheckReport::not_run(&"simulated".into()) }
}

pub(crate) fn failure(class: Class) -> Failure {
    Failure { attempts: 1, ..Failure::new(class, "as told") }
}

/// The call whose outcome an event is.
pub(crate) fn call_of(event: &Event) -> Option<String> {
    match event {
        Event::CallAnswered { call, .. } | Event::CallFailed { call, .. } => Some(call.to_string()),
        _ => None,
    }
}
