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
from .line import Line, LineBroken, answer_of
from .settings import supervisor_path

# Seconds that Ray gets to start or to be found, and to end.
START_TIMEOUT, CLOSE_TIMEOUT = 90.0, 8.0
# Seconds of waiting after which is looked whether an answer came.
SLICE = 0.5

log = logging.getLogger(__name__)


class Unreachable(Exception):
    """No answer came; why. The call may have had its effect."""


class SupervisorLost(Unreachable):
    """The bridge is well, but the supervisor is gone."""


class Child:
    """A running bridge."""

    def __init__(self, settings: BridgeSettings, process: asyncio.subprocess.Process) -> None:
        self._settings = settings
        self._process = process
        self._line: Line | None = None
        # Past the bridge, to a supervisor on this host.
        self._short: Line | None = None
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
                reader, writer = await asyncio.open_connection(sock=ours)
                writer.write(bridge.opening(settings))
                if await frame.read(reader) is None:
                    raise Unreachable("Ray did not start; its words are in the log")
        except (TimeoutError, Unreachable) as error:
            await child.kill()
            raise Unreachable(str(error) or f"Ray did not start within {START_TIMEOUT:g} s") from error
        except BaseException:
            await child.kill()
            raise
        child._line = Line(reader, writer)
        return child

    async def call(self, name: str, *arguments: object, timeout: float) -> Any:
        """What the supervisor answers. Raises Unreachable, CallFailed."""
        line = self._short or self._line
        if line is None:
            raise Unreachable("the bridge to Ray has ended")
        try:
            answer = await _within(timeout, line.send(name, pickle.dumps(arguments, protocol=5)))
        except TimeoutError as error:
            raise Unreachable(f"Ray did not answer within {timeout:g} s") from error
        except LineBroken as error:
            if line is self._short:
                raise SupervisorLost("the supervisor has ended") from error
            raise Unreachable("the bridge to Ray has ended") from error
        return _meant(answer)

    @property
    def folder(self) -> str:
        """Of a Ray of our own; empty = the cluster is elsewhere."""
        return self._settings.folder

    async def attach(self, timeout: float) -> None:
        """Finds or makes the cluster's supervisor. Raises Unreachable, CallFailed."""
        if self._short is not None:
            self._short.close()
            self._short = None
        await self.call(bridge.ATTACH, timeout=timeout)

    async def shorten(self) -> None:
        """Talks to a supervisor on this host without going through Ray. Raises Unreachable."""
        if self._settings.folder:
            try:
                self._short = await Line.open(supervisor_path(self._settings.folder))
            except LineBroken as error:
                raise SupervisorLost(str(error)) from error

    async def close(self) -> None:
        """Ends it in good order, a Ray of its own with it; at the latest by force."""
        if self._line is not None:
            self._line.send(bridge.CLOSE, b"").add_done_callback(_ignore)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """Ends it now, with every process that it left behind."""
        self.kill_now()
        await self._process.wait()
        for line in (self._short, self._line):
            if line is not None:
                line.close()

    def kill_now(self) -> None:
        """As `kill`, for a process that is about to exit. Once: the session's id may be somebody else's later."""
        if self._killed:
            return
        self._killed = True
        kill_session(self._process.pid)
        if not self._settings.address:
            shutil.rmtree(self._settings.folder, ignore_errors=True)


async def _within(seconds: float, answer: asyncio.Future[Frame]) -> Frame:
    """Raises TimeoutError. While this process stands still (SIGSTOP, a suspended machine) nobody is silent: however
    long that is, it counts as one slice, and what came meanwhile is read before time is up."""
    left = seconds
    while not answer.done():
        if left <= 0:
            answer.cancel()
            raise TimeoutError
        await asyncio.wait((answer,), timeout=min(left, SLICE))
        left -= SLICE
    return answer.result()


def kill_session(leader: int) -> None:
    """Kills every process of a session that we started. Its id is its leader's, and is not given away before all are
    gone."""
    while pids := [pid for pid in _processes() if session_of(pid) == leader]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def session_of(pid: int) -> int:
    """A process's session; 0 = it has ended, whether or not anybody has taken note."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[:4]
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else int(session)


def _ignore(answer: asyncio.Future[Frame]) -> None:
    """The bridge does not answer its end."""
    if not answer.cancelled():
        answer.exception()


def _meant(answer: Frame) -> Any:
    if answer.name == bridge.LOST:
        raise SupervisorLost(answer.packed.decode())
    if answer.name == bridge.UNREACHABLE:
        raise Unreachable(answer.packed.decode())
    packed = answer_of(answer)
    return pickle.loads(packed) if packed else None  # noqa: S301 - from our own supervisor
