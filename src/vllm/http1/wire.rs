//! One connection.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::connector::Stream;
use super::framing::Begin;
use super::{Request, WireError};

/// Read at once, on the stack: a connection that waits for its answer holds no buffer.
const READ_BYTES: usize = 16 * 1024;

/// Dropping it closes the socket.
pub(super) struct Wire {
    stream: Stream,
    /// Came and was not taken yet.
    pub(super) read: BytesMut,
    /// Whether it served a request before.
    kept: bool,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Box<Self> {
        Box::new(Self { stream, read: BytesMut::new(), kept: false })
    }

    /// Whether the next request may go this way: the server neither closed it nor said anything unasked.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.read.is_empty() && self.poll_read(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Sends a request and reads the head of its answer. A refusal may come before the request is all sent: the rest is
    /// kept back, and the connection serves no other one.
    pub(super) async fn exchange(&mut self, request: &Request) -> Result<Begin, WireError> {
        let mut sending = Sending { request, sent: 0, flushed: false, broken: None };
        let mut begun = None;
        let answer = std::future::poll_fn(|cx| {
            sending.poll(Pin::new(&mut self.stream), cx);
            if begun.is_none() {
                match ready!(self.poll_begin(cx))? {
                    None => return Poll::Ready(Ok(None)),
                    some => begun = some,
                }
            }
            let welcome = begun.as_ref().is_some_and(|begin| begin.head.status.is_success());
            if welcome && sending.goes_on() { Poll::Pending } else { Poll::Ready(Ok(begun.take())) }
        });
        match answer.await {
            Ok(Some(begin)) => {
                self.kept = true;
                Ok(Begin { persistent: begin.persistent && sending.flushed, ..begin })
            }
            // Whoever closes an idle connection does so without a word.
            Ok(None) | Err(WireError::Lost(_)) if self.kept && self.read.is_empty() => Err(WireError::Stale),
            Ok(None) => Err(sending.broken.map_or(WireError::Cut, WireError::Lost)),
            Err(error) => Err(error),
        }
    }

    /// `None` = the connection ended before the head was whole.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Begin>, WireError>> {
        loop {
            match ready!(self.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Ok(None)),
                Ok(_) => {
                    if let Some(begin) = Begin::take(&mut self.read)? {
                        return Poll::Ready(Ok(Some(begin)));
                    }
                }
                Err(error) => return Poll::Ready(Err(WireError::Lost(error))),
            }
        }
    }

    /// Reads more; `0` = the connection ended.
    pub(super) async fn fill(&mut self) -> Result<usize, WireError> {
        std::future::poll_fn(|cx| self.poll_read(cx)).await.map_err(WireError::Lost)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut came = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut came))?;
        self.read.extend_from_slice(came.filled());
        Poll::Ready(Ok(came.filled().len()))
    }
}

/// A request on its way out.
struct Sending<'r> {
    request: &'r Request,
    /// Bytes of it.
    sent: usize,
    flushed: bool,
    /// Why it cannot go on; the server may still have answered.
    broken: Option<io::Error>,
}

impl<'r> Sending<'r> {
    fn goes_on(&self) -> bool {
        !self.flushed && self.broken.is_none()
    }

    /// What is to be sent still, and in how many parts.
    fn rest(&self) -> ([IoSlice<'r>; 3], usize) {
        let (mut rest, mut count, mut sent) = ([IoSlice::new(&[]); 3], 0, self.sent);
        for part in self.request.parts() {
            let gone = sent.min(part.len());
            sent -= gone;
            if gone < part.len() {
                rest[count] = IoSlice::new(&part[gone..]);
                count += 1;
            }
        }
        (rest, count)
    }

    fn poll(&mut self, mut stream: Pin<&mut Stream>, cx: &mut Context<'_>) {
        while self.goes_on() {
            let (rest, count) = self.rest();
            let polled = if count > 0 {
                stream.as_mut().poll_write_vectored(cx, &rest[..count])
            } else {
                stream.as_mut().poll_flush(cx).map_ok(|()| 0)
            };
            match polled {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) if count == 0 => self.flushed = true,
                Poll::Ready(Ok(0)) => self.broken = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => self.sent += bytes,
                Poll::Ready(Err(error)) => self.broken = Some(error),
            }
        }
    }
}
