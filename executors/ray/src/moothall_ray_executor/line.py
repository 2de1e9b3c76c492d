"""A connection over which one process calls another: many calls at once, each answered when it is done.

Between the service and its bridge always; and where a Ray is ours and so on one host, between service, supervisor and
workers, too. Ray still starts, places, watches and ends them, but a message through it costs 2 ms there and back,
through a socket a tenth of that.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from . import frame
from .frame import Frame

# What came of a call: an answer; the call failed.
OK, FAILED = "ok", "failed"

Handler = Callable[[str, bytes], Awaitable[bytes]]


class LineBroken(Exception):
    """The other side is gone. The call may have had its effect."""


class CallFailed(Exception):
    """The other side failed at this call."""


class Line:
    """The caller's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def open(cls, path: str) -> "Line":
        """Raises LineBroken."""
        try:
            return cls(*await asyncio.open_unix_connection(path))
        except OSError as error:
            raise LineBroken(str(error)) from error

    def send(self, name: str, packed: bytes) -> asyncio.Future[Frame]:
        """A call that is on its way; its answer raises LineBroken."""
        self._number += 1
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        if self._reading.done():
            future.set_exception(LineBroken("the connection has ended"))
            return future
        self._waiting[self._number] = future
        frame.write(self._writer, Frame(self._number, name, packed))
        return future

    def close(self) -> None:
        self._reading.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while answer := await frame.read(reader):
                waiting = self._waiting.pop(answer.number, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        finally:
            waiting_still, self._waiting = self._waiting, {}
            for waiting in waiting_still.values():
                if not waiting.done():
                    waiting.set_exception(LineBroken("the connection ended"))


def answer_of(said: Frame) -> bytes:
    """Raises CallFailed."""
    if said.name == FAILED:
        raise CallFailed(said.packed.decode())
    return said.packed


async def serve(path: str, handle: Handler) -> asyncio.Server:
    """Answers calls that come over a socket at this path."""
    tasks: set[asyncio.Task[None]] = set()

    async def answer(asked: Frame, writer: asyncio.StreamWriter) -> None:
        try:
            said = Frame(asked.number, OK, await handle(asked.name, asked.packed))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            said = Frame(asked.number, FAILED, f"{type(error).__name__}: {error}".encode())
        frame.write(writer, said)
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await frame.read(reader):
            task = asyncio.create_task(answer(asked, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        writer.close()

    return await asyncio.start_unix_server(attend, path)
