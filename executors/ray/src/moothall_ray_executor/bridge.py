"""The bridge: the child process that holds Ray, and passes calls of the service on to the supervisor.

Ray binds a process for good, and ends it when the cluster is gone for long (a driver that cannot reach the GCS aborts).
So the service keeps Ray out of its own process: whatever happens to the cluster, it ends the bridge by its process id
and starts another.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import frame, log
from .frame import Frame
from .line import FAILED, OK

# What came of a call, beside OK and FAILED: the supervisor is gone; the cluster cannot be reached.
LOST, UNREACHABLE = "lost", "unreachable"
# Calls that the bridge answers itself: attaches to the supervisor, made where there is none; ends Ray.
ATTACH, CLOSE = "attach", "close"
# Exit status when the local Ray died under it.
CLUSTER_DIED = 3

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """How Ray is reached or started."""

    # Empty = a Ray of its own, which ends with the bridge.
    address: str
    namespace: str
    # Of a Ray of its own.
    num_cpus: int
    object_store_bytes: int
    folder: str
    log_level: str = "INFO"


def environment(address: str) -> dict[str, str]:
    """What a bridge's process is started with. A Ray of its own listens on loopback only, and tells nobody; nor would
    Ray look for a cluster on loopback if it were not told that all of it is there."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not address:
        # Processes for tasks that nobody starts here.
        settings |= {"RAY_AUTH_MODE": "disabled", "RAY_enable_worker_prestart": "0"}
    if address.startswith(("127.", "localhost:")) or not address:
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return settings | os.environ


def main() -> None:
    """Run as `python -m moothall_ray_executor.bridge FD`: the settings come first, pickled, then calls."""
    with socket.socket(fileno=int(sys.argv[1])) as link:
        link.setblocking(True)
        settings = receive(link)
        log.start(settings.log_level)
        connect(settings)
        asyncio.run(serve(link, settings))
    # What Ray leaves behind in threads may take its time.
    sys.stderr.flush()
    os._exit(0)


def receive(link: socket.socket) -> BridgeSettings:
    """What `opening` made, on the other side."""
    (length,) = _LENGTH.unpack(link.recv(_LENGTH.size, socket.MSG_WAITALL))
    settings: BridgeSettings = pickle.loads(link.recv(length, socket.MSG_WAITALL))  # noqa: S301 - from our own parent
    return settings


def opening(settings: BridgeSettings) -> bytes:
    """What the service sends before its first frame."""
    packed = pickle.dumps(settings)
    return _LENGTH.pack(len(packed)) + packed


def connect(settings: BridgeSettings) -> None:
    """In the main thread: the processes that Ray starts die with the thread that started them."""
    import ray  # noqa: PLC0415 - takes a second, and the settings' log level applies to it

    common: dict[str, Any] = {
        "namespace": settings.namespace,
        "log_to_driver": False,
        "logging_level": logging.WARNING,
        "configure_logging": False,
    }
    if settings.address:
        ray.init(address=settings.address, **common)
        return
    ray.init(
        address="local",
        num_cpus=settings.num_cpus,
        object_store_memory=settings.object_store_bytes,
        include_dashboard=False,
        _temp_dir=settings.folder,
        **common,
    )


async def serve(link: socket.socket, settings: BridgeSettings) -> None:
    """Until the service closes it or is gone."""
    watched = [] if settings.address else watch_cluster()
    reader, writer = await asyncio.open_connection(sock=link)
    frame.write(writer, Frame(0, OK, b""))
    bridge = Bridge(writer, settings.namespace)
    while (asked := await frame.read(reader)) and asked.name != CLOSE:
        bridge.begin(asked)
    import ray  # noqa: PLC0415

    for descriptor in watched:
        asyncio.get_running_loop().remove_reader(descriptor)
    ray.shutdown()
    writer.close()


class Bridge:
    """Passes calls on, each in a task of its own."""

    def __init__(self, writer: asyncio.StreamWriter, namespace: str) -> None:
        self._writer = writer
        self._namespace = namespace
        self._supervisor: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, asked: Frame) -> None:
        task = asyncio.create_task(self._answer(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: Frame) -> None:
        name, packed = await self._call(asked)
        frame.write(self._writer, Frame(asked.number, name, packed))
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def _call(self, asked: Frame) -> tuple[str, bytes]:
        from ray.exceptions import ActorDiedError, RayTaskError  # noqa: PLC0415

        try:
            if asked.name == ATTACH:
                self._supervisor = await asyncio.to_thread(attach, self._namespace)
                return OK, b""
            return OK, await self._supervisor.handle.remote(asked.name, asked.packed)
        except RayTaskError as error:
            return FAILED, str(error).strip().encode()
        except ActorDiedError as error:
            return LOST, _first_line(error)
        except Exception as error:  # noqa: BLE001 - of Ray's and its client's many, all mean that no answer came
            return UNREACHABLE, _first_line(error)


def attach(namespace: str) -> Any:
    """The cluster's supervisor."""
    import ray  # noqa: PLC0415

    from . import supervisor  # noqa: PLC0415

    return (
        ray.remote(supervisor.Supervisor)
        .options(
            name=supervisor.NAME,
            namespace=namespace,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=0,
        )
        .remote()
    )


def watch_cluster() -> list[int]:
    """Ends this process as soon as the head of its own Ray dies: its driver would wait a minute for it to come back.
    The descriptors that are watched for it."""
    heads = {pid: name(pid) for pid in children(os.getpid())}
    watched = {os.pidfd_open(pid): head for pid, head in heads.items() if head in ("gcs_server", "raylet")}
    for descriptor, head in watched.items():
        asyncio.get_running_loop().add_reader(descriptor, _cluster_died, head)
    return list(watched)


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]


def name(pid: int) -> str:
    return " ".join(_words(Path(f"/proc/{pid}/comm")))


def _cluster_died(what: str) -> None:
    logging.getLogger(__name__).error("the local Ray died", extra={"died": what})
    sys.stderr.flush()
    os._exit(CLUSTER_DIED)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _first_line(error: Exception) -> bytes:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].encode()


if __name__ == "__main__":
    main()
