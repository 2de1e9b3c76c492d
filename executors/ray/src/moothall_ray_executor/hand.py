"""A worker as its supervisor sees it: where orders go, and where outcomes come from."""

import asyncio
import pickle
from collections.abc import Awaitable
from typing import Any

from .crew import Key, Task
from .line import Line, answer_of
from .wave import Order, Outcome
from .worker import COLLECT, ORDER


class Hand:
    """At most one message of orders is on its way; the rest goes with the next."""

    def __init__(self, actor: Any, line: Line | None) -> None:
        self.actor = actor
        # On this host there is a way past Ray.
        self.line = line
        self.orders: list[Task] = []
        self.withdrawn: list[Key] = []
        self.sender: asyncio.Task[None] | None = None

    @property
    def has_more(self) -> bool:
        return bool(self.orders or self.withdrawn)

    def message(self, now: float) -> Awaitable[object]:
        """Orders, and words of what is withdrawn, as one message that is on its way. Awaited, it raises RayError,
        LineBroken."""
        tasks, self.orders = self.orders, []
        keys, self.withdrawn = self.withdrawn, []
        orders = [_order(task, now) for task in tasks]
        if self.line is not None:
            return self.line.send(ORDER, pickle.dumps((orders, keys), protocol=5))
        sent: Awaitable[object] = self.actor.order.remote(orders, keys)
        return sent

    async def collect(self, wait: float) -> list[Outcome]:
        """What has ended. Raises RayError, LineBroken, CallFailed."""
        outcomes: list[Outcome]
        if self.line is not None:
            answer = await self.line.send(COLLECT, pickle.dumps((wait,)))
            outcomes = pickle.loads(answer_of(answer))  # noqa: S301 - from our own worker
        else:
            outcomes = await self.actor.collect.remote(wait)
        return outcomes


def _order(task: Task, now: float) -> Order:
    """The order with what is left of its time."""
    order = task.order
    left = max(0.0, task.deadline - now)
    return Order(order.deliberation_id, order.call, order.url, order.keyed, left, order.max_retries)
