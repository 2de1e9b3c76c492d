"""Many waves in one stream, on a real Ray."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from moothall_ray_executor import attend
from moothall_ray_executor.mirror import Mirror
from moothall_ray_executor.registry import Began, Ended, Limits
from moothall_ray_executor.service import ExecutorService
from moothall_ray_executor.wave import Kind, Outline, Seat, Status
from moothall_ray_executor.wire.moothall.v1 import executor_pb2 as pb

from .harness import Client, eventually, submit, watch, wave
from .model_server import ModelServer, answer, completion


async def test_waves_are_taken_and_told_in_one_stream(client: Client, model: ModelServer) -> None:
    model.holding = True
    attended = client.attend()
    await attended.order(*(submit(number, wave(f"many-{number}", model.url)) for number in range(8)))
    await attended.until(lambda: len(attended.reports) == 8)
    taken = [attended.reports[number][0].taken for number in range(8)]
    assert [(one.task_id, one.status) for one in taken] == [(f"many-{number}", "submitted") for number in range(8)]
    await attended.order(*(watch(100 + number, one.deliberation_id) for number, one in enumerate(taken)))
    await model.until(lambda: model.in_flight == 24)
    await model.release()
    await attended.until(lambda: all(attended.said(100 + number)[-1:] == ["end"] for number in range(8)))
    for number in range(8):
        *results, last = attended.reports[100 + number]
        told = {report.result.agent_id: report.result for report in results}
        assert {name: result.content for name, result in told.items()} == {
            f"a{index}": f"answer of many-{number}/a{index}/1" for index in range(3)
        }
        assert (len(results), last.end.status) == (3, "completed")
        assert told["a0"].metadata == {}, "whoever watches has it"


async def test_each_order_fails_alone(client: Client, model: ModelServer) -> None:
    wrong = wave("wrong", model.url)
    wrong.vllm_url = "http://elsewhere:1"
    attended = client.attend()
    await attended.order(
        submit(1, wrong), watch(2, "nobody-knows"), pb.ExecutorOrder(number=3), submit(4, wave("right", model.url))
    )
    await attended.until(lambda: len(attended.reports) == 4)
    refused = {number: attended.reports[number][0].refused for number in (1, 2, 3)}
    assert {number: one.code for number, one in refused.items()} == {
        1: grpc.StatusCode.INVALID_ARGUMENT.value[0],
        2: grpc.StatusCode.NOT_FOUND.value[0],
        3: grpc.StatusCode.UNIMPLEMENTED.value[0],
    }
    assert "elsewhere" in refused[1].message
    assert attended.said(4) == ["taken"]


async def test_what_has_ended_is_told_whole_to_each_who_watches(client: Client, model: ModelServer) -> None:
    deliberation = await client.submit(wave("ended", model.url, agents=2))
    await client.outcome(deliberation)
    attended = client.attend()
    await attended.order(watch(1, deliberation), watch(2, deliberation))
    await attended.until(lambda: len(attended.said(1)) == len(attended.said(2)) == 3)
    assert attended.said(1) == attended.said(2) == ["result", "result", "end"]


async def test_the_last_report_ends_a_stream_without_more_orders(client: Client, model: ModelServer) -> None:
    model.holding = True
    deliberation = await client.submit(wave("last", model.url))
    attended = client.attend()
    await attended.order(watch(1, deliberation))
    await attended.stream.done_writing()
    await model.until(lambda: model.in_flight == 3)
    await model.release()
    await attended.until(lambda: attended.said(1)[-1:] == ["end"])
    assert await attended.stream.read() is grpc.aio.EOF
    assert await attended.stream.code() is grpc.StatusCode.OK


async def test_more_than_a_message_holds_comes_in_several(client: Client, model: ModelServer) -> None:
    long = "x" * (300 << 10)
    for index in range(4):
        model.script[f"long/a{index}/1"] = [answer(completion(long))]
    deliberation = await client.submit(wave("long", model.url, agents=4))
    await client.outcome(deliberation)
    attended = client.attend()
    await attended.order(watch(1, deliberation))
    await attended.until(lambda: attended.said(1)[-1:] == ["end"])
    assert [len(report.result.content) for report in attended.reports[1][:-1]] == [len(long)] * 4
    assert attended.messages >= 4


async def test_a_broken_stream_ends_nothing(client: Client, model: ModelServer) -> None:
    model.holding = True
    attended = client.attend()
    await attended.order(submit(1, wave("broken", model.url)))
    await attended.until(lambda: attended.said(1) == ["taken"])
    attended.stream.cancel()
    await model.until(lambda: model.in_flight == 3)
    await model.release()
    assert (await client.outcome(attended.reports[1][0].taken.deliberation_id))[1] == "completed"


class Known(ExecutorService):
    """Knows what its mirror knows, and takes nothing."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror


async def test_who_orders_more_than_is_finished_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "MOST_OPEN", 3)
    mirror = Mirror(Limits())
    outline = Outline("d-1", "t-1", "1", Kind.DELIBERATION, "DEV", "", "", {}, (Seat("a0", "DEV", "m"),))
    mirror.apply([Began(outline, 0.0)], 1)
    taken: list[int] = []

    async def orders() -> AsyncIterator[pb.ExecutorOrders]:
        for number in range(10):
            taken.append(number)
            yield pb.ExecutorOrders(orders=[watch(number, "d-1")])

    reports = attend.Attendance(Known(mirror), mirror).reports(orders())
    told = asyncio.ensure_future(anext(reports))
    await eventually(lambda: len(taken) == 3)
    for _ in range(100):
        await asyncio.sleep(0)
    assert taken == [0, 1, 2], "each watches, and none has ended"
    mirror.apply([Ended("d-1", Status.CANCELLED, "over", time.time())], 2)
    ended = [report.number for report in (await told).reports]
    ended += [report.number async for message in reports for report in message.reports]
    assert ended == taken == list(range(10))


async def test_a_wave_that_breaks_the_executor_is_refused() -> None:
    mirror = Mirror(Limits())

    async def orders() -> AsyncIterator[pb.ExecutorOrders]:
        yield pb.ExecutorOrders(orders=[submit(7, wave("any", "http://127.0.0.1:1"))])

    # Without rules nothing can be taken.
    messages = [message async for message in attend.Attendance(Known(mirror), mirror).reports(orders())]
    (report,) = (report for message in messages for report in message.reports)
    assert (report.number, report.refused.code) == (7, grpc.StatusCode.INTERNAL.value[0])
    assert report.refused.message == "the executor failed: AttributeError"
