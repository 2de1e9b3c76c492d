"""Measures the deliberation that `moothall bench` measures, held by what one would use instead of the daemon: three
agents, one round, hence three waves of three chat completions.

    aiohttp    one process, one session with kept connections, no Ray
    actors     three Ray actors for each deliberation, created for it and killed at its end
    standing   the same, with actors that are created once: three for each deliberation that may be under way

    python bench/peers.py aiohttp --url http://127.0.0.1:8000

The last line of stdout is one JSON object. What ends within the window counts; the warm-up before it does not. Times of
a deliberation begin before its agents are created, and end after they have been killed. CPU and memory are those of the
peer's process and all its descendants (usage.py says how they are read), without this one, which only looks on.

Exit 1, with one line on stderr, when it fails or is stopped. Whatever it started has ended by then.
"""

import argparse
import contextlib
import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import window
from councils import AGENTS
from usage import Usage, available_mib, session
from window import KINDS, Plan

from moothall_ray_executor import bridge
from moothall_ray_executor.child import kill_session

# Seconds between two looks at the processes.
LOOK = 0.1
# Seconds that the peer may take to start, and for each actor more; then for everything but the window.
START, START_OF_ACTOR = 60.0, 2.0
# Of Ray itself with its store, and of each actor. They share a part of it, which is not counted on.
RAY_MIB, ACTOR_MIB = 1024, 90
# Of one message.
MOST_BYTES = 1 << 16


class Failed(Exception):
    """Nothing was measured; why."""


@dataclass(frozen=True, slots=True)
class Running:
    """The peer's process, which leads a session of its own."""

    pid: int
    link: socket.socket
    # What it prints, and what Ray prints.
    log: Path


def main() -> None:
    plan = arguments()
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    try:
        check_memory(plan, available_mib(Path("/proc/meminfo").read_text()))
        print(json.dumps(run(plan, signals)), flush=True)
    except (Failed, OSError) as error:
        print(f"peers: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def arguments() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--url", type=server, required=True, help="the model server, such as http://127.0.0.1:8000")
    parser.add_argument("--concurrency", type=positive, default=64, help="deliberations at a time")
    parser.add_argument("--seconds", type=duration, default=10.0, help="how long is measured")
    parser.add_argument("--warmup", type=duration, default=2.0, help="how long before that nothing counts")
    parser.add_argument("--prompt-bytes", type=positive, default=2048, help="size of the task in each prompt")
    return Plan(**vars(parser.parse_args()))


def server(text: str) -> str:
    parts = urlsplit(text)
    # A port that is no number raises a ValueError.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL of a server")
    return text.rstrip("/")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def duration(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 seconds")
    return seconds


def check_memory(plan: Plan, available: int) -> None:
    """Raises Failed."""
    needed = RAY_MIB + plan.actors * ACTOR_MIB
    if plan.actors and needed > available:
        most = max(0, (available - RAY_MIB) // (AGENTS * ACTOR_MIB))
        raise Failed(
            f"the actors of {plan.concurrency} deliberations at a time need {needed} MiB of memory, and there are "
            f"{available}: the most that fits is a concurrency of {most}"
        )


def run(plan: Plan, signals: list[int]) -> dict[str, object]:
    """What the peer measured, and what it used. Raises Failed, also when a signal has come."""
    usage = Usage()
    limit = START + START_OF_ACTOR * plan.actors + plan.warmup + plan.seconds
    said: dict[str, Any] = {}
    cpu_ms: dict[str, float] = {}
    with started(plan) as running:
        for word, what in words(running, usage, limit, signals):
            said[word], cpu_ms[word] = what, usage.cpu_ms
            if word in (window.FIGURES, window.ERROR):
                break
    if window.ERROR in said:
        raise Failed(said[window.ERROR])
    figures = said[window.FIGURES]
    each = (cpu_ms[window.END] - cpu_ms[window.BEGIN]) / figures["deliberations"]
    return {
        "kind": plan.kind,
        "concurrency": plan.concurrency,
        **figures,
        "cpu_ms_per_deliberation": round(each, 3),
        "rss_mib_peak": round(usage.peak_mib, 1),
    }


@contextlib.contextmanager
def started(plan: Plan) -> Iterator[Running]:
    """The peer's process; at the end it is killed, with every process of its session."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = Path(tempfile.mkdtemp(prefix="mp-"))
    log = folder / "log"
    with ours, log.open("wb") as output:
        with theirs:
            process = subprocess.Popen(
                (sys.executable, window.__file__, str(theirs.fileno()), str(folder), json.dumps(asdict(plan))),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=bridge.environment(""),
                start_new_session=True,
            )
        try:
            yield Running(process.pid, ours, log)
        finally:
            kill_session(process.pid)
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def words(running: Running, usage: Usage, limit: float, signals: list[int]) -> Iterator[tuple[str, Any]]:
    """What the peer says, each after a look at its processes. Raises Failed."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        heard, _, _ = select.select([running.link], [], [], LOOK)
        usage.note(session(running.pid))
        if signals:
            raise Failed(f"stopped by {signal.Signals(signals[0]).name}")
        if heard:
            message = running.link.recv(MOST_BYTES)
            if not message:
                raise Failed(f"the peer ended early: {last_line(running.log.read_text(errors='replace'))}")
            word, what = json.loads(message)
            yield word, what
    raise Failed(f"no figures within {limit:g} s")


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


if __name__ == "__main__":
    main()
