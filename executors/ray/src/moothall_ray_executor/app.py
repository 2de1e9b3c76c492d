"""The executor's wiring, top to bottom, and its life from start to stop."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from .cluster import Cluster
from .config import Config
from .control import ControlService
from .event import message
from .metrics import Metrics
from .mirror import Mirror
from .publisher import Publisher
from .registry import Answered, Deliberation, Event
from .request import Rules
from .service import ExecutorService
from .wire.fleet.ray_executor.v1 import ray_executor_pb2
from .wire.fleet.ray_executor.v1.ray_executor_pb2_grpc import add_RayExecutorServiceServicer_to_server
from .wire.moothall.v1 import executor_pb2
from .wire.moothall.v1.executor_pb2_grpc import add_ExecutorControlServicer_to_server

# Bytes of a request.
MOST_REQUEST = 8 << 20
# Calls of one connection at once: a client holds a Watch open for each of its deliberations.
STREAMS = 4_096
# Seconds, when stopping, for results to reach NATS, and for calls to end.
FLUSH, GRACE = 3.0, 2.0
SERVICES = (
    ray_executor_pb2.DESCRIPTOR.services_by_name["RayExecutorService"].full_name,
    executor_pb2.DESCRIPTOR.services_by_name["ExecutorControl"].full_name,
)

log = logging.getLogger(__name__)


class App:
    """One executor. `start` serves at once, but nothing is taken before `ready`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ready = asyncio.Event()
        self.mirror = Mirror(config.wanted.limits)
        self.cluster = Cluster(config.cluster, config.wanted, self.mirror, self._on_change)
        self.publisher = Publisher(config.nats_url, config.nats_buffer, self.cluster.told) if config.nats_url else None
        self.metrics = Metrics()
        self._service = ExecutorService(self.cluster, self.mirror, Rules(config.hosts, config.agents))
        self._control = ControlService(self._service, self.cluster, self.mirror)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MOST_REQUEST),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", STREAMS),
                ("grpc.so_reuseport", 0),
            ]
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._health_set: set[asyncio.Task[None]] = set()
        self.address = ""
        self.metrics_address = "off"

    async def start(self) -> None:
        """Binds, then begins to connect. Raises OSError when an address is taken."""
        self.mirror.listen(self.metrics.on_event)
        self._gauges()
        if self.publisher is not None:
            self.mirror.listen(self._publish)
        add_RayExecutorServiceServicer_to_server(self._service, self._server)
        add_ExecutorControlServicer_to_server(self._control, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        await self._say_health()
        await self._bind()
        self._tasks.append(asyncio.create_task(self.cluster.run()))
        if self.publisher is not None:
            self._tasks.append(asyncio.create_task(self.publisher.run()))
        for task in self._tasks:
            task.add_done_callback(_tell_crash)

    async def ready(self) -> None:
        """Until the cluster is up for the first time."""
        await self._ready.wait()

    async def stop(self) -> None:
        """Takes nothing more; lets what runs on a Ray of our own end, and leaves what runs on a cluster."""
        self._service.stopping = True
        await self._say_health()
        if not self._config.cluster.address:
            await self._drain()
        self.mirror.close()
        self._control.close()
        await self._server.stop(GRACE)
        if self.publisher is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH):
                    await self.publisher.flushed()
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drain(self) -> None:
        running = self.mirror.registry.running
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain):
                while running and self.cluster.up:
                    await self.mirror.changed(next(iter(running)))
        self.mirror.lose(running, "the executor was stopped")

    async def _bind(self) -> None:
        config = self._config
        host = f"[{config.bind}]" if ":" in config.bind else config.bind
        try:
            port = self._server.add_insecure_port(f"{host}:{config.port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {host}:{config.port}") from error
        await self._server.start()
        self.address = f"{host}:{port}"
        if config.metrics_port is not None:
            self.metrics_address = f"{host}:{self.metrics.serve(config.bind, config.metrics_port)}"
        log.info("listening", extra={"grpc": self.address, "metrics": self.metrics_address})

    def _gauges(self) -> None:
        gauge, cluster = self.metrics.gauge, self.cluster
        gauge("deliberations_running", "Deliberations that run.", lambda: len(self.mirror.registry.running))
        gauge("deliberations_known", "Deliberations that are known.", lambda: len(self.mirror.registry))
        gauge("ray_up", "1 = Ray is in reach.", lambda: float(cluster.up))
        gauge("ray_reconnects", "How often Ray was connected anew.", lambda: cluster.reconnects)
        gauge("workers", "Workers that take orders.", lambda: cluster.workers)
        gauge("worker_places", "Workers that there should be.", lambda: cluster.places)
        if (publisher := self.publisher) is not None:
            gauge("nats_published", "Results that NATS has.", lambda: publisher.published)
            gauge("nats_dropped", "Results that were dropped.", lambda: publisher.dropped)
            gauge("nats_failures", "Tries at NATS that failed.", lambda: publisher.failures)
            gauge("nats_waiting", "Results that wait for NATS.", lambda: publisher.waiting)

    def _publish(self, event: Event, one: Deliberation) -> None:
        if self.publisher is None or not isinstance(event, Answered) or event.result.agent_id in one.told:
            return
        made = message(one, event.result, self._config.nats_envelope, datetime.now(UTC))
        if made is not None:
            self.publisher.offer(made)

    def _on_change(self) -> None:
        log.info("Ray is up" if self.cluster.up else "Ray is down", extra={"trouble": self.cluster.trouble[:500]})
        if self.cluster.up:
            self._ready.set()
        task = asyncio.create_task(self._say_health())
        self._health_set.add(task)
        task.add_done_callback(self._health_set.discard)

    async def _say_health(self) -> None:
        serving = self.cluster.up and not self._service.stopping
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)


def _tell_crash(task: asyncio.Task[None]) -> None:
    """A task that should run for ever has ended by an error: that is a bug, and is said once."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the executor crashed", exc_info=error)
