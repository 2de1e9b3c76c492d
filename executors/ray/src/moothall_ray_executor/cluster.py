"""The cluster as the service sees it: keeps a bridge to it, follows its supervisor, and heals what breaks.

    starting ─▶ up ─▶ down ─▶ up …

Down, nothing is taken. With a Ray of its own what ran is lost at once; a cluster elsewhere may only be out of sight:
what ran there is given up after `lost_after` seconds, or when another supervisor answers.
"""

import asyncio
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .bridge import BridgeSettings
from .child import Child, SupervisorLost, Unreachable
from .feed import Batch, Page
from .line import CallFailed
from .mirror import Mirror
from .retry import pause
from .settings import BUSY, GATHER, Settings, Submitted
from .wave import Wave

# Seconds that the supervisor holds the question for news when there are none: the cluster's sign of life.
NEWS_WAIT = 2.0
# Seconds that any other call may take; and the first one, for which the cluster may have to start the supervisor.
CALL_TIMEOUT, MEET_TIMEOUT = 10.0, 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Where Ray is, and how patient the service is with it."""

    # Empty = a Ray of our own.
    address: str = ""
    namespace: str = "moothall"
    num_cpus: int = 2
    object_store_bytes: int = 128 << 20
    # Seconds of silence after which a cluster counts as gone.
    lost_after: float = 10.0
    log_level: str = "INFO"


class Cluster:
    """Submits and cancels; what comes of it is in the mirror."""

    def __init__(
        self, settings: ClusterSettings, wanted: Settings, mirror: Mirror, on_change: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._mirror = mirror
        self._on_change = on_change
        self._child: Child | None = None
        self._epoch = ""
        self._losing: asyncio.TimerHandle | None = None
        self._pending: list[tuple[Wave, asyncio.Future[str | None]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._down: asyncio.Event = asyncio.Event()
        self.up = False
        # Whether the mirror knows what the cluster knows, or did so once.
        self.known = False
        # Why it is not up.
        self.trouble = "Ray is being started"
        self.workers = 0
        self.places = 0
        self.reconnects = 0

    async def run(self) -> None:
        """Keeps the cluster connected, until cancelled; then ends its bridge in good order."""
        failures = 0
        try:
            while True:
                try:
                    self._child = await Child.start(self._bridge_settings())
                    failures = 0
                    await self._attend(self._child)
                except Unreachable as error:
                    self._lost(str(error))
                failures += 1
                if self._child is not None:
                    await self._child.kill()
                self._child = None
                if not self._settings.address:
                    self._give_up(self._mirror.registry.running, self.trouble)
                await asyncio.sleep(pause(failures, random.random()))  # noqa: S311 - spreads, guards nothing
                self.reconnects += 1
        finally:
            self._set(up=False, trouble="the executor is being stopped")
            if self._child is not None:
                await self._child.close()

    @property
    def most_running(self) -> int:
        return self._wanted.limits.running

    async def submit(self, wave: Wave) -> str | None:
        """The wave's deliberation, which the mirror knows by then; None = too many run. Raises Unreachable,
        CallFailed."""
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._pending.append((wave, future))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return await future

    async def cancel(self, deliberation_id: str) -> None:
        """Returns when the mirror knows. Raises Unreachable, CallFailed."""
        seq = await self._connected().call("cancel", [deliberation_id], "cancelled by the client", timeout=CALL_TIMEOUT)
        await self._reached(seq)

    async def told(self, results: list[tuple[str, str]]) -> None:
        """Those results (deliberation, agent) were published. Raises Unreachable, CallFailed."""
        await self._connected().call("told", results, timeout=CALL_TIMEOUT)

    def kill_now(self) -> None:
        """The process is about to exit."""
        if self._child is not None:
            self._child.kill_now()

    def _bridge_settings(self) -> BridgeSettings:
        own = not self._settings.address
        return BridgeSettings(
            self._settings.address,
            self._settings.namespace,
            self._settings.num_cpus,
            self._settings.object_store_bytes,
            # Short: a socket's path has at most 107 characters.
            tempfile.mkdtemp(prefix=f"mr-{os.getpid()}-") if own else "",
            self._settings.log_level,
        )

    async def _attend(self, child: Child) -> None:
        """Follows supervisors for as long as the bridge holds."""
        failures = 0
        while True:
            try:
                await child.attach(MEET_TIMEOUT)
                seq = await self._meet(child)
                failures = 0
                await self._follow(child, seq)
            except (SupervisorLost, CallFailed) as error:
                self._lost(str(error))
                failures += 1
                if failures > 5:
                    raise Unreachable(str(error)) from error
            await asyncio.sleep(pause(failures, random.random()))  # noqa: S311 - spreads, guards nothing

    async def _meet(self, child: Child) -> int:
        """Gets to know what the supervisor knows. The event from which on it is to be followed."""
        epoch: str = await child.call("connect", self._wanted, child.folder, timeout=MEET_TIMEOUT)
        await child.shorten()
        if epoch != self._epoch:
            if self._epoch:
                self._give_up(self._mirror.registry.running, "the cluster's supervisor was lost")
            self._epoch = epoch
            self._mirror.restart()
        first, after = None, 0
        running: set[str] = set()
        while True:
            page: Page = await child.call("snapshot", after, timeout=CALL_TIMEOUT)
            first = page.seq if first is None else first
            running.update(one.outline.deliberation_id for one in page.deliberations)
            if ended := self._mirror.merge(page):
                await child.call("cancel", ended, "it had ended", timeout=CALL_TIMEOUT)
            after = page.last
            if not page.more:
                break
        self._give_up(self._mirror.registry.running.keys() - running, "the cluster does not know it any more")
        self.known = True
        return first

    async def _follow(self, child: Child, seq: int) -> None:
        """Until the supervisor or the bridge is lost, or so much was missed that all must be read anew."""
        limit = NEWS_WAIT + self._settings.lost_after
        while True:
            batch: Batch = await child.call("events", seq, NEWS_WAIT, timeout=limit)
            self.workers, self.places = batch.workers, batch.places
            if not self.up and (self.workers or not self.places):
                self._set(up=True, trouble="")
            if batch.gone:
                return
            seq = batch.seq
            self._mirror.apply(batch.events, seq)

    async def _send(self) -> None:
        """One message at a time; what comes meanwhile goes together with the next."""
        while self._pending:
            if len(self._mirror.registry.running) >= BUSY:
                await asyncio.sleep(GATHER)
            pending, self._pending = self._pending, []
            try:
                waves = [wave for wave, _ in pending]
                answer: Submitted = await self._connected().call("submit", waves, timeout=CALL_TIMEOUT)
                await self._reached(answer.seq)
            except (Unreachable, CallFailed) as error:
                for _, future in pending:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), deliberation_id in zip(pending, answer.ids, strict=True):
                if not future.done():
                    future.set_result(deliberation_id)

    async def _reached(self, seq: int) -> None:
        reached = asyncio.ensure_future(self._mirror.reached(seq))
        down = asyncio.ensure_future(self._down.wait())
        try:
            await asyncio.wait((reached, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            down.cancel()
            reached.cancel()
        if not reached.done() or reached.cancelled():
            raise Unreachable(self.trouble)

    def _connected(self) -> Child:
        if self._child is None or not self.up:
            raise Unreachable(self.trouble)
        return self._child

    def _lost(self, why: str) -> None:
        log.error("Ray is out of reach", extra={"error": why[:500]})
        self._set(up=False, trouble=why)
        if self._settings.address and self._losing is None:
            loop = asyncio.get_running_loop()
            self._losing = loop.call_later(self._settings.lost_after, self._give_up_all, why)

    def _give_up_all(self, why: str) -> None:
        self._give_up(self._mirror.registry.running, why)

    def _give_up(self, deliberation_ids: Iterable[str], why: str) -> None:
        ids = list(deliberation_ids)
        if ids:
            log.error("running deliberations are lost", extra={"count": len(ids), "error": why[:500]})
        self._mirror.lose(ids, f"the Ray cluster was lost: {why}")

    def _set(self, *, up: bool, trouble: str) -> None:
        changed, self.up, self.trouble = up != self.up, up, trouble
        if up:
            self._down.clear()
            if self._losing is not None:
                self._losing.cancel()
                self._losing = None
        else:
            self._down.set()
        if changed:
            self._on_change()
