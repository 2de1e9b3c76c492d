//! What a runner streams, one update at a time, held to its limits. Pure: the time comes in with each update.

use std::time::{Duration, Instant};

use moothall_actors::domain::answer::{Finish, Usage};
use prost::Message as _;

use crate::error::cut;
use crate::grpc::proto::moothall::v1::run_update::Update;
use crate::grpc::proto::moothall::v1::{RunFinish, RunProgress, RunResult, RunUpdate};
use crate::vllm::{Completion, MAX_TEXT, Trouble};

/// Longest progress message, in bytes: some lines for people.
const MAX_PROGRESS: usize = 4 * 1024;
/// Most bytes of all updates of one call: sixteen of the longest answers. Whoever streams every token as progress stays
/// far below; what is above only keeps this side busy.
const MAX_BYTES: usize = 16 * MAX_TEXT;
/// Longest name of a model, in bytes.
const MAX_MODEL_BYTES: usize = 256;
/// Most tokens that one call is believed to have cost, of each kind: a runner may call models many times, but a number
/// out of the air must not use up the day's budget.
const MAX_TOKENS: u64 = 100_000_000;

/// Reads the updates of one call.
#[derive(Debug)]
pub(super) struct Reading {
    progress_per_second: u32,
    bytes: usize,
    /// Progress taken since `second` began.
    taken: u32,
    second: Option<Instant>,
}

/// What an update was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The end.
    Answer(Completion),
    Progress(String),
    /// Progress beyond the limits: a sign of life like any other.
    Dropped,
    Alive,
}

impl Reading {
    pub(super) fn new(progress_per_second: u32) -> Self {
        Self { progress_per_second, bytes: 0, taken: 0, second: None }
    }

    pub(super) fn take(&mut self, update: RunUpdate, now: Instant) -> Result<Taken, Trouble> {
        self.bytes += update.encoded_len();
        if self.bytes > MAX_BYTES {
            return Err(Trouble::refused(format!("its updates have more than {MAX_BYTES} bytes")));
        }
        match update.update {
            None => Ok(Taken::Alive),
            Some(Update::Progress(progress)) => Ok(self.progress(progress, now)),
            Some(Update::Result(result)) => answer(result).map(Taken::Answer),
        }
    }

    fn progress(&mut self, progress: RunProgress, now: Instant) -> Taken {
        if self.second.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.taken = 0;
        }
        if progress.text.len() > MAX_PROGRESS || self.taken >= self.progress_per_second {
            return Taken::Dropped;
        }
        self.taken += 1;
        Taken::Progress(progress.text)
    }
}

fn answer(result: RunResult) -> Result<Completion, Trouble> {
    if result.text.len() + result.reasoning.len() > MAX_TEXT {
        return Err(Trouble::refused(format!("its answer has more than {MAX_TEXT} bytes of text")));
    }
    let finish = match result.finish() {
        RunFinish::Stop => Finish::Stop,
        RunFinish::Length => Finish::Length,
        RunFinish::Other | RunFinish::Unspecified => Finish::Other,
    };
    let model: String = result.model.chars().filter(|c| !c.is_control()).collect();
    let completion = Completion {
        text: result.text.into(),
        reasoning: Some(result.reasoning),
        finish: Some(finish),
        usage: result.usage.map(|usage| Usage {
            prompt: usage.prompt_tokens.min(MAX_TOKENS),
            completion: usage.completion_tokens.min(MAX_TOKENS),
        }),
        cached: None,
        model: Some(cut(model.trim(), MAX_MODEL_BYTES)).filter(|model| !model.is_empty()).map(Into::into),
    };
    Ok(completion.tidied()?)
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::answer::Class;

    use super::*;
    use crate::grpc::proto::moothall::v1::RunUsage;
    use crate::vllm::{Again, Standing};

    fn progress(text: &str) -> RunUpdate {
        RunUpdate { update: Some(Update::Progress(RunProgress { text: text.to_owned() })) }
    }

    fn result(result: RunResult) -> RunUpdate {
        RunUpdate { update: Some(Update::Result(result)) }
    }

    fn text(text: &str) -> RunResult {
        RunResult { text: text.to_owned(), ..RunResult::default() }
    }

    fn read(given: RunResult) -> Result<Completion, Trouble> {
        match Reading::new(20).take(result(given), Instant::now())? {
            Taken::Answer(completion) => Ok(completion),
            other => panic!("{other:?} is no answer"),
        }
    }

    #[test]
    fn an_answer_is_read_whole() {
        let usage = RunUsage { prompt_tokens: 3, completion_tokens: u64::MAX };
        let given = RunResult {
            text: "yes".into(),
            reasoning: "hm".into(),
            usage: Some(usage),
            finish: RunFinish::Length.into(),
            model: " small\u{7}-1 ".into(),
        };
        let answer = read(given).unwrap();
        assert_eq!((&*answer.text, answer.reasoning.as_deref()), ("yes", Some("hm")));
        assert_eq!((answer.finish, answer.model.as_deref()), (Some(Finish::Length), Some("small-1")));
        assert_eq!(answer.usage, Some(Usage { prompt: 3, completion: MAX_TOKENS }));
        let bare = read(text("<think>hm</think>yes")).unwrap();
        assert_eq!((bare.text.as_ref(), bare.reasoning.as_deref()), ("yes", Some("hm")));
        assert_eq!((bare.usage, bare.model, bare.finish), (None, None, Some(Finish::Other)));
    }

    #[test]
    fn an_empty_answer_is_tried_again_and_speaks_not_against_the_runner() {
        let trouble = read(text(" \n")).unwrap_err();
        assert_eq!((trouble.class, trouble.again), (Class::Transient, Again::Later));
        assert_eq!(trouble.standing, Standing::Alive);
    }

    #[test]
    fn an_answer_may_have_a_mebibyte_and_no_byte_more() {
        assert_eq!(read(text(&"x".repeat(MAX_TEXT))).unwrap().text.len(), MAX_TEXT);
        let mut long = text(&"x".repeat(MAX_TEXT));
        long.reasoning = "y".into();
        assert_eq!(read(long).unwrap_err().class, Class::Refused);
    }

    #[test]
    fn progress_beyond_its_limits_is_dropped() {
        let mut reading = Reading::new(2);
        let start = Instant::now();
        let mut take =
            |text: &str, millis| reading.take(progress(text), start + Duration::from_millis(millis)).unwrap();
        assert_eq!(take("a", 0), Taken::Progress("a".into()));
        assert_eq!(take(&"x".repeat(MAX_PROGRESS + 1), 1), Taken::Dropped);
        assert_eq!(take(&"x".repeat(MAX_PROGRESS), 2), Taken::Progress("x".repeat(MAX_PROGRESS)));
        assert_eq!(take("c", 999), Taken::Dropped);
        assert_eq!(take("d", 1000), Taken::Progress("d".into()));
        assert_eq!(reading.take(RunUpdate::default(), start).unwrap(), Taken::Alive);
    }

    #[test]
    fn a_flood_is_ended() {
        let mut reading = Reading::new(20);
        let flood = progress(&"x".repeat(MAX_TEXT));
        let ended = (0..20).find_map(|_| reading.take(flood.clone(), Instant::now()).err()).unwrap();
        assert_eq!((ended.class, ended.again), (Class::Refused, Again::Never));
    }
}
