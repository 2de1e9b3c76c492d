"""The service's copy of the registry: what it answers from, so that no question crosses to Ray, and that is still there
when Ray is not."""

import asyncio
import time
from collections.abc import Callable, Iterable

from .feed import Page
from .registry import Answered, Began, Deliberation, Ended, Event, Limits, Registry, Told
from .wave import Status

# Told of every event that changed something, with its deliberation.
Listener = Callable[[Event, Deliberation], None]


class Mirror:
    """Follows a supervisor's events."""

    def __init__(self, limits: Limits) -> None:
        self.registry = Registry(limits)
        # Nothing more comes: the service is being stopped.
        self.closed = False
        self._seq = 0
        self._listeners: list[Listener] = []
        self._watchers: dict[str, asyncio.Event] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def apply(self, events: Iterable[Event], seq: int) -> None:
        """Takes in a batch; what was known changes nothing."""
        for event in events:
            self._apply(event)
        self.registry.forget(time.time())
        self._reach(seq)

    def merge(self, page: Page) -> list[str]:
        """Takes in a page of a snapshot. Deliberations that run there but have ended here: the end stands."""
        for one in page.deliberations:
            for event in _history(one):
                self._apply(event)
        self._reach(page.seq)
        return [
            one.outline.deliberation_id
            for one in page.deliberations
            if one.status is Status.RUNNING and one.outline.deliberation_id not in self.registry.running
        ]

    def lose(self, deliberation_ids: Iterable[str], reason: str) -> None:
        """Ends deliberations that nobody carries out any more."""
        for deliberation_id in list(deliberation_ids):
            one = self.registry.get(deliberation_id)
            for event in self.registry.lose(deliberation_id, reason, time.time()):
                if one is not None:
                    self._tell(event, one)

    def restart(self) -> None:
        """Another supervisor counts its events anew."""
        self._seq = 0

    async def reached(self, seq: int) -> None:
        """Until everything up to that event is known here."""
        if seq <= self._seq:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((seq, future))
        await future

    async def changed(self, deliberation_id: str) -> None:
        """Until something happens to it."""
        await self._watchers.setdefault(deliberation_id, asyncio.Event()).wait()

    def close(self) -> None:
        """Wakes all who wait for a change: none will come."""
        self.closed = True
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers.values():
            watcher.set()

    def _apply(self, event: Event) -> None:
        if not self.registry.apply(event):
            return
        deliberation_id = event.outline.deliberation_id if isinstance(event, Began) else event.deliberation_id
        one = self.registry.get(deliberation_id)
        if one is not None:
            self._tell(event, one)

    def _tell(self, event: Event, one: Deliberation) -> None:
        if watcher := self._watchers.pop(one.outline.deliberation_id, None):
            watcher.set()
        for listener in self._listeners:
            listener(event, one)

    def _reach(self, seq: int) -> None:
        self._seq = max(self._seq, seq)
        waiting, self._waiting = self._waiting, []
        for wanted, future in waiting:
            if wanted > self._seq:
                self._waiting.append((wanted, future))
            elif not future.done():
                future.set_result(None)


def _history(one: Deliberation) -> Iterable[Event]:
    """The events by which a deliberation became what it is. What was published is said before the result, so that
    nobody publishes it again."""
    deliberation_id = one.outline.deliberation_id
    yield Began(one.outline, one.started_at)
    for agent_id in one.told:
        yield Told(deliberation_id, agent_id)
    for result in one.results.values():
        yield Answered(deliberation_id, result)
    if one.ended_at is not None:
        yield Ended(deliberation_id, one.status, one.error, one.ended_at)
