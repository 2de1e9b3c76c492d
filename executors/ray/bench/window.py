"""One peer at work for a window of time, as a process of its own. Started by peers.py:

python bench/window.py FD FOLDER PLAN      a socket to say things to, a folder for Ray, and the plan as JSON

It says `begin` and `end` when the window does, then its figures; or, at any time, why it failed. It does not end by
itself: who started it ends it, with all that it has started. When that one is gone it ends, and Ray with it.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import aiohttp
import uvloop
from councils import AGENTS, Agent, Bare, Fresh, Peer, Standing, deliberate, task
from figures import quantile

from moothall_ray_executor import bridge
from moothall_ray_executor.bridge import BridgeSettings

BARE, FRESH, STANDING = "aiohttp", "actors", "standing"
KINDS = (BARE, FRESH, STANDING)

# As small as Ray allows, nearly: prompts and answers go with the messages, not through the store.
STORE_BYTES = 80 << 20

BEGIN, END, FIGURES, ERROR = "begin", "end", "figures", "error"
# Says a word, and what belongs to it.
Say = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    kind: str
    url: str
    concurrency: int
    seconds: float
    warmup: float
    prompt_bytes: int

    @property
    def actors(self) -> int:
        """How many are needed at a time; none = without Ray."""
        return 0 if self.kind == BARE else self.concurrency * AGENTS


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of a deliberation, and of each of its waves."""

    whole: float
    waves: list[float]


class NothingEnded(Exception):
    """The window was too short."""


def main() -> None:
    descriptor, folder, plan = int(sys.argv[1]), sys.argv[2], Plan(**json.loads(sys.argv[3]))
    with socket.socket(fileno=descriptor) as link, cluster(plan, folder):
        # Not for Ray's processes: with the last holder's end the other side hears that this one has ended.
        link.set_inheritable(False)
        # Ray's actors run on uvloop where it is installed, so all kinds do.
        uvloop.run(work(plan, link))
    shutil.rmtree(folder, ignore_errors=True)
    # What Ray leaves behind in threads may take its time.
    os._exit(0)


@contextlib.contextmanager
def cluster(plan: Plan, folder: str) -> Iterator[None]:
    """A Ray as the executor starts one, for the kinds that need it. In the main thread, as `bridge.connect` says."""
    if plan.actors:
        bridge.connect(BridgeSettings("", "peers", 2, STORE_BYTES, folder))
    yield
    if plan.actors:
        import ray  # noqa: PLC0415 - the bare client does without

        ray.shutdown()


async def work(plan: Plan, link: socket.socket) -> None:
    """Until the other side is gone: nothing else ever comes from there."""
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(link, gone.set)
    telling = asyncio.create_task(tell(plan, link))
    await gone.wait()
    telling.cancel()


async def tell(plan: Plan, link: socket.socket) -> None:
    def say(word: str, what: object) -> None:
        link.send(json.dumps([word, what]).encode())

    try:
        async with opened(plan) as peer:
            say(FIGURES, figures(*await measure(plan, peer, say)))
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for a word
        say(ERROR, reason(error))


@contextlib.asynccontextmanager
async def opened(plan: Plan) -> AsyncIterator[Peer]:
    system = task(plan.prompt_bytes)
    if plan.kind == BARE:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield Bare(session, plan.url, system)
        return
    import ray  # noqa: PLC0415

    remote = ray.remote(Agent).options(num_cpus=0)
    if plan.kind == FRESH:
        yield Fresh(lambda: remote.remote(plan.url), ray.kill, system)
        return
    agents = [remote.remote(plan.url) for _ in range(plan.actors)]
    await asyncio.gather(*(agent.__ray_ready__.remote() for agent in agents))
    yield Standing(agents, system)


async def measure(plan: Plan, peer: Peer, say: Say) -> tuple[list[Took], float]:
    """The deliberations that ended in the window, and its seconds. Those that run at its end are given up."""
    ended: list[Took] = []
    async with asyncio.TaskGroup() as group:
        slots = [group.create_task(repeat(peer, ended)) for _ in range(plan.concurrency)]
        await asyncio.sleep(plan.warmup)
        ended.clear()
        say(BEGIN, None)
        begun = time.perf_counter()
        await asyncio.sleep(plan.seconds)
        counted, seconds = ended.copy(), time.perf_counter() - begun
        say(END, None)
        for slot in slots:
            slot.cancel()
    return counted, seconds


async def repeat(peer: Peer, ended: list[Took]) -> None:
    """One deliberation after another, until cancelled."""
    while True:
        begun = time.perf_counter()
        async with peer.council() as ask:
            waves = await deliberate(ask)
        ended.append(Took((time.perf_counter() - begun) * 1000, waves))


def figures(ended: list[Took], seconds: float) -> dict[str, float]:
    if not ended:
        raise NothingEnded(f"no deliberation ended within {seconds:.1f} s: give them more")
    wholes = [took.whole for took in ended]
    waves = [wave for took in ended for wave in took.waves]
    return {
        "seconds": round(seconds, 3),
        "deliberations": len(ended),
        "per_s": round(len(ended) / seconds, 3),
        "p50_ms": round(quantile(wholes, 0.5), 3),
        "p99_ms": round(quantile(wholes, 0.99), 3),
        "waves_p50_ms": round(quantile(waves, 0.5), 3),
        "waves_p99_ms": round(quantile(waves, 0.99), 3),
    }


def reason(error: BaseException) -> str:
    """The first of the errors that came together, in one line; of one in an actor, what it was there."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause = getattr(error, "cause", None)
    error = cause if isinstance(cause, BaseException) else error
    words = str(error).strip().splitlines()
    return words[0][:300] if words else type(error).__name__


if __name__ == "__main__":
    main()
