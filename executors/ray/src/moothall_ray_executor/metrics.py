"""Metrics for Prometheus. Times are in seconds."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from .registry import Answered, Began, Deliberation, Ended, Event
from .wave import Status

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counts what a mirror tells; asks others for what they hold."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._submitted = self._counter("deliberations_submitted", "Deliberations that began.", [])
        self._ended = self._counter("deliberations_ended", "Deliberations that ended.", ["status"])
        self._results = self._counter("agent_results", "Agents that ended.", ["status", "error_type"])
        self._tries = self._counter("model_requests", "HTTP requests to model servers.", [])
        tokens = self._counter("model_tokens", "Tokens, as model servers count them.", ["kind"])
        self._prompt_tokens, self._completion_tokens = tokens.labels("prompt"), tokens.labels("completion")
        self._took = Histogram(
            "moothall_executor_agent_seconds",
            "From an agent's first request to its result.",
            buckets=BUCKETS,
            registry=self.registry,
        )

    def gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A figure that somebody else holds."""
        Gauge(f"moothall_executor_{name}", what, registry=self.registry).set_function(read)

    def on_event(self, event: Event, one: Deliberation) -> None:
        match event:
            case Began():
                self._submitted.inc()
            case Answered(_, result):
                self._results.labels(result.status.value, result.error_type).inc()
                self._tries.inc(result.attempts)
                self._prompt_tokens.inc(result.prompt_tokens)
                self._completion_tokens.inc(result.completion_tokens)
                if result.status is not Status.CANCELLED:
                    self._took.observe(result.duration_ms / 1000)
            case Ended():
                self._ended.labels(one.status.value).inc()
            case _:
                pass

    def serve(self, address: str, port: int) -> int:
        """Serves them at /metrics, from a thread of its own; the port."""
        server, _ = start_http_server(port, address, self.registry)
        return int(server.server_port)

    def _counter(self, name: str, what: str, labels: list[str]) -> Counter:
        return Counter(f"moothall_executor_{name}", what, labels, registry=self.registry)
