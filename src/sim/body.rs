//! The body of an answer: at once, in pieces, or broken on purpose.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::stats::Begun;

/// One thing that a body does.
pub(crate) enum Step {
    Send(Bytes),
    Wait(Duration),
    /// The connection is closed.
    Break,
}

/// An answer on its way, and the request that it answers: dropped before its end, the client left.
pub(crate) enum SimBody {
    Whole { bytes: Option<Bytes>, request: Option<Begun> },
    Steps { steps: VecDeque<Step>, waiting: Option<Pin<Box<Sleep>>>, request: Option<Begun>, usable: bool },
}

impl SimBody {
    /// A page that belongs to no call.
    pub(crate) fn page(bytes: impl Into<Bytes>) -> Self {
        Self::Whole { bytes: Some(bytes.into()), request: None }
    }

    pub(crate) fn answer(bytes: Bytes, request: Begun) -> Self {
        Self::Whole { bytes: Some(bytes), request: Some(request) }
    }

    /// `usable` = what comes is a whole answer.
    pub(crate) fn steps(steps: impl IntoIterator<Item = Step>, request: Begun, usable: bool) -> Self {
        Self::Steps { steps: steps.into_iter().collect(), waiting: None, request: Some(request), usable }
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole { bytes, request } => {
                if let Some(request) = request.take() {
                    request.finished();
                }
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Steps { steps, waiting, request, usable } => loop {
                if let Some(sleep) = waiting {
                    std::task::ready!(sleep.as_mut().poll(cx));
                    *waiting = None;
                }
                match steps.pop_front() {
                    Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Some(Step::Wait(time)) => *waiting = Some(Box::pin(sleep(time))),
                    Some(Step::Break) => {
                        if let Some(request) = request.take() {
                            request.failed();
                        }
                        return Poll::Ready(Some(Err(io::Error::other("broken on purpose"))));
                    }
                    None => {
                        match request.take() {
                            Some(request) if *usable => request.finished(),
                            Some(request) => request.failed(),
                            None => {}
                        }
                        return Poll::Ready(None);
                    }
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { bytes, .. } => bytes.is_none(),
            Self::Steps { request, .. } => request.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Steps { .. } => SizeHint::default(),
        }
    }
}
