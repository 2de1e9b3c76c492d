"""One client's orders and what comes of them, in one stream: each message carries all that there is by then, since it
costs more than what it carries."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from .mirror import Mirror
from .registry import Answered, Deliberation, Ended, Event
from .request import Request
from .service import ExecutorService, Refused
from .wave import Result, Status
from .wire.fleet.ray_executor.v1.ray_executor_pb2 import ExecuteDeliberationResponse
from .wire.moothall.v1 import executor_pb2 as pb

# Orders of one stream that are not finished, and reports that wait to be read; beyond, no more orders are taken.
MOST_OPEN = 8_192
# Characters of one message: few beside what a client takes (4 MiB), and many beside what a message costs.
MOST_CHARACTERS = 512 << 10

log = logging.getLogger(__name__)

# What there is to report on an order.
What = ExecuteDeliberationResponse | Result | pb.ExecutorEnd | Refused


@dataclass(frozen=True, slots=True)
class News:
    """A report before it is written: a result stays where it is until then."""

    # The order's.
    number: int
    what: What

    @property
    def size(self) -> int:
        return self.what.size if isinstance(self.what, Result) else 512


class Attendance:
    """One stream."""

    def __init__(self, service: ExecutorService, mirror: Mirror) -> None:
        self._service = service
        self._mirror = mirror
        # Numbers of the orders that watch each deliberation, and how many they are.
        self._watching: dict[str, list[int]] = {}
        self._watches = 0
        self._submitting: set[asyncio.Task[None]] = set()
        self._news: deque[News] = deque()
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._read = False

    async def reports(self, orders: AsyncIterator[pb.ExecutorOrders]) -> AsyncIterator[pb.ExecutorReports]:
        """Until the last order is finished; when the service is closed, until all that is known is told."""
        reading = asyncio.create_task(self._take_all(orders))
        self._mirror.listen(self._on_event)
        try:
            while await self._has_news():
                yield self._message()
            if reading.done():
                await reading
        finally:
            self._mirror.leave(self._on_event)
            for task in (reading, *self._submitting):
                task.cancel()

    def wake(self) -> None:
        """The service is closed."""
        self._some.set()

    async def _has_news(self) -> bool:
        while not self._news:
            if self._mirror.closed or (self._read and not self._open):
                return False
            self._some.clear()
            await self._some.wait()
        return True

    @property
    def _open(self) -> int:
        return len(self._submitting) + self._watches + len(self._news)

    async def _take_all(self, orders: AsyncIterator[pb.ExecutorOrders]) -> None:
        try:
            async for message in orders:
                for order in message.orders:
                    self._take(order)
                while self._open >= MOST_OPEN:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._read = True
            self._some.set()

    def _take(self, order: pb.ExecutorOrder) -> None:
        match order.WhichOneof("order"):
            case "deliberation":
                self._submit(order.number, order.deliberation)
            case "backlog_review":
                self._submit(order.number, order.backlog_review)
            case "watch":
                self._watch(order.number, order.watch.deliberation_id)
            case None:
                self._say(order.number, Refused(grpc.StatusCode.UNIMPLEMENTED, "no such order is known"))

    def _submit(self, number: int, request: Request) -> None:
        task = asyncio.create_task(self._submitted(number, request))
        self._submitting.add(task)
        task.add_done_callback(self._is_submitted)

    def _is_submitted(self, task: asyncio.Task[None]) -> None:
        self._submitting.discard(task)
        self._some.set()

    async def _submitted(self, number: int, request: Request) -> None:
        try:
            self._say(number, await self._service.submit(request))
        except Refused as refused:
            self._say(number, refused)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            why = f"the executor failed: {type(error).__name__}"
            # Without its trace, which may hold texts.
            log.error("a wave was not taken", extra={"error": why})
            self._say(number, Refused(grpc.StatusCode.INTERNAL, why))

    def _watch(self, number: int, deliberation_id: str) -> None:
        try:
            one = self._service.find(deliberation_id)
        except Refused as refused:
            return self._say(number, refused)
        for result in one.results.values():
            self._say(number, result)
        if one.status is not Status.RUNNING:
            return self._say(number, end_of(one))
        self._watching.setdefault(deliberation_id, []).append(number)
        self._watches += 1
        return None

    def _on_event(self, event: Event, one: Deliberation) -> None:
        match event:
            case Answered(deliberation_id, result):
                for number in self._watching.get(deliberation_id, ()):
                    self._say(number, result)
            case Ended(deliberation_id):
                for number in self._watching.pop(deliberation_id, ()):
                    self._watches -= 1
                    self._say(number, end_of(one))

    def _say(self, number: int, what: What) -> None:
        self._news.append(News(number, what))
        self._some.set()

    def _message(self) -> pb.ExecutorReports:
        """As much as fits; the first always does."""
        message = pb.ExecutorReports()
        room = MOST_CHARACTERS
        while self._news and (room >= self._news[0].size or not message.reports):
            news = self._news.popleft()
            room -= news.size
            message.reports.append(_report(news))
        self._room.set()
        return message


def _report(news: News) -> pb.ExecutorReport:
    number = news.number
    match news.what:
        case Result() as result:
            return pb.ExecutorReport(number=number, result=said(result))
        case pb.ExecutorEnd() as end:
            return pb.ExecutorReport(number=number, end=end)
        case Refused() as refused:
            refusal = pb.ExecutorRefusal(code=refused.code.value[0], message=refused.message)
            return pb.ExecutorReport(number=number, refused=refusal)
        case ExecuteDeliberationResponse() as taken:
            return pb.ExecutorReport(number=number, taken=taken)


def end_of(one: Deliberation) -> pb.ExecutorEnd:
    return pb.ExecutorEnd(status=one.status.value, error_message=one.error)


def said(result: Result, metadata: dict[str, str] | None = None) -> pb.ExecutorAgentResult:
    return pb.ExecutorAgentResult(
        agent_id=result.agent_id,
        role=result.role,
        status=result.status.value,
        content=result.content,
        reasoning=result.reasoning,
        model=result.model,
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        duration_ms=result.duration_ms,
        error=result.error,
        error_type=result.error_type,
        metadata=metadata,
        attempts=result.attempts,
        finish_reason=result.finish_reason,
    )
