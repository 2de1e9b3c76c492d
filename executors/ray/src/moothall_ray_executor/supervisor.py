"""The supervisor: a detached Ray actor, one for each cluster, that outlives the services which talk to it.

It holds the registry and the crew, makes and replaces the workers, and hands its events to whoever reads them. All of
its state is touched in its one event loop only.
"""

import asyncio
import logging
import pickle
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import ray
import ray.exceptions

from . import garbage, line
from .crew import Crew, Task
from .feed import Batch, Log, Page, page
from .hand import Hand
from .line import CallFailed, Line, LineBroken
from .placement import options, release
from .registry import Ended, Event, Full, Limits, Registry
from .retry import pause
from .settings import BUSY, DEFAULT_POOL, GATHER, Settings, Submitted, supervisor_path, worker_path
from .wave import ErrorType, Order, Seat, Status, Wave, missing
from .worker import Worker

NAME = "moothall-ray-executor"
# Seconds that a worker may be silent about its orders, and that it is then still waited for: it is asked again at once,
# so one that is well answers at least so often.
COLLECT_WAIT, COLLECT_GRACE = 5.0, 10.0
# Seconds beyond a deadline that a worker's own word of it is waited for.
DEADLINE_GRACE = 2.0

log = logging.getLogger(__name__)


class Supervisor:
    """What services call is in `CALLS`; they go through `handle`, packed."""

    def __init__(self) -> None:
        garbage.expect_little()
        self._epoch = uuid.uuid4().hex
        self._settings = Settings()
        self._registry = Registry(Limits())
        self._crew = Crew()
        self._log = Log()
        self._news = asyncio.Event()
        self._hands: dict[str, Hand] = {}
        self._keepers: dict[str, list[asyncio.Task[None]]] = {}
        # Ray's options for each worker of a pool.
        self._places: dict[str, list[dict[str, Any]]] = {}
        self._overdue: dict[str, asyncio.TimerHandle] = {}
        self._made = 0
        self._folder = ""
        self._server: asyncio.Server | None = None

    async def handle(self, call: str, packed: bytes) -> bytes:
        """One call of a service."""
        answer = await CALLS[call](self, *pickle.loads(packed))  # noqa: S301 - from our own service
        return pickle.dumps(answer, protocol=5)

    async def connect(self, settings: Settings, folder: str) -> str:
        """Takes a service's settings over. With a folder all is on one host: calls are taken at a socket in it, too.
        The epoch: another one = another supervisor, which knows nothing of before."""
        if folder and self._server is None:
            self._folder = folder
            self._server = await line.serve(supervisor_path(folder), self.handle)
        changed = {name for name in self._keepers if self._pool_changes(name, settings)}
        self._settings = settings
        self._registry.limits = settings.limits
        for name in changed:
            for keeper in self._keepers.pop(name):
                keeper.cancel()
            release(self._places.pop(name))
        for name in settings.pools.keys() - self._keepers.keys():
            self._places[name] = options(settings.pools[name], settings.model.connections)
            self._keepers[name] = [asyncio.create_task(self._keep(name, made)) for made in self._places[name]]
        return self._epoch

    async def submit(self, waves: list[Wave]) -> Submitted:
        """Takes waves: each is known, and its calls are on their way, when it answers."""
        ids: list[str | None] = []
        for wave in waves:
            try:
                ids.append(self._take(wave))
            except Full:
                ids.append(None)
        return Submitted(ids, self._log.seq)

    async def cancel(self, ids: list[str], reason: str) -> int:
        """Ends deliberations that still run. The event by which all of it is told."""
        for deliberation_id in ids:
            self._tell(self._registry.cancel(deliberation_id, reason, time.time()))
        return self._log.seq

    async def events(self, after: int, wait: float) -> Batch:
        """Events after that number as soon as there are some; after `wait` seconds none."""
        if after == self._log.seq:
            self._news.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                self._registry.forget(time.time())
            else:
                if len(self._registry.running) >= BUSY:
                    await asyncio.sleep(GATHER)
        workers, places = len(self._hands), sum(map(len, self._keepers.values()))
        found = self._log.after(after)
        if found is None:
            return Batch(self._log.seq, [], workers, places, gone=True)
        return Batch(*found, workers, places)

    async def snapshot(self, after: int) -> Page:
        """A page of everything that is known, from place `after` on."""
        return page(self._registry, after, self._log.seq, self._registry.totals)

    async def told(self, results: list[tuple[str, str]]) -> None:
        """Those results (deliberation, agent) were published."""
        self._tell(self._registry.told(results))

    def _pool_changes(self, name: str, settings: Settings) -> bool:
        return settings.pools.get(name) != self._settings.pools[name] or settings.model != self._settings.model

    def _take(self, wave: Wave) -> str:
        outline = wave.outline
        events = self._registry.submit(outline, time.time())
        if not events:
            return self._registry.existing(outline.key) or outline.deliberation_id
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wave.timeout
        tasks = [
            Task(
                Order(outline.deliberation_id, call, wave.url, wave.keyed, wave.timeout, wave.max_retries),
                call.role.upper() if call.role.upper() in self._settings.pools else DEFAULT_POOL,
                deadline,
            )
            for call in wave.calls
        ]
        self._overdue[outline.deliberation_id] = loop.call_later(
            wave.timeout + DEADLINE_GRACE, self._time_is_up, outline.deliberation_id
        )
        # The agents first: the news can wait for a moment.
        self._give(self._crew.assign(tasks))
        self._tell(events)
        return outline.deliberation_id

    def _tell(self, events: list[Event]) -> None:
        """Makes events known, and ends the work of deliberations that ended by them."""
        if not events:
            return
        self._log.append(events)
        self._news.set()
        for deliberation_id in {event.deliberation_id for event in events if isinstance(event, Ended)}:
            self._clear(deliberation_id)

    def _clear(self, deliberation_id: str) -> None:
        if timer := self._overdue.pop(deliberation_id, None):
            timer.cancel()
        one = self._registry.get(deliberation_id)
        agents = [seat.agent_id for seat in one.outline.seats] if one else []
        for worker in self._crew.withdraw(deliberation_id, agents):
            hand = self._hands[worker]
            hand.withdrawn.extend((deliberation_id, agent) for agent in agents)
            self._send(worker, hand)

    def _time_is_up(self, deliberation_id: str) -> None:
        """Ends agents of which no worker said anything in time: it hangs, or none came."""
        one = self._registry.get(deliberation_id)
        if one is None:
            return
        took = round((time.time() - one.started_at) * 1000)
        seats = {seat.agent_id: seat for seat in one.outline.seats}
        waiting = self._crew.waiting(deliberation_id)
        for agent_id in list(one.open_seats):
            lost = waiting.get(agent_id)
            kind = ErrorType.WORKER_LOST if lost else ErrorType.TIMEOUT
            error = "its worker was lost, and no other came in time" if lost else "no worker answered in time"
            result = missing(seats[agent_id], Status.FAILED, kind, error, took)
            self._tell(self._registry.answer(deliberation_id, result, time.time()))

    def _give(self, given: dict[str, list[Task]]) -> None:
        for worker, tasks in given.items():
            hand = self._hands[worker]
            hand.orders.extend(tasks)
            self._send(worker, hand)

    def _send(self, worker: str, hand: Hand) -> None:
        """The first message goes out at once, before anything else is done: the agents wait for it."""
        if hand.sender is None or hand.sender.done():
            sent = hand.message(asyncio.get_running_loop().time())
            hand.sender = asyncio.create_task(self._sending(worker, hand, sent))

    async def _sending(self, worker: str, hand: Hand, sent: Awaitable[object]) -> None:
        try:
            await sent
            while hand.has_more:
                await hand.message(asyncio.get_running_loop().time())
        except (ray.exceptions.RayError, LineBroken) as error:
            # What it was sent may or may not have arrived: its keeper finds it dead and gives its work to others.
            log.warning("worker takes no orders", extra={"worker": worker, "error": str(error)[:200]})
            ray.kill(hand.actor)

    async def _keep(self, pool: str, made: dict[str, Any]) -> None:
        """Keeps one place of a pool filled, for ever."""
        failures = 0
        while True:
            self._made += 1
            worker = f"{pool}-{self._made}"
            actor = ray.remote(Worker).options(**made).remote(self._settings.model)
            try:
                path = worker_path(self._folder, worker) if self._folder else ""
                pid = await actor.ready.remote(path)
                log.info("worker ready", extra={"worker": worker, "pid": pid})
                hand = self._hands[worker] = Hand(actor, await Line.open(path) if path else None)
                self._give(self._crew.join(pool, worker))
                failures = 0
                await self._collect(worker, hand)
            except (ray.exceptions.RayError, LineBroken, CallFailed, TimeoutError) as error:
                log.warning("worker lost", extra={"worker": worker, "error": str(error)[:200]})
            finally:
                ray.kill(actor)
                self._lost(pool, worker)
            failures += 1
            await asyncio.sleep(pause(failures, 1.0))

    async def _collect(self, worker: str, hand: Hand) -> None:
        """Takes in what a worker's orders come to, until it is lost."""
        while True:
            async with asyncio.timeout(COLLECT_WAIT + COLLECT_GRACE):
                outcomes = await hand.collect(COLLECT_WAIT)
            for outcome in outcomes:
                key = (outcome.deliberation_id, outcome.result.agent_id)
                if self._crew.done(key, worker):
                    self._tell(self._registry.answer(outcome.deliberation_id, outcome.result, time.time()))
            # Whoever waits for the news goes first.
            await asyncio.sleep(0)

    def _lost(self, pool: str, worker: str) -> None:
        """Gives what a lost worker had to others, or gives it up."""
        self._hands.pop(worker, None)
        again = []
        for task in self._crew.leave(pool, worker):
            if task.losses <= task.order.max_retries:
                again.append(task)
                continue
            call = task.order.call
            result = missing(
                Seat(call.agent_id, call.role, call.model),
                Status.FAILED,
                ErrorType.WORKER_LOST,
                f"{task.losses} workers were lost while they asked",
            )
            self._tell(self._registry.answer(task.order.deliberation_id, result, time.time()))
        self._give(self._crew.assign(again))


CALLS: dict[str, Callable[..., Awaitable[Any]]] = {
    "connect": Supervisor.connect,
    "submit": Supervisor.submit,
    "cancel": Supervisor.cancel,
    "events": Supervisor.events,
    "snapshot": Supervisor.snapshot,
    "told": Supervisor.told,
}
