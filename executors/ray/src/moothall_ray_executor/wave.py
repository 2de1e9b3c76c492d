"""What travels between service, supervisor and workers: a wave, its calls and what they came to."""

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Where a deliberation is; an agent's result has the last three."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ErrorType(StrEnum):
    """Why an agent has no answer. The first six pass: the agent is worth asking again later."""

    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    MODEL_UNAVAILABLE = "model_unavailable"
    CONNECTION = "connection"
    WORKER_LOST = "worker_lost"
    CLUSTER_UNAVAILABLE = "cluster_unavailable"
    REJECTED = "rejected"
    INVALID_RESPONSE = "invalid_response"
    ANSWER_TOO_LARGE = "answer_too_large"
    INTERNAL = "internal"
    CANCELLED = "cancelled"


class Kind(StrEnum):
    """Which call submitted a wave; its events go to a subject of their own."""

    DELIBERATION = "deliberation"
    BACKLOG_REVIEW = "backlog-review"


@dataclass(frozen=True)
class Seat:
    """One agent of a wave, as it is known after its prompt is forgotten."""

    agent_id: str
    role: str
    model: str


@dataclass(frozen=True)
class Result:
    """What one agent's call came to; `duration_ms` covers all tries."""

    agent_id: str
    role: str
    status: Status
    model: str
    content: str = ""
    reasoning: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_ms: int = 0
    error: str = ""
    error_type: str = ""
    finish_reason: str = ""
    attempts: int = 0

    @property
    def size(self) -> int:
        """About how many characters of memory it holds."""
        return len(self.content) + len(self.reasoning) + len(self.error) + 256


@dataclass(frozen=True)
class Outline:
    """A wave without its prompts: what is kept of it for as long as it is known."""

    deliberation_id: str
    task_id: str
    attempt: str
    kind: Kind
    role: str
    story_id: str
    plan_id: str
    metadata: dict[str, str]
    seats: tuple[Seat, ...]

    @property
    def key(self) -> tuple[str, str]:
        """What makes a repeated submit the same one."""
        return (self.task_id, self.attempt)


@dataclass(frozen=True)
class Call:
    """One agent's request, ready to be sent."""

    agent_id: str
    role: str
    model: str
    # The JSON document.
    body: bytes = field(repr=False)
    # The value of X-Moothall-Call.
    name: str


@dataclass(frozen=True)
class Wave:
    """What is to be done: every call of one deliberation."""

    outline: Outline
    url: str
    # Whether the model server's host may have the key.
    keyed: bool
    timeout: float
    max_retries: int
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Order:
    """One call as a worker gets it. Times are in seconds from when it arrives: clocks of nodes differ."""

    deliberation_id: str
    call: Call
    url: str
    keyed: bool
    timeout: float
    max_retries: int


@dataclass(frozen=True)
class Outcome:
    """What a worker says of an order."""

    deliberation_id: str
    result: Result


def missing(seat: Seat, status: Status, kind: ErrorType, error: str, duration_ms: int = 0) -> Result:
    """The result of an agent that was never heard to its end."""
    return Result(
        seat.agent_id, seat.role, status, seat.model, duration_ms=duration_ms, error=error, error_type=kind.value
    )


def as_dict(result: Result) -> dict[str, object]:
    """A result as the JSON of `metadata["results"]` has it."""
    return dataclasses.asdict(result)
