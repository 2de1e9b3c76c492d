//! Questions to the executor, each answered in time or in trouble, over one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moothall_actors::ports::executor::WaveCall;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::request::{self, Request};
use super::settings::RaySettings;
use super::standing::Standing;
use super::trouble::Trouble;
use crate::grpc::proto::fleet::ray_executor::v1::ray_executor_service_client::RayExecutorServiceClient;
use crate::grpc::proto::fleet::ray_executor::v1::{
    GetDeliberationStatusRequest, GetDeliberationStatusResponse, GetStatusRequest, GetStatusResponse,
};
use crate::grpc::proto::moothall::v1::executor_control_client::ExecutorControlClient;
use crate::grpc::proto::moothall::v1::{ExecutorCancelRequest, ExecutorUpdate, ExecutorWatchRequest};
use crate::line::{Line, ServiceAddress};
use crate::vllm::{Commission, MAX_TEXT};

/// All results of a wave at once: 32 seats, each as JSON that escapes every byte of the longest answer.
const MOST_STATUS_BYTES: usize = 64 * 1024 * 1024;
/// One result, with its names.
const MOST_UPDATE_BYTES: usize = 4 * MAX_TEXT;

pub(super) struct Exchange {
    pub(super) address: ServiceAddress,
    pub(super) settings: RaySettings,
    pub(super) standing: Standing,
    line: Line,
    /// The connection, counted from one, whose executor cannot be watched.
    unwatched: AtomicU64,
}

impl Exchange {
    pub(super) fn new(address: ServiceAddress, settings: RaySettings) -> Result<Self, tonic::transport::Error> {
        let line = Line::to(&address, settings.answer_within)?;
        Ok(Self { address, settings, standing: Standing::default(), line, unwatched: AtomicU64::new(0) })
    }

    pub(super) fn shown(&self) -> &Arc<str> {
        self.address.shown()
    }

    /// Hands a wave over; answers with the executor's name for it.
    pub(super) async fn submit(&self, wave: &WaveCall, commission: &Commission) -> Result<Arc<str>, Trouble> {
        let submitted = self.ask(async |channel| {
            let mut client = RayExecutorServiceClient::new(channel);
            match request::request(wave, commission) {
                Request::Deliberation(request) => client.execute_deliberation(request).await,
                Request::BacklogReview(request) => client.execute_backlog_review_deliberation(request).await,
            }
        });
        let name = submitted.await?.deliberation_id;
        if name.is_empty() { Err(Trouble::Away("it took a wave without naming it".into())) } else { Ok(name.into()) }
    }

    pub(super) async fn health(&self) -> Result<GetStatusResponse, Trouble> {
        self.ask(async |channel| RayExecutorServiceClient::new(channel).get_status(GetStatusRequest::default()).await)
            .await
    }

    pub(super) async fn status(&self, name: &str) -> Result<GetDeliberationStatusResponse, Trouble> {
        let request = GetDeliberationStatusRequest { deliberation_id: name.to_owned() };
        self.ask(async |channel| {
            let mut client = RayExecutorServiceClient::new(channel).max_decoding_message_size(MOST_STATUS_BYTES);
            client.get_deliberation_status(request).await
        })
        .await
    }

    pub(super) async fn cancel(&self, name: &str) -> Result<(), Trouble> {
        let request = ExecutorCancelRequest { deliberation_id: name.to_owned() };
        self.ask(async |channel| ExecutorControlClient::new(channel).cancel(request).await).await.map(drop)
    }

    async fn ask<T>(&self, ask: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>) -> Result<T, Trouble> {
        let (channel, number) = self.line.channel();
        let outcome = match timeout(self.settings.answer_within, ask(channel)).await {
            Ok(answered) => answered.map(Response::into_inner).map_err(|status| Trouble::of(&status)),
            Err(_) => {
                self.line.doubt(number);
                Err(Trouble::silent(self.settings.answer_within))
            }
        };
        self.standing.tell(&outcome, self.shown());
        outcome
    }

    /// Watches a wave. An executor may say nothing at all before there is a result, so that this waits for as long.
    pub(super) async fn watch(&self, name: &str) -> Result<Streaming<ExecutorUpdate>, Trouble> {
        let (channel, number) = self.line.channel();
        let mut client = ExecutorControlClient::new(channel).max_decoding_message_size(MOST_UPDATE_BYTES);
        let opened = client.watch(ExecutorWatchRequest { deliberation_id: name.to_owned() }).await;
        let opened = opened.map(Response::into_inner).map_err(|status| Trouble::of(&status));
        if matches!(opened, Err(Trouble::Lacking(_))) {
            self.unwatched.store(number + 1, Ordering::Relaxed);
        }
        self.standing.tell(&opened, self.shown());
        opened
    }

    /// Whether watching is worth a try: what is behind a new connection may be another executor.
    pub(super) fn is_watchable(&self) -> bool {
        self.unwatched.load(Ordering::Relaxed) != self.line.channel().1 + 1
    }
}
