"""Measures the executor against a bare aiohttp client that asks the same simulated model server, in turn, in one run:
only the ratio means anything, since machines change their speed.

    python bench/measure.py latency     one wave of three agents after another, the model takes 50 ms
    python bench/measure.py throughput  64 waves of three agents at once, the model takes 0 ms
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
from figures import quantile

from moothall_ray_executor.wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb
from moothall_ray_executor.wire.moothall.v1 import executor_pb2
from moothall_ray_executor.wire.moothall.v1.executor_pb2_grpc import ExecutorControlStub

AGENTS = 3
PROMPT = "You are an engineer.\n---user---\n" + "word " * 400
BODY = json.dumps(
    {
        "model": "bench",
        "messages": [
            {"role": "system", "content": "You are an engineer."},
            {"role": "user", "content": "word " * 400},
        ],
    }
).encode()

AttendStream = grpc.aio.StreamStreamCall[executor_pb2.ExecutorOrders, executor_pb2.ExecutorReports]
Wave = Callable[[int], Awaitable[None]]


@contextlib.asynccontextmanager
async def process(*command: str, **environment: str) -> AsyncIterator[str]:
    """A process, ended by its own id at the end; its first line."""
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **environment}
    )
    try:
        assert running.stdout is not None
        async with asyncio.timeout(60):
            line = await running.stdout.readline()
        yield line.decode().strip()
    finally:
        running.terminate()
        await running.wait()


def simulator(latency_ms: int) -> contextlib.AbstractAsyncContextManager[str]:
    return process(sys.executable, str(Path(__file__).with_name("simulator.py")), str(latency_ms))


def executor(workers: int, config: Path) -> contextlib.AbstractAsyncContextManager[str]:
    config.write_text(f"[pools.default]\nworkers = {workers}\n")
    command = str(Path(sys.executable).with_name("ray-executor"))
    return process(command, "--config", str(config), GRPC_PORT="0", LOG_LEVEL="ERROR")


def direct(session: aiohttp.ClientSession, port: str) -> Wave:
    """A wave as the bare client asks it."""

    async def ask() -> None:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=BODY, headers=headers) as response:
            json.loads(await response.read())

    async def wave(_: int) -> None:
        await asyncio.gather(*(ask() for _ in range(AGENTS)))

    return wave


class Stream:
    """All waves in one, as the daemon has it: a message holds what there is by then."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stream: AttendStream = ExecutorControlStub(channel).Attend()
        self._number = 0
        self._orders: list[executor_pb2.ExecutorOrder] = []
        self._waiting: dict[int, asyncio.Queue[executor_pb2.ExecutorReport]] = {}
        self._some = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    def order(self, order: executor_pb2.ExecutorOrder) -> asyncio.Queue[executor_pb2.ExecutorReport]:
        """Where its reports come."""
        self._number += 1
        order.number = self._number
        reports = self._waiting[self._number] = asyncio.Queue()
        self._orders.append(order)
        self._some.set()
        return reports

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._stream.cancel()

    async def _write(self) -> None:
        while await self._some.wait():
            orders, self._orders = self._orders, []
            self._some.clear()
            await self._stream.write(executor_pb2.ExecutorOrders(orders=orders))

    async def _read(self) -> None:
        while isinstance(message := await self._stream.read(), executor_pb2.ExecutorReports):
            for report in message.reports:
                self._waiting[report.number].put_nowait(report)
                if report.WhichOneof("report") != "result":
                    del self._waiting[report.number]


def through(stream: Stream, port: str, run: str) -> Wave:
    """A wave as the daemon asks it: submitted, then watched to its end."""
    agents = [pb.Agent(id=f"agent-{index}", role="DEV", prompt_template=PROMPT) for index in range(AGENTS)]

    async def wave(number: int) -> None:
        request = pb.ExecuteDeliberationRequest(
            task_id=f"{run}-{number}/propose-0",
            role="DEV",
            agents=agents,
            vllm_url=f"http://127.0.0.1:{port}",
            vllm_model="bench",
        )
        submitted = await stream.order(executor_pb2.ExecutorOrder(deliberation=request)).get()
        name = submitted.taken.deliberation_id
        watched = stream.order(
            executor_pb2.ExecutorOrder(watch=executor_pb2.ExecutorWatchRequest(deliberation_id=name))
        )
        results = [await watched.get() for _ in range(AGENTS)]
        last = await watched.get()
        assert last.end.status == "completed", last
        assert all(report.HasField("result") for report in results)

    return wave


async def times(wave: Wave, waves: int, at_once: int) -> tuple[list[float], float]:
    """Milliseconds of each wave, and waves per second."""
    numbers = iter(range(waves))
    took: list[float] = []

    async def one_after_another() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await wave(number)
            took.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    return took, waves / (time.perf_counter() - begun)


async def compare(latency_ms: int, waves: int, at_once: int, rounds: int, workers: int, config: Path) -> None:
    shares, added_50, added_99 = [], [], []
    async with (
        simulator(latency_ms) as port,
        executor(workers, config) as ready,
        grpc.aio.insecure_channel(ready.split("grpc=")[1].split()[0]) as channel,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        stream = Stream(channel)
        await times(through(stream, port, "warm"), max(32, at_once), at_once)
        for index in range(rounds):
            bare, bare_rate = await times(direct(session, port), waves, at_once)
            ours, our_rate = await times(through(stream, port, f"r{index}"), waves, at_once)
            shares.append(our_rate / bare_rate)
            added_50.append(quantile(ours, 0.5) - quantile(bare, 0.5))
            added_99.append(quantile(ours, 0.99) - quantile(bare, 0.99))
            print(
                f"round {index}: bare {bare_rate:.0f}/s p50 {quantile(bare, 0.5):.1f} p99 {quantile(bare, 0.99):.1f}"
                f" ms; executor {our_rate:.0f}/s p50 {quantile(ours, 0.5):.1f} p99 {quantile(ours, 0.99):.1f} ms",
                flush=True,
            )
        stream.close()
    print(
        f"medians of {rounds}: {statistics.median(shares):.2f} of the bare client's rate "
        f"({min(shares):.2f} to {max(shares):.2f}); added p50 {statistics.median(added_50):.1f} ms, "
        f"p99 {statistics.median(added_99):.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("latency", "throughput"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model-ms", type=int, help="how long the model takes")
    parser.add_argument("--waves", type=int)
    arguments = parser.parse_args()
    alone = arguments.what == "latency"
    latency = arguments.model_ms if arguments.model_ms is not None else 50 * alone
    config = Path(f"/tmp/ray-executor-bench-{os.getpid()}.toml")
    try:
        asyncio.run(
            compare(
                latency,
                arguments.waves or (100 if alone else 1500),
                1 if alone else 64,
                arguments.rounds,
                arguments.workers,
                config,
            )
        )
    finally:
        config.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
