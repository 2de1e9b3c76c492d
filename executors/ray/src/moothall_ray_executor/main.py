"""The command `ray-executor`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvloop

from . import __version__, config, garbage, log
from .config import Config

if TYPE_CHECKING:
    from .app import App

# Exit codes, as in sysexits.h: a configuration that cannot be used; an address that is taken.
UNUSABLE, UNAVAILABLE = 78, 69
# As a shell says that a signal ended a process.
KILLED = 128

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(prog="ray-executor", description="Asks agents of a council on a Ray cluster.")
    parser.add_argument("--config", metavar="FILE", help="configuration (TOML); default.toml says what there is")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments.config, os.environ)
    except config.Unusable as error:
        print(error, file=sys.stderr)  # noqa: T201 - for a person
        raise SystemExit(UNUSABLE) from error
    log.start(settings.log_level)
    # We start processes, none of which goes on as a copy of this one.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    raise SystemExit(uvloop.run(run(settings)))


async def run(settings: Config) -> int:
    """Serves until told to stop; the exit code."""
    if settings.bind not in ("127.0.0.1", "::1", "localhost"):
        logger.warning(
            "there is no authentication: whoever reaches this address can use it", extra={"bind": settings.bind}
        )
    from .app import App  # noqa: PLC0415 - gRPC reads the environment when it is imported

    garbage.expect_little()
    app = App(settings)
    stopped = asyncio.Event()
    on_signals(stopped, app.cluster.kill_now)
    try:
        await app.start()
    except OSError as error:
        logger.critical("cannot start", extra={"error": str(error)})
        return UNAVAILABLE
    said = asyncio.create_task(say_ready(app))
    await stopped.wait()
    said.cancel()
    logger.info("stopping")
    await app.stop()
    return 0


async def say_ready(app: "App") -> None:
    await app.ready()
    print(f"ready grpc={app.address} metrics={app.metrics_address}", flush=True)  # noqa: T201 - whoever started us reads it


def on_signals(stopped: asyncio.Event, kill_now: Callable[[], None]) -> None:
    """The first one stops in good order, the second at once."""

    def stop(number: int) -> None:
        if not stopped.is_set():
            stopped.set()
            return
        kill_now()
        os._exit(KILLED + number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


if __name__ == "__main__":
    main()
