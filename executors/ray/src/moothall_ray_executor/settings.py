"""What a service wants of its supervisor, and how that one answers. Without Ray: both sides read it."""

from dataclasses import dataclass, field
from enum import StrEnum

from .registry import Limits


def supervisor_path(folder: str) -> str:
    """Where the supervisor of a Ray of our own listens, in that Ray's folder, which only our user may enter."""
    return f"{folder}/supervisor"


def worker_path(folder: str, worker: str) -> str:
    return f"{folder}/{worker}"


DEFAULT_POOL = "default"
# With so much under way, whoever has news waits so many seconds for more before a message is sent: a message costs
# much, and what it carries little.
BUSY, GATHER = 16, 0.002


@dataclass(frozen=True)
class ModelSettings:
    """How workers ask."""

    # Connections of one worker; calls beyond wait for one.
    connections: int = 1_024
    key: str = field(default="", repr=False)


class Strategy(StrEnum):
    """How Ray places the workers of a pool, as far as there is room."""

    SPREAD = "SPREAD"
    PACK = "PACK"


@dataclass(frozen=True)
class PoolSettings:
    """One pool, which serves one role or, as `default`, all that have none of their own."""

    workers: int = 1
    # Of each worker, as Ray counts them: it reserves, it does not limit.
    num_cpus: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)
    strategy: Strategy = Strategy.SPREAD


@dataclass(frozen=True)
class Settings:
    """What a service wants of its supervisor."""

    limits: Limits = field(default_factory=Limits)
    model: ModelSettings = field(default_factory=ModelSettings)
    pools: dict[str, PoolSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class Submitted:
    """The deliberation of each wave, in their order; None = too many run. `seq` is the event by which all are known."""

    ids: list[str | None]
    seq: int
