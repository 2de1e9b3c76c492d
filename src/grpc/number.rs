//! Numbers on the wire are signed: ours that do not fit stand at the end of the range, never wrap.

use std::time::Duration;

pub(super) fn int(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

pub(super) fn long(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

pub(super) fn millis(duration: Duration) -> i64 {
    long(duration.as_millis())
}
