//! Which service answers a call, by the first part of its path, and until when.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower_service::Service;

use super::codec::MAX_REQUEST_BYTES;
use super::councils::Councils;
use super::deadline::{self, Deadline};
use super::door::Door;
use super::journal::{JournalAdmin, JournalDoor};
use super::legacy::Legacy;
use super::orchestrator::Orchestrator;
use super::proto::fleet::orchestrator::v1::orchestrator_service_server::OrchestratorServiceServer;
use super::proto::moothall::v1::council_service_server::CouncilServiceServer;
use super::proto::moothall::v1::journal_service_server::JournalServiceServer;
use super::proto::moothall::v1::task_service_server::TaskServiceServer;
use super::proto::orchestrator::v1::orchestrator_service_server::OrchestratorServiceServer as LegacyServer;
use super::tasks::Tasks;

type Fleet = OrchestratorServiceServer<Orchestrator>;
type Older = LegacyServer<Legacy>;
type TaskDoor = TaskServiceServer<Tasks>;
type CouncilDoor = CouncilServiceServer<Councils>;
type JournalReader = JournalServiceServer<JournalDoor>;

/// The names of the daemon's own services, as health and reflection know them.
pub(super) const NAMES: [&str; 5] = [Fleet::NAME, Older::NAME, TaskDoor::NAME, CouncilDoor::NAME, JournalReader::NAME];

/// The daemon's own services are met directly; a router in front of them would cost as much as a short call.
#[derive(Clone)]
pub(super) struct Services {
    fleet: Fleet,
    older: Older,
    tasks: TaskDoor,
    councils: CouncilDoor,
    journal: JournalReader,
    /// Health and reflection; says UNIMPLEMENTED to every other name.
    others: Routes,
}

impl Services {
    pub(super) fn new(door: &Door, journal: Arc<dyn JournalAdmin>, others: Routes) -> Self {
        let tasks = Tasks { door: door.clone(), journal: journal.clone() };
        let journal = JournalDoor { door: door.clone(), journal };
        Self {
            fleet: Fleet::new(Orchestrator(door.clone())).max_decoding_message_size(MAX_REQUEST_BYTES),
            older: Older::new(Legacy(door.clone())).max_decoding_message_size(MAX_REQUEST_BYTES),
            tasks: TaskDoor::new(tasks).max_decoding_message_size(MAX_REQUEST_BYTES),
            councils: CouncilDoor::new(Councils(door.clone())).max_decoding_message_size(MAX_REQUEST_BYTES),
            journal: JournalReader::new(journal).max_decoding_message_size(MAX_REQUEST_BYTES),
            others,
        }
    }

    fn route(&mut self, request: Request<Body>) -> Answer {
        match request.uri().path().split('/').nth(1).unwrap_or_default() {
            Fleet::NAME => self.fleet.call(request),
            Older::NAME => self.older.call(request),
            TaskDoor::NAME => self.tasks.call(request),
            CouncilDoor::NAME => self.councils.call(request),
            JournalReader::NAME => self.journal.call(request),
            _ => Box::pin(self.others.call(request)),
        }
    }
}

pub(super) type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        let Some(deadline) = Deadline::of(request.headers()) else { return self.route(request) };
        request.extensions_mut().insert(deadline);
        Box::pin(deadline::keep(deadline, self.route(request)))
    }
}
