//! One stream for all waves: orders out, reports in. A message costs both sides more than what it carries, so each holds all
//! that there is by then.
//!
//! ```text
//!  submit, watch ─▶ orders ─▶ message ─▶ executor ─▶ message ─▶ report ─▶ whoever ordered
//! ```
//!
//! When it breaks, all who wait are told why, and order anew over another. When nobody can order any more, it is heard to
//! its end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moothall_actors::domain::council::MAX_SEATS;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::request::Request;
use super::trouble::Trouble;
use crate::grpc::proto::fleet::ray_executor::v1::ExecuteDeliberationResponse;
use crate::grpc::proto::moothall::v1::executor_control_client::ExecutorControlClient;
use crate::grpc::proto::moothall::v1::executor_order::Order;
use crate::grpc::proto::moothall::v1::executor_report::Report;
use crate::grpc::proto::moothall::v1::executor_update::Update;
use crate::grpc::proto::moothall::v1::{
    ExecutorOrder, ExecutorOrders, ExecutorReport, ExecutorReports, ExecutorWatchRequest,
};

/// The longest order, in bytes; a longer one is a call of its own. The executor takes messages of 4 MiB.
pub(super) const MOST_ORDER_BYTES: usize = 3 * 1024 * 1024;
/// Orders that share a message have so many bytes together…
const MOST_SHARED_BYTES: usize = 1024 * 1024;
/// …and are so many: as many as there are likely to be while the message before is sent.
const MOST_SHARED: usize = 64;
/// Orders that wait for the next message; beyond, whoever orders waits.
const MOST_WAITING: usize = 1_024;
/// Messages that wait for the connection.
const MOST_MESSAGES: usize = 2;
/// The executor puts 512 Ki characters into a message, and the longest result alone.
const MOST_REPORTS_BYTES: usize = 16 * 1024 * 1024;

/// The way into a stream.
#[derive(Clone)]
pub(super) struct Attendance {
    orders: mpsc::Sender<Ordered>,
    is_lacking: Arc<AtomicBool>,
}

/// An order, and who hears what comes of it.
struct Ordered {
    order: Order,
    reply: Reply,
}

enum Reply {
    Taken(oneshot::Sender<Result<ExecuteDeliberationResponse, Trouble>>),
    Told(mpsc::Sender<Result<Update, Trouble>>),
}

impl Attendance {
    pub(super) fn open(channel: Channel) -> Self {
        let (orders, ordered) = mpsc::channel(MOST_WAITING);
        let is_lacking = Arc::default();
        tokio::spawn(attend(channel, ordered, Arc::clone(&is_lacking)));
        Self { orders, is_lacking }
    }

    /// The executor has no such method.
    pub(super) fn is_lacking(&self) -> bool {
        self.is_lacking.load(Ordering::Acquire)
    }

    /// It takes no more orders.
    pub(super) fn is_over(&self) -> bool {
        self.orders.is_closed()
    }

    pub(super) async fn submit(&self, request: Request) -> Result<ExecuteDeliberationResponse, Trouble> {
        let order = match request {
            Request::Deliberation(request) => Order::Deliberation(request),
            Request::BacklogReview(request) => Order::BacklogReview(request),
        };
        let (reply, taken) = oneshot::channel();
        self.order(order, Reply::Taken(reply)).await;
        taken.await.unwrap_or_else(|_| Err(over()))
    }

    /// What is told of a deliberation; closed after the end, and when nothing more is heard.
    pub(super) async fn watch(&self, name: &str) -> mpsc::Receiver<Result<Update, Trouble>> {
        // Each agent of the wave once, also those that an earlier daemon heard of, and the end.
        let (reply, told) = mpsc::channel(MAX_SEATS + 1);
        let request = ExecutorWatchRequest { deliberation_id: name.to_owned() };
        self.order(Order::Watch(request), Reply::Told(reply)).await;
        told
    }

    /// One that comes too late is dropped, which says so.
    async fn order(&self, order: Order, reply: Reply) {
        drop(self.orders.send(Ordered { order, reply }).await);
    }
}

/// The stream ended without a word.
pub(super) fn over() -> Trouble {
    Trouble::Away("the stream of reports ended".into())
}

/// From the first order to the last report.
async fn attend(channel: Channel, ordered: mpsc::Receiver<Ordered>, is_lacking: Arc<AtomicBool>) {
    let open = Open::default();
    let (messages, sent) = mpsc::channel(MOST_MESSAGES);
    let reading = read(channel, sent, &open);
    tokio::pin!(reading);
    let trouble = tokio::select! {
        trouble = &mut reading => trouble,
        () = write(ordered, messages, &open) => reading.await,
    };
    is_lacking.store(matches!(trouble, Trouble::Lacking(_)), Ordering::Release);
    open.end(&trouble);
}

/// Until nobody orders any more.
async fn write(mut ordered: mpsc::Receiver<Ordered>, messages: mpsc::Sender<ExecutorOrders>, open: &Open) {
    let (mut number, mut batch) = (0, Vec::with_capacity(MOST_SHARED));
    while ordered.recv_many(&mut batch, MOST_SHARED).await > 0 {
        let mut message = ExecutorOrders::default();
        let mut room = MOST_SHARED_BYTES;
        for Ordered { order, reply } in batch.drain(..) {
            number += 1;
            open.lock().insert(number, reply);
            let order = ExecutorOrder { number, order: Some(order) };
            let bytes = order.encoded_len();
            if bytes > room && !message.orders.is_empty() {
                drop(messages.send(std::mem::take(&mut message)).await);
                room = MOST_SHARED_BYTES;
            }
            room = room.saturating_sub(bytes);
            message.orders.push(order);
        }
        drop(messages.send(message).await);
    }
}

/// Until the stream ends; why.
async fn read(channel: Channel, sent: mpsc::Receiver<ExecutorOrders>, open: &Open) -> Trouble {
    let mut client = ExecutorControlClient::new(channel).max_decoding_message_size(MOST_REPORTS_BYTES);
    let told = async {
        let mut stream = client.attend(ReceiverStream::new(sent)).await?.into_inner();
        while let Some(ExecutorReports { reports }) = stream.message().await? {
            reports.into_iter().for_each(|report| open.report(report));
        }
        Ok(())
    };
    let told: Result<(), Status> = told.await;
    match told.map_err(|status| Trouble::of(&status)) {
        Ok(()) => over(),
        Err(trouble @ Trouble::Lacking(_)) => trouble,
        // Whatever befalls the stream says nothing of a wave.
        Err(trouble) => Trouble::Away(trouble.what().to_owned()),
    }
}

/// Orders that are not finished, by their numbers.
#[derive(Default)]
struct Open(Mutex<HashMap<u64, Reply>>);

impl Open {
    /// What nobody waits for, and what fits no order, is passed over.
    fn report(&self, ExecutorReport { number, report }: ExecutorReport) {
        let mut open = self.lock();
        let (Entry::Occupied(entry), Some(report)) = (open.entry(number), report) else { return };
        match report {
            Report::Taken(taken) => {
                if let Reply::Taken(reply) = entry.remove() {
                    drop(reply.send(Ok(taken)));
                }
            }
            Report::Refused(refusal) => {
                entry.remove().fail(Trouble::of(&Status::new(Code::from(refusal.code), refusal.message)));
            }
            Report::Result(result) => {
                if let Reply::Told(to) = entry.get()
                    && to.try_send(Ok(Update::Result(result))).is_err()
                {
                    entry.remove();
                }
            }
            Report::End(end) => {
                if let Reply::Told(to) = entry.remove() {
                    drop(to.try_send(Ok(Update::End(end))));
                }
            }
        }
    }

    /// Nothing more is reported.
    fn end(&self, trouble: &Trouble) {
        for (_, reply) in self.lock().drain() {
            reply.fail(trouble.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Reply>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    fn fail(self, trouble: Trouble) {
        match self {
            Self::Taken(reply) => drop(reply.send(Err(trouble))),
            Self::Told(to) => drop(to.try_send(Err(trouble))),
        }
    }
}
