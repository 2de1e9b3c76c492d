"""Real processes for stories: the executor, a Ray cluster, NATS. Each is ended by its own id."""

import asyncio
import contextlib
import ipaddress
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from moothall_ray_executor import bridge
from moothall_ray_executor.child import kill_session, session_of
from moothall_ray_executor.wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb
from moothall_ray_executor.wire.fleet.ray_executor.v1.ray_executor_pb2_grpc import RayExecutorServiceStub
from moothall_ray_executor.wire.moothall.v1 import executor_pb2
from moothall_ray_executor.wire.moothall.v1.executor_pb2_grpc import ExecutorControlStub

AttendStream = grpc.aio.StreamStreamCall[executor_pb2.ExecutorOrders, executor_pb2.ExecutorReports]

BIN = Path(sys.executable).parent
# Seconds, on a busy machine.
START, LIMIT = 90.0, 30.0
# The loopback address of this process alone, away from 127.0.0.1 (a pid has 22 bits): nobody else takes a port of it
# while its server is away.
PLACE = str(ipaddress.IPv4Address(0x7F40_0000 | (os.getpid() & 0x3F_FFFF)))


@dataclass
class Executor:
    """A running `ray-executor`."""

    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path, config: str = "", **environment: str) -> "Executor":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "executor.toml").write_text(config)
        log = folder / "executor.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "VLLM_"))}
        with log.open("a") as stderr:
            process = subprocess.Popen(
                [BIN / "ray-executor", "--config", folder / "executor.toml"],
                env={**inherited, "GRPC_PORT": "0", **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        return cls(process, log)

    def await_ready(self, limit: float = START) -> "Executor":
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], limit)[0], f"not ready in time: {self.log.read_text()}"
        line = self.process.stdout.readline()
        assert line.startswith("ready "), f"{line!r}: {self.log.read_text()}"
        self.ready = dict(part.split("=", 1) for part in line.split()[1:])
        return self

    @property
    def address(self) -> str:
        return self.ready["grpc"]

    def pids(self, name: str) -> list[int]:
        """Processes of its Ray."""
        bridges = [pid for pid in bridge.children(self.process.pid) if "bridge" in _command(pid)]
        return [pid for leader in bridges for pid in in_session(leader) if name in _command(pid)]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(LIMIT)
        finally:
            self.kill()

    def kill(self) -> None:
        for leader in bridge.children(self.process.pid) if self.process.poll() is None else []:
            kill_session(leader)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Client:
    """Calls an executor as the daemon does."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.service = RayExecutorServiceStub(self.channel)
        self.control = ExecutorControlStub(self.channel)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def submit(self, request: pb.ExecuteDeliberationRequest) -> str:
        answer = await self.service.ExecuteDeliberation(request, timeout=LIMIT)
        assert answer.status == "submitted"
        assert answer.task_id == request.task_id
        return answer.deliberation_id

    async def watch(self, deliberation_id: str) -> list[executor_pb2.ExecutorUpdate]:
        request = executor_pb2.ExecutorWatchRequest(deliberation_id=deliberation_id)
        return [update async for update in self.control.Watch(request, timeout=LIMIT)]

    async def outcome(self, deliberation_id: str) -> tuple[dict[str, executor_pb2.ExecutorAgentResult], str]:
        """Each agent's result, and how the deliberation ended."""
        *results, end = await self.watch(deliberation_id)
        return {update.result.agent_id: update.result for update in results}, end.end.status

    def attend(self) -> "Attended":
        return Attended(self.control.Attend(timeout=LIMIT))

    async def cancel(self, deliberation_id: str) -> str:
        request = executor_pb2.ExecutorCancelRequest(deliberation_id=deliberation_id)
        return (await self.control.Cancel(request, timeout=LIMIT)).status

    async def status(self, deliberation_id: str) -> pb.GetDeliberationStatusResponse:
        request = pb.GetDeliberationStatusRequest(deliberation_id=deliberation_id)
        return await self.service.GetDeliberationStatus(request, timeout=LIMIT)


class Attended:
    """One stream of orders and reports."""

    def __init__(self, stream: "AttendStream") -> None:
        self.stream = stream
        # Reports by the order's number, in the order in which they came.
        self.reports: dict[int, list[executor_pb2.ExecutorReport]] = {}
        self.messages = 0

    async def order(self, *orders: executor_pb2.ExecutorOrder) -> None:
        """All in one message."""
        await self.stream.write(executor_pb2.ExecutorOrders(orders=orders))

    async def until(self, claim: Callable[[], object]) -> None:
        """Reads until a claim about the reports is true."""
        while not claim():
            message = await self.stream.read()
            assert isinstance(message, executor_pb2.ExecutorReports), "the stream has ended"
            self.messages += 1
            for report in message.reports:
                self.reports.setdefault(report.number, []).append(report)

    def said(self, number: int) -> list[str | None]:
        return [report.WhichOneof("report") for report in self.reports.get(number, [])]


def wave(task_id: str, url: str, agents: int = 3, **metadata: str) -> pb.ExecuteDeliberationRequest:
    """A wave of agents a0, a1, …"""
    return pb.ExecuteDeliberationRequest(
        task_id=task_id,
        task_description="Write a parser.",
        role="DEV",
        agents=[
            pb.Agent(id=f"a{index}", role="DEV", prompt_template="Be brief.\n---user---\nWrite.")
            for index in range(agents)
        ],
        vllm_url=url,
        vllm_model="tiny",
        constraints=pb.TaskConstraints(story_id="S-1", timeout_seconds=20, metadata=metadata),
    )


def submit(number: int, request: pb.ExecuteDeliberationRequest) -> executor_pb2.ExecutorOrder:
    return executor_pb2.ExecutorOrder(number=number, deliberation=request)


def watch(number: int, deliberation_id: str) -> executor_pb2.ExecutorOrder:
    request = executor_pb2.ExecutorWatchRequest(deliberation_id=deliberation_id)
    return executor_pb2.ExecutorOrder(number=number, watch=request)


async def eventually(claim: Callable[[], object], limit: float = LIMIT) -> None:
    """Until a claim about processes is true, which tell nobody of their changes."""
    async with asyncio.timeout(limit):
        while not claim():
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, int]]:
    """A Ray cluster of one node: its address, and the leader of its session."""
    port = free_port()
    command: list[str | Path] = [
        BIN / "ray",
        "start",
        "--head",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=2",
    ]
    command += ["--include-dashboard=false", "--block", f"--temp-dir={folder}", "--object-store-memory=100000000"]
    process = subprocess.Popen(
        command,
        env={**os.environ, **bridge.environment("")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_port(port)
        yield f"127.0.0.1:{port}", process.pid
    finally:
        kill_session(process.pid)
        process.wait()


@contextlib.contextmanager
def nats_server(folder: Path, port: int = 0) -> Iterator[str]:
    """A NATS server with JetStream: its URL."""
    port = port or free_port(PLACE)
    command: list[str | Path] = [BIN / "nats-server", "-a", PLACE, "-p", str(port), "-js", "-sd", folder]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        await_port(port, PLACE)
        yield f"nats://{PLACE}:{port}"
    finally:
        process.terminate()
        process.wait()


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def await_port(port: int, host: str = "127.0.0.1") -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.05)
        else:
            return


def in_session(leader: int) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if session_of(pid) == leader]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
