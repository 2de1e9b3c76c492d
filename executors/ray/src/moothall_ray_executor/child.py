"""The service's side of its bridge: starts it, calls it, and ends it for certain."""

import asyncio
import contextlib
import logging
import os
import pickle
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from . import bridge, frame
from .bridge import BridgeSettings
from .frame import Frame

# Seconds that Ray gets to start or to be found, and to end.
START_TIMEOUT, CLOSE_TIMEOUT = 90.0, 8.0

log = logging.getLogger(__name__)


class Unreachable(Exception):
    """No answer came; why. The call may have had its effect."""


class SupervisorLost(Unreachable):
    """The bridge is well, but the supervisor is gone."""


class CallFailed(Exception):
    """The supervisor failed at this call."""


class Child:
    """A running bridge."""

    def __init__(self, settings: BridgeSettings, process: asyncio.subprocess.Process) -> None:
        self._settings = settings
        self._process = process
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._killed = False

    @classmethod
    async def start(cls, settings: BridgeSettings) -> "Child":
        """A bridge that is connected to Ray. Raises Unreachable."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", bridge.__name__, str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                # Ray prints, and our stdout says only when we are ready.
                stdout=sys.stderr,
                env=bridge.environment(settings.address),
                # A session of its own: all that it starts can be found by it, and a terminal's Ctrl-C is ours alone.
                start_new_session=True,
            )
        child = cls(settings, process)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                reader, child._writer = await asyncio.open_connection(sock=ours)
                child._writer.write(bridge.opening(settings))
                if await frame.read(reader) is None:
                    raise Unreachable("Ray did not start; its words are in the log")
        except (TimeoutError, Unreachable) as error:
            await child.kill()
            raise Unreachable(str(error) or f"Ray did not start within {START_TIMEOUT:g} s") from error
        except BaseException:
            await child.kill()
            raise
        child._reading = asyncio.create_task(child._read(reader))
        return child

    async def call(self, name: str, *arguments: object, timeout: float) -> Any:
        """What the supervisor answers. Raises Unreachable, CallFailed."""
        if self._writer is None or self._reading is None or self._reading.done():
            raise Unreachable("the bridge to Ray has ended")
        self._number += 1
        number = self._number
        self._waiting[number] = asyncio.get_running_loop().create_future()
        frame.write(self._writer, Frame(number, name, pickle.dumps(arguments, protocol=5)))
        try:
            async with asyncio.timeout(timeout):
                await self._writer.drain()
                answer = await self._waiting[number]
        except (TimeoutError, ConnectionError) as error:
            raise Unreachable(str(error) or f"Ray did not answer within {timeout:g} s") from error
        finally:
            self._waiting.pop(number, None)
        return _meant(answer)

    async def close(self) -> None:
        """Ends it in good order, a Ray of its own with it; at the latest by force."""
        if self._writer is not None:
            frame.write(self._writer, Frame(0, bridge.CLOSE, b""))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """Ends it now, with every process that it left behind."""
        self.kill_now()
        await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()

    def kill_now(self) -> None:
        """As `kill`, for a process that is about to exit. Once: the session's id may be somebody else's later."""
        if self._killed:
            return
        self._killed = True
        kill_session(self._process.pid)
        if not self._settings.address:
            shutil.rmtree(self._settings.folder, ignore_errors=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while answer := await frame.read(reader):
            waiting = self._waiting.pop(answer.number, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(Frame(0, bridge.UNREACHABLE, b"the bridge to Ray ended"))


def kill_session(leader: int) -> None:
    """Kills every process of a session that we started. Its id is its leader's, and is not given away before all are
    gone."""
    while pids := [pid for pid in _processes() if _session(pid) == leader]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _session(pid: int) -> int:
    """0 = it has ended."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[:4]
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else int(session)


def _meant(answer: Frame) -> Any:
    match answer.name:
        case bridge.OK:
            return pickle.loads(answer.packed) if answer.packed else None  # noqa: S301 - from our own supervisor
        case bridge.LOST:
            raise SupervisorLost(answer.packed.decode())
        case bridge.FAILED:
            raise CallFailed(answer.packed.decode())
        case _:
            raise Unreachable(answer.packed.decode())
