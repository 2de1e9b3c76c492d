//! What every answer stream is wrapped in: it ends at the client's deadline, and when its reader takes nothing for a
//! while it lets go of all it holds.
//!
//! gRPC stops asking a stream for messages when the reader's window is full, so the stream itself cannot notice. It
//! only notes since when a message was there to be fetched; a sweep over all streams does the rest. No task, no
//! channel and no message wait per reader.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::Stream;
use futures::stream::BoxStream;
use futures::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::deadline::Deadline;

/// Nothing waits to be fetched.
const IDLE: u64 = u64::MAX;

/// All open streams of one server.
#[derive(Debug)]
pub(crate) struct Guards {
    /// Longest time that a reader may take nothing.
    patience: Duration,
    base: Instant,
    open: Mutex<Vec<Weak<dyn Watched>>>,
}

impl Guards {
    pub(crate) fn new(patience: Duration) -> Arc<Self> {
        Arc::new(Self { patience, base: Instant::now(), open: Mutex::default() })
    }

    pub(crate) fn guard<T: Send + 'static>(
        &self,
        deadline: Option<Deadline>,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Guarded<T> {
        let held = Arc::new(Held {
            signal: Arc::new(Signal { reader: AtomicWaker::new(), due: AtomicU64::new(IDLE), base: self.base }),
            source: Mutex::new(Source::Open(Box::pin(messages))),
        });
        let watched: Weak<dyn Watched> = Arc::downgrade(&(held.clone() as Arc<dyn Watched>));
        lock(&self.open).push(watched);
        let timer = deadline.map(|deadline| (Box::pin(sleep_until(deadline.at)), deadline));
        Guarded { held, timer }
    }

    /// Closes stalled streams, for as long as it is polled.
    pub(crate) async fn sweep(&self) {
        let mut ticks = tokio::time::interval(self.patience / 8);
        loop {
            ticks.tick().await;
            // Taken out first: a stream that lets go may open another lock.
            let open: Vec<_> = {
                let mut open = lock(&self.open);
                open.retain(|stream| stream.strong_count() > 0);
                open.clone()
            };
            for stream in open.iter().filter_map(Weak::upgrade) {
                stream.close_if_stalled(self.patience);
            }
        }
    }
}

trait Watched: Send + Sync + std::fmt::Debug {
    fn close_if_stalled(&self, patience: Duration);
}

/// When a message became ready to be fetched, in milliseconds since `base`.
struct Signal {
    reader: AtomicWaker,
    due: AtomicU64,
    base: Instant,
}

impl Signal {
    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(IDLE - 1)
    }

    fn mark_due(&self) {
        // Only the first wake counts: from then on the reader could have come.
        let _ = self.due.compare_exchange(IDLE, self.now(), Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark_due();
        self.reader.wake();
    }
}

enum Source<T> {
    Open(BoxStream<'static, Result<T, Status>>),
    /// The last word, until it is fetched.
    Closed(Option<Status>),
}

struct Held<T> {
    signal: Arc<Signal>,
    source: Mutex<Source<T>>,
}

impl<T> Held<T> {
    fn close(&self, status: Option<Status>) {
        let source = std::mem::replace(&mut *lock(&self.source), Source::Closed(status));
        // Dropped without the lock: it may end a run.
        drop(source);
    }
}

impl<T> std::fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl<T: Send + 'static> Watched for Held<T> {
    fn close_if_stalled(&self, patience: Duration) {
        let due = self.signal.due.load(Ordering::Acquire);
        let waited = Duration::from_millis(self.signal.now().saturating_sub(due));
        let open = matches!(&*lock(&self.source), Source::Open(_));
        if due != IDLE && open && waited >= patience {
            self.close(Some(Status::resource_exhausted(format!(
                "the reader took nothing for {waited:?}; watch the task again to go on"
            ))));
            self.signal.reader.wake();
        }
    }
}

/// One answer stream.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    held: Arc<Held<T>>,
    timer: Option<(Pin<Box<Sleep>>, Deadline)>,
}

impl<T> Stream for Guarded<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some((timer, deadline)) = &mut self.timer
            && timer.as_mut().poll(context).is_ready()
        {
            let passed = deadline.passed();
            self.timer = None;
            self.held.close(Some(passed));
        }
        let signal = &self.held.signal;
        signal.reader.register(context.waker());
        signal.due.store(IDLE, Ordering::Release);
        let mut source = lock(&self.held.source);
        let polled = match &mut *source {
            Source::Open(messages) => {
                let waker = Waker::from(signal.clone());
                messages.as_mut().poll_next(&mut Context::from_waker(&waker))
            }
            Source::Closed(status) => Poll::Ready(status.take().map(Err)),
        };
        if polled.is_ready() {
            signal.mark_due();
        }
        polled
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic::Code;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Says when the stream it is in was dropped.
    struct Token(Arc<AtomicU64>);

    impl Drop for Token {
        fn drop(&mut self) {
            self.0.store(1, Ordering::SeqCst);
        }
    }

    fn endless(token: Token) -> impl Stream<Item = Result<u32, Status>> {
        futures::stream::unfold((0, token), |(number, token)| async move { Some((Ok(number), (number + 1, token))) })
    }

    async fn swept<T>(guards: &Guards, work: impl Future<Output = T>) -> T {
        tokio::select! {
            () = guards.sweep() => unreachable!("a sweep has no end"),
            done = work => done,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_loses_what_the_stream_held() {
        let guards = Guards::new(PATIENCE);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut stream = guards.guard(None, endless(Token(dropped.clone())));
        assert_eq!(stream.next().await.unwrap().unwrap(), 0);
        swept(&guards, async {
            tokio::time::sleep(PATIENCE / 2).await;
            assert_eq!(dropped.load(Ordering::SeqCst), 0);
            tokio::time::sleep(PATIENCE).await;
        })
        .await;
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_for_news_is_never_closed() {
        let guards = Guards::new(PATIENCE);
        let (tell, told) = tokio::sync::watch::channel(0_u32);
        let news = futures::stream::unfold(told, |mut told| async move {
            told.changed().await.ok()?;
            let number = *told.borrow();
            Some((Ok(number), told))
        });
        let mut stream = guards.guard(None, news);
        let heard = swept(&guards, async {
            tokio::join!(stream.next(), async {
                tokio::time::sleep(PATIENCE * 10).await;
                tell.send_replace(7);
            })
            .0
        })
        .await;
        assert_eq!(heard.unwrap().unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn news_that_nobody_fetches_close_the_stream() {
        let guards = Guards::new(PATIENCE);
        let (tell, told) = tokio::sync::watch::channel(0_u32);
        let news = futures::stream::unfold(told, |mut told| async move {
            told.changed().await.ok()?;
            Some((Ok(()), told))
        });
        let mut stream = guards.guard(None, news);
        assert!(futures::poll!(stream.next()).is_pending());
        tell.send_replace(1);
        swept(&guards, tokio::time::sleep(PATIENCE * 2)).await;
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_the_clients_deadline() {
        let guards = Guards::new(PATIENCE);
        let deadline = Deadline::after(Duration::from_secs(5));
        let mut stream = guards.guard::<u32>(Some(deadline), futures::stream::pending());
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_stream_is_forgotten() {
        let guards = Guards::new(PATIENCE);
        drop(guards.guard::<u32>(None, futures::stream::pending()));
        swept(&guards, tokio::time::sleep(PATIENCE)).await;
        assert!(lock(&guards.open).is_empty());
    }
}
