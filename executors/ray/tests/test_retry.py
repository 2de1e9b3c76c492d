"""When a call is tried again, and after how long."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moothall_ray_executor.retry import Failure, failure_of, next_try, pause
from moothall_ray_executor.wave import ErrorType

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUSY = Failure(ErrorType.RATE_LIMITED, "busy")


@given(st.integers(1, 1000), st.floats(0, 1))
def test_pauses_double_up_to_five_seconds(tries: int, chance: float) -> None:
    whole = min(5.0, 0.2 * 2.0 ** min(tries - 1, 20))
    assert whole / 2 <= pause(tries, chance) <= whole


def test_a_budget_of_three_is_four_tries() -> None:
    waits = [next_try(BUSY, tries, 3, 100.0, 1.0) for tries in range(1, 5)]
    assert waits == [0.2, 0.4, 0.8, None]


def test_a_pause_beyond_the_deadline_is_not_waited_for() -> None:
    assert next_try(Failure(ErrorType.RATE_LIMITED, "", retry_after=30), 1, 3, 29.0, 1.0) is None
    assert next_try(Failure(ErrorType.RATE_LIMITED, "", retry_after=30), 1, 3, 31.0, 1.0) == 30


@pytest.mark.parametrize(
    ("status", "kind", "passes"),
    [
        (429, ErrorType.RATE_LIMITED, True),
        (500, ErrorType.MODEL_UNAVAILABLE, True),
        (503, ErrorType.MODEL_UNAVAILABLE, True),
        (302, ErrorType.REJECTED, False),
        (400, ErrorType.REJECTED, False),
        (404, ErrorType.REJECTED, False),
        (408, ErrorType.REJECTED, False),
    ],
)
def test_statuses(status: int, kind: ErrorType, passes: bool) -> None:
    failure = failure_of(status, "", None, NOW)
    assert (failure.kind, failure.passes) == (kind, passes)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Fri, 02 Jan 2026 03:04:15 GMT", 10.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert failure_of(429, "", header, NOW).retry_after == seconds
