"""What a session of processes uses of the machine, read from /proc.

A peer is started as the leader of a session of its own, and whatever it starts stays in that session: so the session is
the peer with all its descendants, those included whose parents have ended.

CPU is user and system time. Ray's raylet does not wait for its workers, so the kernel forgets what one used when it
ends. Therefore all processes are looked at often, and of one that has ended counts what it had used when it was last
seen. What it used after that is missing.

Memory is the sum of what is resident. Pages that processes share, such as those of libraries, count in each.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment."""

    pid: int
    # In ticks since the machine was started: ids are given away again.
    started: int
    cpu_ticks: int
    pages: int


class Usage:
    """What was seen so far."""

    def __init__(self) -> None:
        self._ticks: dict[tuple[int, int], int] = {}
        self._most_pages = 0

    def note(self, processes: Iterable[Process]) -> None:
        pages = 0
        for process in processes:
            self._ticks[process.pid, process.started] = process.cpu_ticks
            pages += process.pages
        self._most_pages = max(self._most_pages, pages)

    @property
    def cpu_ms(self) -> float:
        """Of all processes together, those that have ended included."""
        return sum(self._ticks.values()) / TICKS * 1000

    @property
    def peak_mib(self) -> float:
        return self._most_pages * PAGE / (1 << 20)


def session(leader: int) -> list[Process]:
    """The processes of a session now."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - many times a second
    return [process for pid in pids if (process := member(pid, leader))]


def member(pid: int, leader: int) -> Process | None:
    """None = it belongs to another session, or has ended meanwhile."""
    try:
        return read(Path(f"/proc/{pid}/stat").read_text()) if os.getsid(pid) == leader else None
    except OSError:
        return None


def read(stat: str) -> Process:
    """What /proc/PID/stat says."""
    pid, _, rest = stat.partition(" ")
    # The name before it is in parentheses and may hold anything.
    fields = rest.rpartition(") ")[2].split()
    user, system, started, pages = (int(fields[place]) for place in (11, 12, 19, 21))
    return Process(int(pid), started, user + system, pages)


def available_mib(meminfo: str) -> int:
    """What /proc/meminfo says of the memory that could be used without swapping."""
    line = next(line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) // 1024
