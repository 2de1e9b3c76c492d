"""When a model call is tried again, and after how long. Pure: chance and clock are handed in."""

import email.utils
from dataclasses import dataclass
from datetime import UTC, datetime

from .wave import ErrorType

# Seconds.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try."""

    kind: ErrorType
    error: str
    # Seconds that the server wants to be left alone, where it says so.
    retry_after: float = 0.0

    @property
    def passes(self) -> bool:
        """Whether another try is worth it."""
        return self.kind in (ErrorType.RATE_LIMITED, ErrorType.MODEL_UNAVAILABLE, ErrorType.CONNECTION)


def pause(tries: int, chance: float) -> float:
    """Seconds to wait after that many failed tries (from 1): doubling, between half of it and all of it."""
    whole = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries - 1, 16))
    return whole * (0.5 + chance / 2)


def next_try(failure: Failure, tries: int, max_retries: int, left: float, chance: float) -> float | None:
    """Seconds until the next try; None = there is none: not worth it, out of budget, or not within what is `left`."""
    if not failure.passes or tries > max_retries:
        return None
    wait = max(pause(tries, chance), failure.retry_after)
    return wait if wait < left else None


def failure_of(status: int, error: str, retry_after: str | None, now: datetime) -> Failure:
    """What an HTTP status other than 200 means."""
    if status == 429:
        return Failure(ErrorType.RATE_LIMITED, error, _seconds(retry_after, now))
    if status >= 500:
        return Failure(ErrorType.MODEL_UNAVAILABLE, error, _seconds(retry_after, now))
    return Failure(ErrorType.REJECTED, error)


def _seconds(header: str | None, now: datetime) -> float:
    """Retry-After: seconds or a date; what is neither counts as none."""
    text = (header or "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
