//! One query on the wire: a place, a call, perhaps one more, all within the deadline.

use std::time::Duration;

use moothall_actors::ports::{Context, ContextError, ContextQuery};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::answer;
use super::settings::ContextSettings;
use super::standing::Standing;
use super::trouble::Trouble;
use crate::grpc::proto::fleet::context::v1::{GetContextRequest, GetContextResponse};
use crate::line::{Line, ServiceAddress};

const GET_CONTEXT: &str = "/fleet.context.v1.ContextService/GetContext";
/// The service is told a little more time than there is: who gives up first is this side, which knows why.
const GRACE: Duration = Duration::from_millis(250);
/// Longest name in a query, in bytes.
const MOST_NAME_BYTES: usize = 1024;

pub(super) struct Exchange {
    pub(super) address: ServiceAddress,
    pub(super) standing: Standing,
    line: Line,
    settings: ContextSettings,
    places: Semaphore,
}

impl Exchange {
    pub(super) fn new(address: ServiceAddress, line: Line, settings: ContextSettings) -> Self {
        let places = Semaphore::new(settings.calls.clamp(1, Semaphore::MAX_PERMITS));
        Self { address, standing: Standing::default(), line, settings, places }
    }

    /// Refuses a query that no service could answer.
    pub(super) fn check(&self, query: &ContextQuery) -> Result<(), ContextError> {
        let why = fault(query);
        why.map_or(Ok(()), |why| Err(Trouble::invalid(why).into_error(self.address.shown())))
    }

    /// Asks the service.
    pub(super) async fn fetch(&self, query: &ContextQuery) -> Result<Context, ContextError> {
        let outcome = self.course(query).await;
        self.standing.tell(&outcome, self.address.shown());
        match outcome {
            Ok(answer) => Ok(answer::context(answer, query.token_budget)),
            Err(trouble) => Err(trouble.into_error(self.address.shown())),
        }
    }

    async fn course(&self, query: &ContextQuery) -> Result<GetContextResponse, Trouble> {
        let deadline = Instant::now() + self.settings.deadline;
        let _place = self.place(deadline).await?;
        let mut before = None;
        loop {
            let (channel, number) = self.line.channel();
            let Ok(outcome) = timeout_at(deadline, self.ask(channel, query, deadline)).await else {
                self.line.doubt(number);
                return Err(Trouble::silent(self.settings.deadline, before.as_ref()));
            };
            let trouble = match outcome {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let has_time = Instant::now() + self.settings.retry_pause < deadline;
            if before.is_some() || !trouble.may_retry || !has_time {
                return Err(trouble);
            }
            before = Some(trouble);
            sleep(self.settings.retry_pause).await;
        }
    }

    async fn place(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Trouble> {
        // Nobody closes the semaphore, so that both errors mean the same.
        let place = timeout_at(deadline, self.places.acquire()).await.ok().and_then(Result::ok);
        place.ok_or_else(|| Trouble::crowded(self.settings.calls, self.settings.deadline))
    }

    async fn ask(
        &self,
        channel: tonic::transport::Channel,
        query: &ContextQuery,
        deadline: Instant,
    ) -> Result<GetContextResponse, Trouble> {
        let most = self.settings.most_answer_bytes;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(most);
        let ready = grpc.ready().await;
        ready.map_err(|error| Trouble::of(&tonic::Status::from_error(Box::new(error)), most))?;
        let mut request = Request::new(message(query));
        request.set_timeout(deadline.saturating_duration_since(Instant::now()) + GRACE);
        let codec = ProstCodec::<GetContextRequest, GetContextResponse>::default();
        let answered = grpc.unary(request, PathAndQuery::from_static(GET_CONTEXT), codec).await;
        answered.map(tonic::Response::into_inner).map_err(|status| Trouble::of(&status, most))
    }
}

fn message(query: &ContextQuery) -> GetContextRequest {
    GetContextRequest {
        story_id: query.story_id.to_string(),
        role: query.role.to_string(),
        phase: query.phase.as_str().to_owned(),
        subtask_id: query.subtask_id.to_string(),
        token_budget: i32::try_from(query.token_budget).unwrap_or(i32::MAX),
    }
}

fn fault(query: &ContextQuery) -> Option<String> {
    if query.story_id.is_empty() {
        return Some("the query names no story".to_owned());
    }
    if !(1..=i32::MAX.unsigned_abs()).contains(&query.token_budget) {
        return Some(format!("the token budget is {}, not from 1 to {}", query.token_budget, i32::MAX));
    }
    let names = [("story", &query.story_id), ("role", &query.role), ("subtask", &query.subtask_id)];
    let long = names.into_iter().find(|(_, name)| name.len() > MOST_NAME_BYTES);
    long.map(|(what, name)| format!("the {what}'s name has {} bytes, more than {MOST_NAME_BYTES}", name.len()))
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::answer::Class;
    use moothall_actors::ports::StoryPhase;

    use super::super::standing::ContextState;
    use super::*;

    fn query() -> ContextQuery {
        ContextQuery::new("story-1", "DEV", StoryPhase::Docs)
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_place_in_time_is_told_so() {
        let address = ServiceAddress::parse("context:50054").unwrap().unwrap();
        let settings = ContextSettings { calls: 2, ..ContextSettings::default() };
        let line = Line::new(&address, settings.deadline, Box::new(|_| panic!("nothing is to be sent"))).unwrap();
        let exchange = Exchange::new(address, line, settings);
        let _taken = exchange.places.acquire_many(2).await.unwrap();
        let begun = Instant::now();
        let error = exchange.fetch(&query()).await.unwrap_err();
        assert_eq!((error.class, begun.elapsed()), (Class::TimedOut, settings.deadline));
        assert_eq!(&*error.message, "context service http://context:50054: 2 calls were under way for all of 2s");
        let why = "2 calls were under way for all of 2s".into();
        assert_eq!(exchange.standing.state(), Some(ContextState::Degraded { why }));
    }

    #[test]
    fn a_query_says_what_is_asked() {
        let query = ContextQuery { subtask_id: "part-2".into(), token_budget: 300, ..query() };
        let want = GetContextRequest {
            story_id: "story-1".to_owned(),
            role: "DEV".to_owned(),
            phase: "DOCS".to_owned(),
            subtask_id: "part-2".to_owned(),
            token_budget: 300,
        };
        assert_eq!(message(&query), want);
    }

    #[test]
    fn a_query_that_cannot_be_answered_is_named() {
        assert_eq!(fault(&query()), None);
        assert_eq!(fault(&ContextQuery { token_budget: i32::MAX as u32, ..query() }), None);
        let long: std::sync::Arc<str> = "x".repeat(1_025).into();
        for (wrong, why) in [
            (ContextQuery { story_id: "".into(), ..query() }, "names no story"),
            (ContextQuery { token_budget: 0, ..query() }, "budget is 0"),
            (ContextQuery { token_budget: u32::MAX, ..query() }, "budget is 4294967295"),
            (ContextQuery { story_id: long.clone(), ..query() }, "story's name has 1025 bytes"),
            (ContextQuery { role: long.clone(), ..query() }, "role's name has"),
            (ContextQuery { subtask_id: long, ..query() }, "subtask's name has"),
        ] {
            assert!(fault(&wrong).is_some_and(|said| said.contains(why)), "{why}");
        }
    }
}
