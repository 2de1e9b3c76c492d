//! Questions to the executor, each answered in time or in trouble, over one connection.
//!
//! Waves are submitted and watched in one stream where the executor has it, else by a call each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moothall_actors::ports::executor::WaveCall;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::attend::{self, Attendance};
use super::request::{self, Request};
use super::settings::RaySettings;
use super::standing::Standing;
use super::trouble::Trouble;
use crate::grpc::proto::fleet::ray_executor::v1::ray_executor_service_client::RayExecutorServiceClient;
use crate::grpc::proto::fleet::ray_executor::v1::{
    ExecuteDeliberationResponse, GetDeliberationStatusRequest, GetDeliberationStatusResponse, GetStatusRequest,
    GetStatusResponse,
};
use crate::grpc::proto::moothall::v1::executor_control_client::ExecutorControlClient;
use crate::grpc::proto::moothall::v1::executor_update::Update;
use crate::grpc::proto::moothall::v1::{ExecutorCancelRequest, ExecutorUpdate, ExecutorWatchRequest};
use crate::line::{Line, ServiceAddress};
use crate::vllm::{Commission, MAX_TEXT};

/// All results of a wave at once: 32 seats, each as JSON that escapes every byte of the longest answer.
const MOST_STATUS_BYTES: usize = 64 * 1024 * 1024;
/// One result, with its names.
const MOST_UPDATE_BYTES: usize = 4 * MAX_TEXT;
/// How long the trailers of a watch are waited for after its end. Left before, its stream is reset, and what still comes on
/// it is an error of the connection, which bears a thousand of them.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

pub(super) struct Exchange {
    pub(super) address: ServiceAddress,
    pub(super) settings: RaySettings,
    pub(super) standing: Standing,
    line: Line,
    /// The stream of the connection with this number.
    attending: Mutex<Option<(u64, Attendance)>>,
    /// The connection, counted from one, whose executor cannot be watched.
    unwatched: AtomicU64,
}

/// What is told of a watched wave, as it comes.
pub(super) enum Updates {
    /// In the stream of all waves.
    Attended(mpsc::Receiver<Result<Update, Trouble>>),
    /// In one of its own.
    Watched(Box<Streaming<ExecutorUpdate>>),
}

impl Exchange {
    pub(super) fn new(address: ServiceAddress, settings: RaySettings) -> Result<Self, tonic::transport::Error> {
        let line = Line::to(&address, settings.answer_within)?;
        Ok(Self {
            address,
            settings,
            standing: Standing::default(),
            line,
            attending: Mutex::default(),
            unwatched: AtomicU64::new(0),
        })
    }

    pub(super) fn shown(&self) -> &Arc<str> {
        self.address.shown()
    }

    /// Hands a wave over; answers with the executor's name for it.
    pub(super) async fn submit(&self, wave: &WaveCall, commission: &Commission) -> Result<Arc<str>, Trouble> {
        let request = request::request(wave, commission);
        let attended = match self.attendance().filter(|_| request.encoded_len() <= attend::MOST_ORDER_BYTES) {
            None => Err(request),
            Some((attendance, number)) => {
                let submitted = self.in_time(number, attendance.submit(request)).await;
                if attendance.is_lacking() { Err(request::request(wave, commission)) } else { Ok(submitted) }
            }
        };
        let submitted = match attended {
            Ok(submitted) => submitted,
            Err(request) => self.submit_alone(request).await,
        };
        let name = submitted?.deliberation_id;
        if name.is_empty() { Err(Trouble::Away("it took a wave without naming it".into())) } else { Ok(name.into()) }
    }

    async fn submit_alone(&self, request: Request) -> Result<ExecuteDeliberationResponse, Trouble> {
        self.ask(async |channel| {
            let mut client = RayExecutorServiceClient::new(channel);
            match request {
                Request::Deliberation(request) => client.execute_deliberation(request).await,
                Request::BacklogReview(request) => client.execute_backlog_review_deliberation(request).await,
            }
        })
        .await
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
        let answer = async { ask(channel).await.map(Response::into_inner).map_err(|status| Trouble::of(&status)) };
        self.in_time(number, answer).await
    }

    /// An answer over the connection with this number.
    async fn in_time<T>(&self, number: u64, answer: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let outcome = timeout(self.settings.answer_within, answer).await.unwrap_or_else(|_| {
            self.line.doubt(number);
            Err(Trouble::silent(self.settings.answer_within))
        });
        self.standing.tell(&outcome, self.shown());
        outcome
    }

    /// The stream of the connection of now, and its number. `None` = this executor has none.
    fn attendance(&self) -> Option<(Attendance, u64)> {
        let (channel, number) = self.line.channel();
        let mut attending = self.attending.lock().unwrap_or_else(PoisonError::into_inner);
        let attendance = match &*attending {
            Some((of, attendance)) if *of == number && attendance.is_lacking() => return None,
            Some((of, attendance)) if *of == number && !attendance.is_over() => attendance.clone(),
            _ => attending.insert((number, Attendance::open(channel))).1.clone(),
        };
        Some((attendance, number))
    }

    /// Watches a wave. An executor without the stream of all waves may say nothing at all before there is
    /// a result, so that this waits for as long.
    pub(super) async fn watch(&self, name: &str) -> Result<Updates, Trouble> {
        if let Some((attendance, _)) = self.attendance() {
            return Ok(Updates::Attended(attendance.watch(name).await));
        }
        let (channel, number) = self.line.channel();
        let mut client = ExecutorControlClient::new(channel).max_decoding_message_size(MOST_UPDATE_BYTES);
        let opened = client.watch(ExecutorWatchRequest { deliberation_id: name.to_owned() }).await;
        let opened = opened.map(Response::into_inner).map_err(|status| Trouble::of(&status));
        if matches!(opened, Err(Trouble::Lacking(_))) {
            self.unwatched.store(number + 1, Ordering::Relaxed);
        }
        self.standing.tell(&opened, self.shown());
        opened.map(|stream| Updates::Watched(Box::new(stream)))
    }

    /// `None` = there are no more.
    pub(super) async fn next(&self, updates: &mut Updates) -> Result<Option<Update>, Trouble> {
        match updates {
            Updates::Attended(told) => {
                let update = told.recv().await.unwrap_or_else(|| Err(attend::over()));
                self.standing.tell(&update, self.shown());
                update.map(Some)
            }
            Updates::Watched(stream) => loop {
                match stream.message().await.map_err(|status| Trouble::of(&status))? {
                    Some(ExecutorUpdate { update: Some(update) }) => return Ok(Some(update)),
                    // A kind of update that this version does not know.
                    Some(ExecutorUpdate { update: None }) => {}
                    None => return Ok(None),
                }
            },
        }
    }

    /// After the end: a stream of its own has trailers, which come right behind.
    pub(super) async fn leave(&self, updates: Updates) {
        if let Updates::Watched(mut stream) = updates {
            let _ = timeout(GOODBYE, stream.message()).await;
        }
    }

    /// Whether watching is worth a try: what is behind a new connection may be another executor.
    pub(super) fn is_watchable(&self) -> bool {
        self.unwatched.load(Ordering::Relaxed) != self.line.channel().1 + 1
    }
}
