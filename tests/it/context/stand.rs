//! A context service for tests: does what it is told, counts what it was asked, and can be killed like a process.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moothall::context::{ContextClient, ContextSettings};
use moothall::grpc::proto::fleet::context::v1::context_service_server::{ContextService, ContextServiceServer};
use moothall::grpc::proto::fleet::context::v1::{GetContextRequest, GetContextResponse};
use moothall::line::ServiceAddress;
use moothall_actors::ports::{ContextQuery, StoryPhase};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::place;
pub(crate) use crate::served::PATIENCE;
use crate::served::{Served, until};

/// What it does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    Says(GetContextResponse),
    /// The same, once the test opens the gate.
    SaysLater(GetContextResponse),
    Fails(Status),
    Hangs,
}

/// What the test sees.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<GetContextRequest>,
    pub(crate) metadata: Vec<MetadataMap>,
    pub(crate) in_flight: usize,
    pub(crate) highest: usize,
}

struct Shared {
    /// One after the other; the last one stays.
    manners: Mutex<VecDeque<Manner>>,
    seen: Mutex<Seen>,
    gate: watch::Sender<bool>,
}

/// A service under a runtime of its own.
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    served: Served,
}

impl Stand {
    /// On any free port.
    pub(crate) async fn start(manners: impl IntoIterator<Item = Manner>) -> Self {
        Self::start_at(place::any(), manners).await
    }

    /// On a port that may just have been another's.
    pub(crate) async fn start_at(address: SocketAddr, manners: impl IntoIterator<Item = Manner>) -> Self {
        let manners = Mutex::new(manners.into_iter().collect());
        let shared = Arc::new(Shared { manners, seen: Mutex::default(), gate: watch::Sender::new(false) });
        let service = ContextServiceServer::new(Service(Arc::clone(&shared)));
        let served = Served::start(address, Routes::new(service)).await;
        Self { address: served.address, shared, served }
    }

    pub(crate) fn client(&self, settings: ContextSettings) -> ContextClient {
        client(self.address, settings)
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.seen.lock().unwrap())
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen(|seen| seen.requests.len())
    }

    /// Lets all go on that were told to answer later.
    pub(crate) fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Returns when the claim has come true.
    pub(crate) async fn until(&self, what: &str, claim: impl Fn(&Seen) -> bool) {
        until(what, || self.seen(&claim)).await;
    }

    /// Returns when its sockets are closed; nothing says goodbye.
    pub(crate) async fn kill(self) {
        self.served.kill().await;
    }
}

pub(crate) fn client(address: SocketAddr, settings: ContextSettings) -> ContextClient {
    let address = ServiceAddress::parse(&address.to_string()).unwrap().unwrap();
    ContextClient::new(address, settings).unwrap()
}

/// Patient, so that a busy machine fails no test that is not about time.
pub(crate) fn patient() -> ContextSettings {
    ContextSettings { deadline: PATIENCE, ..ContextSettings::default() }
}

/// In a hurry, for those that are.
pub(crate) fn hurried() -> ContextSettings {
    ContextSettings { deadline: Duration::from_millis(300), ..ContextSettings::default() }
}

pub(crate) fn query(story: &str) -> ContextQuery {
    ContextQuery::new(story, "DEV", StoryPhase::Build)
}

pub(crate) fn response(version: &str) -> GetContextResponse {
    GetContextResponse {
        context: format!("known in {version}"),
        token_count: 3,
        version: version.to_owned(),
        ..GetContextResponse::default()
    }
}

pub(crate) fn says(version: &str) -> Manner {
    Manner::Says(response(version))
}

struct Service(Arc<Shared>);

impl Service {
    fn enter(&self, request: Request<GetContextRequest>) -> Guard {
        let mut seen = self.0.seen.lock().unwrap();
        seen.metadata.push(request.metadata().clone());
        seen.requests.push(request.into_inner());
        seen.in_flight += 1;
        seen.highest = seen.highest.max(seen.in_flight);
        Guard(Arc::clone(&self.0))
    }

    fn manner(&self) -> Manner {
        let mut manners = self.0.manners.lock().unwrap();
        let next = if manners.len() > 1 { manners.pop_front() } else { manners.front().cloned() };
        next.unwrap()
    }
}

/// Counts a call as long as it lasts, also one that is cancelled.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.seen.lock().unwrap().in_flight -= 1;
    }
}

#[tonic::async_trait]
impl ContextService for Service {
    async fn get_context(&self, request: Request<GetContextRequest>) -> Result<Response<GetContextResponse>, Status> {
        let manner = self.manner();
        let _guard = self.enter(request);
        match manner {
            Manner::Says(response) => Ok(Response::new(response)),
            Manner::SaysLater(response) => {
                let mut gate = self.0.gate.subscribe();
                gate.wait_for(|open| *open).await.unwrap();
                Ok(Response::new(response))
            }
            Manner::Fails(status) => Err(status),
            Manner::Hangs => std::future::pending().await,
        }
    }
}
