"""What became of which deliberation. Pure: clocks and ids are handed in, and nothing here waits.

    submit ─▶ running ─▶ completed   all agents ended, at least one with an answer
                 ├─────▶ failed      all ended, none with an answer; or the cluster is gone
                 └─────▶ cancelled

The supervisor decides with it and logs `Event`s; every service applies those to a registry of its own, its mirror. So
one set of rules serves both, and an event that comes twice changes nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .wave import ErrorType, Outline, Result, Status, missing


class Full(Exception):
    """As many deliberations run as may."""


@dataclass(frozen=True)
class Limits:
    """Bounds: `known` deliberations in all, of which `running` run; ended ones are forgotten after `retention` s, or
    earlier when `known` or `characters` of results would be exceeded, oldest first."""

    known: int = 10_000
    running: int = 1_024
    retention: float = 3_600.0
    characters: int = 512 << 20


@dataclass(frozen=True)
class Began:
    outline: Outline
    started_at: float


@dataclass(frozen=True)
class Answered:
    deliberation_id: str
    result: Result


@dataclass(frozen=True)
class Ended:
    deliberation_id: str
    status: Status
    error: str
    ended_at: float


@dataclass(frozen=True)
class Told:
    """An agent's result was published: no service need do it again."""

    deliberation_id: str
    agent_id: str


Event = Began | Answered | Ended | Told


@dataclass
class Deliberation:
    """One wave from submit to oblivion. Times are Unix seconds."""

    outline: Outline
    started_at: float
    status: Status = Status.RUNNING
    error: str = ""
    ended_at: float | None = None
    # In the order in which they came.
    results: dict[str, Result] = field(default_factory=dict)
    # Agents whose results were published.
    told: set[str] = field(default_factory=set)

    @property
    def open_seats(self) -> Iterator[str]:
        """Agents that have not ended."""
        return (seat.agent_id for seat in self.outline.seats if seat.agent_id not in self.results)

    @property
    def size(self) -> int:
        return sum(result.size for result in self.results.values())


@dataclass
class Totals:
    """Counts since the registry was made."""

    submitted: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    # Of those that completed or failed.
    seconds: float = 0.0


class Registry:
    """All deliberations that are known, in the order of their submits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.totals = Totals()
        self.running: dict[str, Deliberation] = {}
        self._known: dict[str, Deliberation] = {}
        self._keys: dict[tuple[str, str], str] = {}
        # Ended ones, oldest end first.
        self._ended: dict[str, Deliberation] = {}
        self._characters = 0

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Deliberation]:
        return iter(self._known.values())

    def get(self, deliberation_id: str) -> Deliberation | None:
        return self._known.get(deliberation_id)

    def existing(self, key: tuple[str, str]) -> str | None:
        """The deliberation that a submit with this key attaches to."""
        return self._keys.get(key)

    def submit(self, outline: Outline, now: float) -> list[Event]:
        """Takes a wave; no events = its key is known. Raises Full."""
        self.forget(now)
        if outline.key in self._keys:
            return []
        if len(self.running) >= self.limits.running:
            raise Full
        return self._applied([Began(outline, now)])

    def answer(self, deliberation_id: str, result: Result, now: float) -> list[Event]:
        """An agent has ended; perhaps the deliberation with it. What comes late or twice changes nothing."""
        one = self.running.get(deliberation_id)
        if one is None or result.agent_id not in one.open_seats:
            return []
        events = self._applied([Answered(deliberation_id, result)])
        if any(one.open_seats):
            return events
        answered = any(result.status == Status.COMPLETED for result in one.results.values())
        status = Status.COMPLETED if answered else Status.FAILED
        error = "" if answered else _why(one)
        return events + self._applied([Ended(deliberation_id, status, error, now)])

    def cancel(self, deliberation_id: str, reason: str, now: float) -> list[Event]:
        """Ends a running deliberation on somebody's wish."""
        return self._cut(deliberation_id, Status.CANCELLED, ErrorType.CANCELLED, reason, now)

    def lose(self, deliberation_id: str, reason: str, now: float) -> list[Event]:
        """Ends a running deliberation whose cluster is gone."""
        return self._cut(deliberation_id, Status.FAILED, ErrorType.CLUSTER_UNAVAILABLE, reason, now)

    def forget(self, now: float) -> None:
        """Drops ended ones that are too old or too many."""
        while self._ended:
            oldest = next(iter(self._ended.values()))
            old = now - (oldest.ended_at or now) >= self.limits.retention
            if not old and len(self._known) < self.limits.known and self._characters <= self.limits.characters:
                return
            self._drop(oldest)

    def apply(self, event: Event) -> bool:
        """Whether the event changed anything."""
        match event:
            case Began(outline, started_at):
                return self._begin(outline, started_at)
            case Answered(deliberation_id, result):
                return self._record(deliberation_id, result)
            case Ended(deliberation_id, status, error, ended_at):
                return self._end(deliberation_id, status, error, ended_at)
            case Told(deliberation_id, agent_id):
                return self._tell(deliberation_id, agent_id)

    def told(self, results: Iterable[tuple[str, str]]) -> list[Event]:
        """Results (deliberation, agent) were published."""
        return self._applied([Told(*result) for result in results])

    def _applied(self, events: Iterable[Event]) -> list[Event]:
        return [event for event in events if self.apply(event)]

    def _cut(self, deliberation_id: str, status: Status, kind: ErrorType, reason: str, now: float) -> list[Event]:
        one = self.running.get(deliberation_id)
        if one is None:
            return []
        seats = {seat.agent_id: seat for seat in one.outline.seats}
        took = max(0, round((now - one.started_at) * 1000))
        events: list[Event] = [
            Answered(deliberation_id, missing(seats[agent_id], status, kind, reason, took))
            for agent_id in one.open_seats
        ]
        return self._applied([*events, Ended(deliberation_id, status, reason, now)])

    def _begin(self, outline: Outline, started_at: float) -> bool:
        if outline.deliberation_id in self._known:
            return False
        one = Deliberation(outline, started_at)
        self._known[outline.deliberation_id] = self.running[outline.deliberation_id] = one
        self._keys[outline.key] = outline.deliberation_id
        self.totals.submitted += 1
        return True

    def _record(self, deliberation_id: str, result: Result) -> bool:
        one = self.running.get(deliberation_id)
        if one is None or result.agent_id in one.results:
            return False
        one.results[result.agent_id] = result
        self._characters += result.size
        return True

    def _end(self, deliberation_id: str, status: Status, error: str, ended_at: float) -> bool:
        one = self.running.pop(deliberation_id, None)
        if one is None:
            return False
        one.status, one.error, one.ended_at = status, error, ended_at
        self._ended[deliberation_id] = one
        match status:
            case Status.CANCELLED:
                self.totals.cancelled += 1
                return True
            case Status.COMPLETED:
                self.totals.completed += 1
            case _:
                self.totals.failed += 1
        self.totals.seconds += max(0.0, ended_at - one.started_at)
        return True

    def _tell(self, deliberation_id: str, agent_id: str) -> bool:
        one = self._known.get(deliberation_id)
        if one is None or agent_id in one.told:
            return False
        one.told.add(agent_id)
        return True

    def _drop(self, one: Deliberation) -> None:
        deliberation_id = one.outline.deliberation_id
        del self._ended[deliberation_id], self._known[deliberation_id]
        if self._keys.get(one.outline.key) == deliberation_id:
            del self._keys[one.outline.key]
        self._characters -= one.size


def _why(one: Deliberation) -> str:
    return "; ".join(f"{result.agent_id}: {result.error}" for result in one.results.values())
