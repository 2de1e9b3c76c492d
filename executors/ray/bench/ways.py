"""Measures ways to have Ray ask models: a task for each agent, an actor for each deliberation, or few actors that stay
and ask for many at once. Beside them a bare aiohttp client. Three agents to a wave.

python bench/ways.py MODEL_MS WAVES AT_ONCE
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from figures import quantile
from measure import AGENTS, BODY, direct, simulator, times

from moothall_ray_executor import bridge

os.environ.update(bridge.environment(""))
import ray


async def post(session: aiohttp.ClientSession, url: str) -> int:
    async with session.post(url, data=BODY, headers={"Content-Type": "application/json"}) as response:
        return len(await response.read())


async def alone(url: str) -> int:
    async with aiohttp.ClientSession() as session:
        return await post(session, url)


def task(url: str) -> int:
    """A Ray task has no event loop and no connection of its own that it could keep."""
    return asyncio.run(alone(url))


class Asker:
    """An async actor with one session."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def wave(self, url: str) -> list[int]:
        self._session = self._session or aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        session = self._session
        return list(await asyncio.gather(*(post(session, url) for _ in range(AGENTS))))


async def report(name: str, wave: Callable[[int], Awaitable[Any]], waves: int, at_once: int) -> None:
    await times(wave, at_once, at_once)
    begun = time.process_time()
    took, rate = await times(wave, waves, at_once)
    used = (time.process_time() - begun) * 1000 / waves
    print(
        f"{name:<32} {rate:7.0f} waves/s  p50 {quantile(took, 0.5):6.1f}  p99 {quantile(took, 0.99):6.1f} ms  "
        f"caller {used:.2f} ms CPU a wave",
        flush=True,
    )


async def main(latency_ms: int, waves: int, at_once: int) -> None:
    remote_task: Any = ray.remote(task).options(num_cpus=0.01)
    asker: Any = ray.remote(Asker).options(num_cpus=0)
    standing = [asker.remote() for _ in range(2)]
    async with simulator(latency_ms) as port, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"

        async def by_tasks(_: int) -> None:
            await asyncio.gather(*(remote_task.remote(url) for _ in range(AGENTS)))

        async def by_new_actor(_: int) -> None:
            await asker.remote().wave.remote(url)

        async def by_standing_actors(number: int) -> None:
            await standing[number % len(standing)].wave.remote(url)

        await report("bare aiohttp", direct(session, port), waves, at_once)
        await report("two standing actors", by_standing_actors, waves, at_once)
        # So slow that few waves, one after another, say enough: each starts processes.
        await report("a task for each agent", by_tasks, 10, 1)
        await report("an actor for each deliberation", by_new_actor, 10, 1)


if __name__ == "__main__":
    folder = tempfile.mkdtemp(prefix="mr-")
    try:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        asyncio.run(main(*map(int, sys.argv[1:4])))
        ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
