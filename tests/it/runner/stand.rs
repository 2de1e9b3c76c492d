//! A runner for tests: does what it is told, counts what it was asked, and can be killed like a process.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use moothall::grpc::proto::moothall::v1::agent_runner_server::{AgentRunner, AgentRunnerServer};
use moothall::grpc::proto::moothall::v1::run_update::Update;
use moothall::grpc::proto::moothall::v1::{
    DescribeRequest, DescribeResponse, RunFinish, RunProgress, RunRequest, RunResult, RunStage, RunUpdate,
};
use tokio::time::{Instant, sleep};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::place;
use crate::served::Served;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// What it does with a call: updates with a pause before each, then the end.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) updates: Vec<RunUpdate>,
    pub(crate) pause: Duration,
    pub(crate) end: End,
    /// Only with calls of this stage; others are answered.
    pub(crate) stage: Option<RunStage>,
}

#[derive(Clone, Debug)]
pub(crate) enum End {
    Ok,
    Fails(Status),
    Hangs,
}

impl Manner {
    pub(crate) fn says(text: &str) -> Self {
        let result = RunResult {
            text: text.to_owned(),
            finish: RunFinish::Stop.into(),
            model: "stand-1".into(),
            ..RunResult::default()
        };
        Self::of(vec![RunUpdate { update: Some(Update::Result(result)) }], End::Ok)
    }

    pub(crate) fn hangs() -> Self {
        Self::of(Vec::new(), End::Hangs)
    }

    pub(crate) fn fails(status: Status) -> Self {
        Self::of(Vec::new(), End::Fails(status))
    }

    pub(crate) fn of(updates: Vec<RunUpdate>, end: End) -> Self {
        Self { updates, pause: Duration::ZERO, end, stage: None }
    }

    pub(crate) fn only(self, stage: RunStage) -> Self {
        Self { stage: Some(stage), ..self }
    }
}

pub(crate) fn progress(text: &str) -> RunUpdate {
    RunUpdate { update: Some(Update::Progress(RunProgress { text: text.to_owned() })) }
}

/// What the test sees and sets.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<RunRequest>,
    /// The `authorization` of every call, described ones too.
    pub(crate) keys: Vec<Option<String>>,
    pub(crate) in_flight: usize,
    pub(crate) highest: usize,
    /// Streams that were dropped before their end.
    pub(crate) cancelled: usize,
}

struct Shared {
    manner: Mutex<Manner>,
    describe: Mutex<DescribeResponse>,
    seen: Mutex<Seen>,
}

/// A runner under a runtime of its own. Dropped, it is killed: sockets close, nothing says goodbye.
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _served: Served,
}

impl Stand {
    /// On any free port.
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_at(place::any(), manner).await
    }

    /// On a port that may just have been another's.
    pub(crate) async fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let describe = DescribeResponse { name: "stand".into(), version: "1".into(), ..DescribeResponse::default() };
        let shared =
            Arc::new(Shared { manner: Mutex::new(manner), describe: Mutex::new(describe), seen: Mutex::default() });
        let routes = Routes::new(AgentRunnerServer::new(Service(Arc::clone(&shared))));
        let served = Served::start(address, routes).await;
        Self { address: served.address, shared, _served: served }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("grpc://{}", self.address)
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    pub(crate) fn describe(&self, change: impl FnOnce(&mut DescribeResponse)) {
        change(&mut self.shared.describe.lock().unwrap());
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.seen.lock().unwrap())
    }

    /// Returns when the claim has come true.
    pub(crate) async fn until(&self, what: &str, limit: Duration, claim: impl Fn(&Seen) -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        while !self.seen(&claim) {
            anyhow::ensure!(
                Instant::now() < end,
                "not within {limit:?}: {what}; {:?}",
                self.seen(|seen| seen.in_flight)
            );
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// SIGKILL, as far as its peers can tell.
    pub(crate) fn kill(self) -> SocketAddr {
        self.address
    }
}

struct Service(Arc<Shared>);

impl Service {
    fn note<T>(&self, request: &Request<T>) {
        let key = request.metadata().get("authorization").and_then(|key| key.to_str().ok()).map(str::to_owned);
        self.0.seen.lock().unwrap().keys.push(key);
    }
}

type Updates = Pin<Box<dyn Stream<Item = Result<RunUpdate, Status>> + Send>>;

#[tonic::async_trait]
impl AgentRunner for Service {
    type RunStream = Updates;

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        self.note(&request);
        Ok(Response::new(self.0.describe.lock().unwrap().clone()))
    }

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<Updates>, Status> {
        self.note(&request);
        let manner = self.0.manner.lock().unwrap().clone();
        let request = request.into_inner();
        let manner = match manner.stage {
            Some(stage) if stage != request.stage() => Manner::says("This is what I call the usual way."),
            _ => manner,
        };
        let open = Open::begin(&self.0, request);
        let updates = script(manner);
        let served = stream::unfold((updates, open), |(mut updates, mut open)| async {
            let next = updates.next().await;
            // The end or an error: nothing is left that could be cancelled.
            open.ended = !matches!(next, Some(Ok(_)));
            next.map(|next| (next, (updates, open)))
        });
        Ok(Response::new(Box::pin(served)))
    }
}

fn script(manner: Manner) -> BoxStream<'static, Result<RunUpdate, Status>> {
    let pause = manner.pause;
    let updates = stream::iter(manner.updates).then(move |update| async move {
        sleep(pause).await;
        Ok(update)
    });
    match manner.end {
        End::Ok => updates.boxed(),
        End::Fails(status) => updates.chain(stream::iter([Err(status)])).boxed(),
        End::Hangs => updates.chain(stream::pending()).boxed(),
    }
}

/// One call at the runner.
struct Open {
    shared: Arc<Shared>,
    ended: bool,
}

impl Open {
    fn begin(shared: &Arc<Shared>, request: RunRequest) -> Self {
        let mut seen = shared.seen.lock().unwrap();
        seen.requests.push(request);
        seen.in_flight += 1;
        seen.highest = seen.highest.max(seen.in_flight);
        Self { shared: Arc::clone(shared), ended: false }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut seen = self.shared.seen.lock().unwrap();
        seen.in_flight -= 1;
        seen.cancelled += usize::from(!self.ended);
    }
}
