"""Who works on what: workers of each pool, the orders they have, and those that wait for one. Pure.

An order is with one worker at a time. When that one is lost, the order goes to another, as long as its retries allow.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from .wave import Order

Key = tuple[str, str]  # deliberation, agent
# Agents of one wave that are given to one worker.
HANDFUL = 4


@dataclass(slots=True)
class Task:
    """An order on its way, and what it has been through."""

    order: Order
    pool: str
    # When its time is up, on the crew's clock.
    deadline: float
    losses: int = 0

    @property
    def key(self) -> Key:
        return (self.order.deliberation_id, self.order.call.agent_id)


@dataclass(slots=True)
class Pool:
    """Workers that may take each other's orders."""

    # Worker to what it has.
    workers: dict[str, dict[Key, Task]] = field(default_factory=dict)
    waiting: deque[Task] = field(default_factory=deque)


@dataclass(slots=True)
class Crew:
    """All pools."""

    pools: dict[str, Pool] = field(default_factory=dict)
    _where: dict[Key, str] = field(default_factory=dict)

    def assign(self, tasks: Iterable[Task]) -> dict[str, list[Task]]:
        """Gives tasks to the worker of their pool that has least; those of pools without one wait. A wave's agents stay
        together, up to a `HANDFUL`: a message to one worker costs less than to two."""
        given: dict[str, list[Task]] = {}
        before: Task | None = None
        worker, handful = "", 0
        for task in tasks:
            pool = self.pools.setdefault(task.pool, Pool())
            if not pool.workers:
                pool.waiting.append(task)
                continue
            together = before and before.key[0] == task.key[0] and before.pool == task.pool and handful < HANDFUL
            if not together:
                worker, handful = min(pool.workers, key=lambda name: len(pool.workers[name])), 0
            before, handful = task, handful + 1
            pool.workers[worker][task.key] = task
            self._where[task.key] = worker
            given.setdefault(worker, []).append(task)
        return given

    def join(self, pool: str, worker: str) -> dict[str, list[Task]]:
        """A worker is ready: what waited for one is given out."""
        crew = self.pools.setdefault(pool, Pool())
        crew.workers[worker] = {}
        waiting, crew.waiting = list(crew.waiting), deque()
        return self.assign(waiting)

    def leave(self, pool: str, worker: str) -> list[Task]:
        """A worker is lost: what it had."""
        tasks = self.pools[pool].workers.pop(worker, {}) if pool in self.pools else {}
        for key, task in tasks.items():
            del self._where[key]
            task.losses += 1
        return list(tasks.values())

    def done(self, key: Key, worker: str) -> bool:
        """An order has ended. False = the worker does not have it any more."""
        if self._where.get(key) != worker:
            return False
        del self._where[key]
        for pool in self.pools.values():
            if worker in pool.workers:
                del pool.workers[worker][key]
        return True

    def waiting(self, deliberation_id: str) -> dict[str, int]:
        """Agents whose orders wait for a worker, and how many workers each has lost."""
        tasks = (task for pool in self.pools.values() for task in pool.waiting)
        return {task.key[1]: task.losses for task in tasks if task.key[0] == deliberation_id}

    def withdraw(self, deliberation_id: str, agents: Iterable[str]) -> set[str]:
        """Takes back what agents of a deliberation were to do: workers that must be told."""
        keys = {(deliberation_id, agent) for agent in agents}
        told = {worker for key in keys if (worker := self._where.get(key))}
        for key in keys:
            if worker := self._where.get(key):
                self.done(key, worker)
        for pool in self.pools.values():
            if any(task.key in keys for task in pool.waiting):
                pool.waiting = deque(task for task in pool.waiting if task.key not in keys)
        return told
