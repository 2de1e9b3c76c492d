//! One stream for all waves: orders out, reports in. A message costs both sides more than what it carries, so each holds all
//! that there is by then.
//!
//! ```text
//!  submit, watch ─▶ orders ─▶ message ─▶ executor ─▶ message ─▶ report ─▶ whoever ordered
//! ```
//!
//! When it breaks, all who wait are told why, and order anew over another. When nobody can order any more, it is heard for as
//! long as anybody waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moothall_actors::domain::council::MAX_SEATS;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
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
/// How often it is looked whether anybody still waits, once nobody can order any more.
const LOOK_EVERY: Duration = Duration::from_secs(5);
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
        () = write(ordered, messages, &open) => hear_out(reading, &open).await,
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

/// Until the stream ends, or nobody waits for what may still come: an executor that stands still ends nothing.
async fn hear_out(mut reading: Pin<&mut impl Future<Output = Trouble>>, open: &Open) -> Trouble {
    loop {
        match timeout(LOOK_EVERY, &mut reading).await {
            Ok(trouble) => return trouble,
            Err(_) if open.is_forsaken() => return over(),
            Err(_) => {}
        }
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
                match (entry.remove(), Trouble::of(&Status::new(Code::from(refusal.code), refusal.message))) {
                    // It has the stream, and does not know this order: to be tried again, and not at once.
                    (reply @ Reply::Told(_), Trouble::Lacking(what)) => reply.fail(Trouble::Away(what)),
                    (reply, trouble) => reply.fail(trouble),
                }
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

    /// Nobody waits for any of them.
    fn is_forsaken(&self) -> bool {
        self.lock().values().all(|reply| match reply {
            Reply::Taken(reply) => reply.is_closed(),
            Reply::Told(to) => to.is_closed(),
        })
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::grpc::proto::moothall::v1::ExecutorRefusal;

    #[test]
    fn a_stream_is_heard_for_as_long_as_anybody_waits() {
        let open = Open::default();
        assert!(open.is_forsaken());
        let (reply, taken) = oneshot::channel();
        let (to, told) = mpsc::channel(1);
        open.lock().extend([(1, Reply::Taken(reply)), (2, Reply::Told(to))]);
        drop(taken);
        assert!(!open.is_forsaken());
        drop(told);
        assert!(open.is_forsaken());
    }

    #[test]
    fn a_watch_that_the_stream_does_not_know_is_not_tried_again_at_once() {
        let open = Open::default();
        let (to, mut told) = mpsc::channel(1);
        open.lock().insert(1, Reply::Told(to));
        let refusal = ExecutorRefusal { code: Code::Unimplemented.into(), message: "no such order".into() };
        open.report(ExecutorReport { number: 1, report: Some(Report::Refused(refusal)) });
        assert!(matches!(told.try_recv(), Ok(Err(Trouble::Away(_)))));
    }

    #[test]
    fn whoever_orders_waits_when_too_many_do() {
        let (orders, mut ordered) = mpsc::channel(MOST_WAITING);
        let attendance = Attendance { orders, is_lacking: Arc::default() };
        for _ in 0..MOST_WAITING {
            assert!(attendance.watch("t-1/propose-0#1").now_or_never().is_some());
        }
        let mut late = Box::pin(attendance.watch("t-1/propose-0#2"));
        assert!((&mut late).now_or_never().is_none());
        ordered.try_recv().unwrap();
        assert!(late.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_executor_that_stands_still_is_left_when_nobody_waits() {
        let open = Open::default();
        let (to, told) = mpsc::channel(1);
        open.lock().insert(1, Reply::Told(to));
        let reading = std::pin::pin!(std::future::pending::<Trouble>());
        let leaving = async {
            tokio::time::sleep(10 * LOOK_EVERY).await;
            drop(told);
        };
        let begun = tokio::time::Instant::now();
        let (trouble, ()) = tokio::join!(hear_out(reading, &open), leaving);
        assert_eq!(trouble, over());
        assert!((10 * LOOK_EVERY..=11 * LOOK_EVERY).contains(&begun.elapsed()));
    }
}
