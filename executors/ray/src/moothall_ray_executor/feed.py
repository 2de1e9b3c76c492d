"""The supervisor's events, numbered, as services read them. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from .registry import Answered, Began, Deliberation, Ended, Event, Told, Totals

# Characters of one batch or page: small beside a message's limits, big beside what a call costs.
BATCH = 4 << 20
# Characters of events that are kept: a reader that lags by more reads everything anew.
KEPT = 64 << 20


@dataclass(frozen=True)
class Batch:
    """Events in order, up to and with number `seq`."""

    seq: int
    events: list[Event]
    # Workers that take orders, and those that should.
    workers: int
    places: int
    # What was asked for is not kept any more: read a snapshot.
    gone: bool = False


@dataclass(frozen=True)
class Page:
    """A part of all deliberations, as of event `seq` or later; `more` = read on after `last`."""

    seq: int
    totals: Totals
    deliberations: list[Deliberation]
    last: int
    more: bool


class Log:
    """The newest events."""

    def __init__(self) -> None:
        self.seq = 0
        self._kept: deque[tuple[Event, int]] = deque()
        self._size = 0

    def append(self, events: Iterable[Event]) -> None:
        for event in events:
            size = _size(event)
            self._kept.append((event, size))
            self._size += size
            self.seq += 1
        while self._size > KEPT:
            self._size -= self._kept.popleft()[1]

    def after(self, seq: int) -> tuple[int, list[Event]] | None:
        """A batch of what came after number `seq`; None = some of it is gone."""
        start = seq - (self.seq - len(self._kept))
        if start < 0 or seq > self.seq:
            return None
        events: list[Event] = []
        room = BATCH
        for index in range(start, len(self._kept)):
            event, size = self._kept[index]
            if events and size > room:
                break
            events.append(event)
            room -= size
        return seq + len(events), events


def page(known: Iterable[Deliberation], after: int, seq: int, totals: Totals) -> Page:
    """The deliberations from place `after` on that fit into a page."""
    chosen: list[Deliberation] = []
    room, place = BATCH, 0
    for place, one in enumerate(known, 1):
        if place <= after:
            continue
        if chosen and one.size + 1024 > room:
            return Page(seq, totals, chosen, place - 1, more=True)
        chosen.append(one)
        room -= one.size + 1024
    return Page(seq, totals, chosen, place, more=False)


def _size(event: Event) -> int:
    match event:
        case Began(outline, _):
            return 512 + sum(len(key) + len(value) for key, value in outline.metadata.items())
        case Answered(_, result):
            return result.size
        case Ended() | Told():
            return 256
