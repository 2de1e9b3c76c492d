//! The daemon as commands see it: one connection, the generated clients on it.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::exit::{Exit, Failure};
use crate::grpc::proto::fleet::orchestrator::v1::orchestrator_service_client::OrchestratorServiceClient;
use crate::grpc::proto::moothall::v1::council_service_client::CouncilServiceClient;
use crate::grpc::proto::moothall::v1::journal_service_client::JournalServiceClient;
use crate::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The daemon keeps answers below this; a journal event may hold a model's whole answer.
const MOST_BYTES: usize = 16 << 20;

/// A connected daemon.
#[derive(Clone, Debug)]
pub(crate) struct Daemon(Channel);

impl Daemon {
    pub(crate) async fn connect(server: &str) -> Result<Self, Failure> {
        let address = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let wrong = |why: &str| Failure::usage(format!("--server {server}: {why}"));
        if !address.starts_with("http://") {
            return Err(wrong("must be http://host:port"));
        }
        let endpoint = Endpoint::from_shared(address).map_err(|error| wrong(&error.to_string()))?;
        let endpoint = endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|_| {
            Failure::new(Exit::UNAVAILABLE, format!("no daemon answers at {server}"))
                .hint("Start one with `moothall serve`, or name another with --server or MOOTHALL_SERVER.")
        })?;
        Ok(Self(channel))
    }

    pub(crate) fn orchestrator(&self) -> OrchestratorServiceClient<Channel> {
        OrchestratorServiceClient::new(self.0.clone()).max_decoding_message_size(MOST_BYTES)
    }

    pub(crate) fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.0.clone()).max_decoding_message_size(MOST_BYTES)
    }

    pub(crate) fn journal(&self) -> JournalServiceClient<Channel> {
        JournalServiceClient::new(self.0.clone()).max_decoding_message_size(MOST_BYTES)
    }

    pub(crate) fn councils(&self) -> CouncilServiceClient<Channel> {
        CouncilServiceClient::new(self.0.clone())
    }
}
