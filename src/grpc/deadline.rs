//! The client's deadline (`grpc-timeout`), kept by us: past it the answer is DEADLINE_EXCEEDED, where tonic's own timer
//! says CANCELLED. Tonic's wraps this one, was set later and asks its inner service first, so that ours always wins.
//!
//! Only the client's wait ends: the handler is dropped with its hold on the work, and what that means for the work is
//! the system's to decide (work that has a `task_id` goes on).

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, Response};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;

const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// When the client stops waiting; in the request's extensions, for streams: they outlive their handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get("grpc-timeout")?.to_str().ok().and_then(parse).map(Self::after)
    }

    pub(crate) fn after(timeout: Duration) -> Self {
        let now = Instant::now();
        // A deadline beyond the clock's end is in thirty years, as tokio's own far future.
        Self { at: now.checked_add(timeout).unwrap_or(now + FAR), timeout }
    }

    pub(crate) fn passed(self) -> Status {
        let timeout = self.timeout;
        Status::deadline_exceeded(format!(
            "no answer within the client's {timeout:?}; work that has a task_id goes on, GetDeliberationResult has it"
        ))
    }
}

/// Up to eight digits and a unit; anything else is no deadline, as in every gRPC server.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let amount = digits.parse::<u64>().ok().filter(|_| plain)?;
    match unit {
        'H' => Some(Duration::from_secs(amount * 3600)),
        'M' => Some(Duration::from_secs(amount * 60)),
        'S' => Some(Duration::from_secs(amount)),
        'm' => Some(Duration::from_millis(amount)),
        'u' => Some(Duration::from_micros(amount)),
        'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Around every call that has one; a stream's messages after the first are watched where they are made.
pub(super) async fn keep(
    deadline: Deadline,
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    timeout_at(deadline.at, answer).await.unwrap_or_else(|_| Ok(deadline.passed().into_http()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        assert_eq!(parse("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("1n"), Some(Duration::from_nanos(1)));
        for bad in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "5 S", "ü"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
