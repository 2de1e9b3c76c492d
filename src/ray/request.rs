//! A wave as the executor takes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::ports::ModelCall;
use moothall_actors::ports::executor::WaveCall;
use prost::Message as _;

use crate::error::cut;
use crate::grpc::proto::fleet::ray_executor::v1::{
    Agent, BacklogReviewTaskConstraints, ExecuteBacklogReviewDeliberationRequest, ExecuteDeliberationRequest,
    TaskConstraints,
};
use crate::vllm::Commission;

/// The line that parts the system message from the user's.
const MARK: &str = "---user---";
/// What stands in its place where a text has it: what is asked for stays what it is, whatever it says.
const DEFUSED: &str = "--- user ---";
/// The executor shows it; every prompt is whole without it.
const MOST_DESCRIPTION_BYTES: usize = 4096;
/// Attempts of a later run come after all of an earlier one. A wave has at most four for each of its seats.
const ATTEMPTS_OF_A_RUN: u32 = 1000;

/// A request of either kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Deliberation(ExecuteDeliberationRequest),
    BacklogReview(ExecuteBacklogReviewDeliberationRequest),
}

impl Request {
    /// On the wire, in bytes.
    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Deliberation(request) => request.encoded_len(),
            Self::BacklogReview(request) => request.encoded_len(),
        }
    }
}

/// The executor's name for a wave, before it has given one itself.
pub(super) fn task_id(wave: &WaveCall) -> Arc<str> {
    format!("{}/{}", wave.run.task, wave.wave).into()
}

/// Which of all submissions under that name.
pub(super) fn attempt(wave: &WaveCall) -> u32 {
    wave.run.run.saturating_sub(1).saturating_mul(ATTEMPTS_OF_A_RUN).saturating_add(wave.attempt)
}

pub(super) fn request(wave: &WaveCall, commission: &Commission) -> Request {
    let common = ExecuteDeliberationRequest {
        task_id: task_id(wave).to_string(),
        task_description: cut(&wave.description, MOST_DESCRIPTION_BYTES),
        role: wave.role.to_string(),
        constraints: Some(TaskConstraints {
            story_id: wave.story.as_deref().unwrap_or_default().to_owned(),
            plan_id: String::new(),
            timeout_seconds: seconds(wave.calls.iter().map(|call| call.timeout).max().unwrap_or_default()),
            // The wire has no word for «none»: 0 means three.
            max_retries: retries(wave.calls.iter().map(|call| call.most_attempts).min().unwrap_or_default()),
            metadata: metadata(wave, commission),
        }),
        agents: wave.calls.iter().zip(&commission.calls).map(|(call, made)| agent(wave, call, &made.model)).collect(),
        vllm_url: commission.server.clone(),
        vllm_model: commission.calls.first().map(|made| made.model.clone()).unwrap_or_default(),
    };
    if wave.backlog { Request::BacklogReview(of_backlog(common)) } else { Request::Deliberation(common) }
}

fn of_backlog(request: ExecuteDeliberationRequest) -> ExecuteBacklogReviewDeliberationRequest {
    let ExecuteDeliberationRequest { task_id, task_description, role, constraints, agents, vllm_url, vllm_model } =
        request;
    let constraints = constraints.map(|constraints| BacklogReviewTaskConstraints {
        story_id: constraints.story_id,
        timeout_seconds: constraints.timeout_seconds,
        max_retries: constraints.max_retries,
        metadata: constraints.metadata,
    });
    ExecuteBacklogReviewDeliberationRequest {
        task_id,
        task_description,
        role,
        constraints,
        agents,
        vllm_url,
        vllm_model,
    }
}

fn agent(wave: &WaveCall, call: &ModelCall, model: &str) -> Agent {
    Agent {
        id: call.id.agent.to_string(),
        role: wave.role.to_string(),
        model: model.to_owned(),
        prompt_template: prompt(&call.shared, &call.ask),
    }
}

fn prompt(shared: &str, ask: &str) -> String {
    // The last line of the first text ends before the mark.
    let system = if shared.contains(MARK) { shared.replace(MARK, DEFUSED) } else { shared.to_owned() };
    format!("{system}\n{MARK}\n{ask}")
}

fn metadata(wave: &WaveCall, commission: &Commission) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([("attempt".to_owned(), attempt(wave).to_string())]);
    for (call, made) in wave.calls.iter().zip(&commission.calls) {
        let agent = &call.id.agent;
        metadata.insert(format!("params.{agent}"), made.params.clone());
        metadata.insert(format!("call.{agent}"), call.id.to_string());
    }
    metadata
}

/// Whole ones, and never 0, which means five minutes.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i32::MAX).clamp(1, 86_400)
}

fn retries(most_attempts: u32) -> i32 {
    i32::try_from(most_attempts.saturating_sub(1)).unwrap_or(i32::MAX).clamp(1, 100)
}

#[cfg(test)]
mod tests {
    use moothall_actors::testing::wave_call as wave;

    use super::*;
    use crate::vllm::Commissioned;

    fn commission(seats: usize) -> Commission {
        let made = Commissioned { model: "m".into(), params: r#"{"max_tokens":1}"#.into() };
        Commission { server: "http://gpu:8000".into(), calls: vec![made; seats] }
    }

    #[test]
    fn a_wave_says_all_that_its_calls_need() {
        let Request::Deliberation(made) = request(&wave(2), &commission(2)) else { panic!() };
        assert_eq!((&*made.task_id, &*made.role, &*made.vllm_url), ("t-1/propose-0", "DEV", "http://gpu:8000"));
        assert_eq!(made.agents[1].id, "agent-dev-002");
        assert_eq!(made.agents[1].prompt_template, "shared\n---user---\nask 2");
        let constraints = made.constraints.unwrap();
        assert_eq!((constraints.timeout_seconds, constraints.max_retries), (60, 3));
        assert_eq!(constraints.metadata["attempt"], "1");
        assert_eq!(constraints.metadata["call.agent-dev-002"], "t-1/1/propose-0/agent-dev-002");
        assert_eq!(constraints.metadata["params.agent-dev-001"], r#"{"max_tokens":1}"#);
    }

    #[test]
    fn the_review_of_a_backlog_is_asked_for_as_such() {
        let backlog = WaveCall { backlog: true, ..wave(1) };
        let Request::BacklogReview(made) = request(&backlog, &commission(1)) else { panic!() };
        assert_eq!(made.constraints.unwrap().metadata["attempt"], "1");
    }

    #[test]
    fn attempts_of_a_later_run_are_others() {
        let mut later = WaveCall { attempt: 2, ..wave(1) };
        later.run.run = 3;
        assert_eq!((attempt(&wave(1)), attempt(&later)), (1, 2002));
    }

    #[test]
    fn times_are_whole_seconds_and_never_none() {
        let millis = Duration::from_millis;
        assert_eq!([millis(0), millis(5_001), Duration::MAX].map(seconds), [1, 6, 86_400]);
        assert_eq!([1, 2, 4, u32::MAX].map(retries), [1, 1, 3, 100]);
    }

    #[test]
    fn no_text_moves_the_line_between_the_messages() {
        assert_eq!(prompt("a\n---user---\nb", "c\n---user---"), "a\n--- user ---\nb\n---user---\nc\n---user---");
        assert_eq!(prompt("", "c"), "\n---user---\nc");
    }
}
