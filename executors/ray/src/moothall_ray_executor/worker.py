"""A worker: a Ray actor that asks models for many agents at once.

Its supervisor gives it orders, and collects what they came to: one call each for as many as there are by then, so that
what crosses Ray is batched by itself, the more the more there is to do, and nobody polls. A worker that dies takes its
connections with it; it is not restarted but replaced.
"""

import asyncio
import os
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

from . import garbage, line
from .model import ModelClient
from .settings import BUSY, GATHER, ModelSettings
from .wave import ErrorType, Order, Outcome, Result, Status

ORDER, COLLECT = "order", "collect"


class Worker:
    """All methods run in the actor's one event loop."""

    def __init__(self, settings: ModelSettings) -> None:
        garbage.expect_little()
        self._settings = settings
        self._client: ModelClient | None = None
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._outcomes: list[Outcome] = []
        self._some = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def ready(self, path: str) -> int:
        """The process's id, once it can take orders; at a socket with this path, too, where there is one."""
        self._client = self._client or ModelClient(self._settings)
        if path:
            self._server = await line.serve(path, self._handle)
        return os.getpid()

    async def _handle(self, name: str, packed: bytes) -> bytes:
        """A call that did not come through Ray."""
        call: Callable[..., Awaitable[Any]] = self.collect if name == COLLECT else self.order
        return pickle.dumps(await call(*pickle.loads(packed)), protocol=5)  # noqa: S301 - from our own supervisor

    async def order(self, orders: list[Order], withdrawn: list[tuple[str, str]]) -> None:
        """Begins with orders, and closes the connections of calls that nobody waits for any more."""
        if self._client is None:
            raise RuntimeError("not ready")
        for order in orders:
            key = (order.deliberation_id, order.call.agent_id)
            self._tasks[key] = asyncio.create_task(self._work(self._client, order, key))
        for key in withdrawn:
            if task := self._tasks.get(key):
                task.cancel()

    async def collect(self, wait: float) -> list[Outcome]:
        """What has ended since the last time; at the latest after `wait` seconds, then it may be nothing."""
        if not self._outcomes:
            self._some.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._some.wait()
            except TimeoutError:
                return []
        # The other agents of a wave are seldom far behind.
        if self._tasks:
            await asyncio.sleep(GATHER if len(self._tasks) >= BUSY else GATHER / 4)
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    async def _work(self, client: ModelClient, order: Order, key: tuple[str, str]) -> None:
        try:
            result = await client.ask(order)
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            result = _broken(order, error)
        finally:
            self._tasks.pop(key, None)
        self._outcomes.append(Outcome(order.deliberation_id, result))
        self._some.set()


def _broken(order: Order, error: Exception) -> Result:
    call = order.call
    return Result(
        call.agent_id,
        call.role,
        Status.FAILED,
        call.model,
        error=f"the worker failed: {type(error).__name__}",
        error_type=ErrorType.INTERNAL.value,
    )
