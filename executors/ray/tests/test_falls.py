"""What happens when something falls: the head of Ray, the executor, the cluster, a full house."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moothall_ray_executor.child import kill_session, session_of
from moothall_ray_executor.wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb
from moothall_ray_executor.wire.moothall.v1 import executor_pb2

from .harness import Client, Executor, cluster, eventually, watch, wave
from .model_server import ModelServer, answer, completion

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[str, int]]:
    """A Ray cluster that is not the executor's own."""
    # Short: a socket's path has at most 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="mr-", ignore_cleanup_errors=True) as folder,
        cluster(Path(folder)) as running,
    ):
        yield running


@pytest_asyncio.fixture
async def started() -> AsyncIterator[list[Executor]]:
    """Executors that a story starts, ended with it."""
    executors: list[Executor] = []
    yield executors
    for executor in executors:
        executor.kill()


async def health(client: Client, wanted: int) -> None:
    """Until the executor says so of itself."""
    stub = health_pb2_grpc.HealthStub(client.channel)
    async for said in stub.Watch(health_pb2.HealthCheckRequest(), timeout=60):
        if said.status == wanted:
            return


async def code(call: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call  # type: ignore[misc]
    return refused.value.code()


async def test_the_head_of_its_own_ray_is_killed(tmp_path: Path, model: ModelServer, started: list[Executor]) -> None:
    started.append(Executor.start(tmp_path, "[limits]\nrunning = 1\n"))
    executor = started[0].await_ready()
    model.holding = True
    async with Client(executor.address) as client:
        lost = await client.submit(wave("lost", model.url))
        await model.until(lambda: model.in_flight == 3)
        assert await code(client.submit(wave("more", model.url))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        old = {pid for name in ("ray", "gcs_server") for pid in executor.pids(name)}
        os.kill(executor.pids("gcs_server")[0], signal.SIGKILL)
        results, end = await client.outcome(lost)
        assert (end, {result.error_type for result in results.values()}) == ("failed", {"cluster_unavailable"})
        assert "the Ray cluster was lost" in (await client.status(lost)).error_message
        # Where its worker dies before the supervisor, another may have begun the same calls: none of them is left open.
        await model.until(lambda: len(model.disconnected) == len(model.calls) >= 3)
        assert all(model.count(f"lost/a{index}/1") <= 2 for index in range(3))
        await health(client, NOT_SERVING)
        assert await code(client.submit(wave("early", model.url))) is grpc.StatusCode.UNAVAILABLE
        await health(client, SERVING)
        await model.release()
        assert (await client.outcome(await client.submit(wave("healed", model.url))))[1] == "completed"
        assert await client.submit(wave("lost", model.url)) == lost, "how it ended is still known"
    assert not any(session_of(pid) for pid in old)
    now = set(executor.pids(""))
    assert executor.end() == 0
    assert not any(session_of(pid) for pid in now), "nothing of its Ray is left"


async def test_a_stopped_executor_lets_its_own_waves_end(
    tmp_path: Path, model: ModelServer, started: list[Executor]
) -> None:
    started.append(Executor.start(tmp_path))
    executor = started[0].await_ready()
    model.holding = True
    async with Client(executor.address) as client:
        deliberation = await client.submit(wave("drained", model.url))
        watching = asyncio.create_task(client.outcome(deliberation))
        attended = client.attend()
        await attended.order(watch(1, deliberation))
        await model.until(lambda: model.in_flight == 3)
        executor.process.send_signal(signal.SIGTERM)
        await health(client, NOT_SERVING)
        assert await code(client.submit(wave("after", model.url))) is grpc.StatusCode.UNAVAILABLE
        await model.release()
        assert (await watching)[1] == "completed"
        await attended.until(lambda: attended.said(1)[-1:] == ["end"])
        assert await code(attended.stream.read()) is grpc.StatusCode.UNAVAILABLE, "it says that nothing more comes"
    assert await asyncio.to_thread(executor.process.wait, 20) == 0


async def test_an_executor_that_stood_still_takes_nobody_for_lost(
    tmp_path: Path, model: ModelServer, started: list[Executor]
) -> None:
    # Ray may be silent for three seconds.
    started.append(Executor.start(tmp_path, "[ray]\nlost_after = 1\n"))
    executor = started[0].await_ready()
    model.holding = True
    async with Client(executor.address) as client:
        deliberation = await client.submit(wave("still", model.url))
        await model.until(lambda: model.in_flight == 3)
        executor.process.send_signal(signal.SIGSTOP)
        await model.release()
        await asyncio.sleep(5)
        executor.process.send_signal(signal.SIGCONT)
        assert (await client.outcome(deliberation))[1] == "completed"
    assert len(model.calls) == 3, "no call was repeated"
    assert "out of reach" not in executor.log.read_text()
    assert await asyncio.to_thread(executor.end) == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path, model: ModelServer, started: list[Executor]) -> None:
    started.append(Executor.start(tmp_path))
    executor = started[0].await_ready()
    model.holding = True
    async with Client(executor.address) as client:
        await client.submit(wave("cut", model.url))
        await model.until(lambda: model.in_flight == 3)
        left = executor.pids("")
        executor.process.send_signal(signal.SIGTERM)
        await health(client, NOT_SERVING)
        executor.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(executor.process.wait, 3) == 128 + signal.SIGTERM
    await model.until(lambda: len(model.disconnected) == 3)
    await eventually(lambda: not any(session_of(pid) for pid in left))


async def test_a_new_executor_finds_what_runs_on_a_cluster(
    tmp_path: Path, model: ModelServer, started: list[Executor], elsewhere: tuple[str, int]
) -> None:
    address, _ = elsewhere
    packed = '[pools.default]\nnum_cpus = 0.5\nstrategy = "PACK"\n'
    first = Executor.start(tmp_path / "1", packed, RAY_ADDRESS=address)
    started.append(first)
    first.await_ready()
    model.holding = True
    model.script["kept/a0/1"] = [answer(completion("early"))]
    async with Client(first.address) as client:
        deliberation = await client.submit(wave("kept", model.url))
        watching = client.control.Watch(executor_pb2.ExecutorWatchRequest(deliberation_id=deliberation))
        assert (await anext(aiter(watching))).result.content == "early"
        await model.until(lambda: model.in_flight == 2)
        assert await asyncio.to_thread(first.end) == 0
        assert await code(anext(aiter(watching))) is grpc.StatusCode.UNAVAILABLE
    second = Executor.start(tmp_path / "2", packed, RAY_ADDRESS=address)
    started.append(second)
    second.await_ready()
    async with Client(second.address) as client:
        assert await client.submit(wave("kept", model.url)) == deliberation
        assert (await client.status(deliberation)).status == "running"
        await model.release()
        assert (await client.outcome(deliberation))[1] == "completed"
    assert len(model.calls) == 3, "no call was repeated"
    second.kill()
    third = Executor.start(tmp_path / "3", RAY_ADDRESS=address)
    started.append(third)
    third.await_ready()
    async with Client(third.address) as client:
        results, end = await client.outcome(deliberation)
        assert (end, len(results)) == ("completed", 3), "after it ended, and a kill, too"
        # It wants other workers than those before it.
        assert (await client.outcome(await client.submit(wave("placed", model.url))))[1] == "completed"


async def test_a_cluster_that_is_gone_loses_what_ran_there(
    tmp_path: Path, model: ModelServer, started: list[Executor], elsewhere: tuple[str, int]
) -> None:
    address, leader = elsewhere
    started.append(Executor.start(tmp_path, "[ray]\nlost_after = 2\n", RAY_ADDRESS=address))
    executor = started[0].await_ready()
    model.holding = True
    async with Client(executor.address) as client:
        lost = await client.submit(wave("gone", model.url))
        await model.until(lambda: model.in_flight == 3)
        await asyncio.to_thread(kill_session, leader)
        results, end = await client.outcome(lost)
        assert (end, {result.error_type for result in results.values()}) == ("failed", {"cluster_unavailable"})
        assert await code(client.submit(wave("none", model.url))) is grpc.StatusCode.UNAVAILABLE
        status = await client.service.GetStatus(pb.GetStatusRequest())
        assert status.status == "unhealthy"
    assert await asyncio.to_thread(executor.end) == 0
