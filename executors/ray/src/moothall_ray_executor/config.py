"""Configuration: default.toml, then a file, then the environment. All that is wrong with it is said at once."""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from .cluster import ClusterSettings
from .registry import Limits
from .settings import DEFAULT_POOL, ModelSettings, PoolSettings, Settings, Strategy
from .target import Hosts, Url, hosts_of

VARIABLES = {
    "BIND_ADDRESS": "server.bind",
    "GRPC_PORT": "server.port",
    "METRICS_PORT": "server.metrics_port",
    "LOG_LEVEL": "server.log_level",
    "RAY_ADDRESS": "ray.address",
    "VLLM_URL": "model.url",
    "VLLM_API_KEY": "model.key",
    "NATS_URL": "nats.url",
}
SECRETS = ("model.key", "nats.url")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

Rule = tuple[str, Callable[[Any], bool]]
POSITIVE: Rule = ("more than 0", lambda value: value > 0)
NOT_NEGATIVE: Rule = ("0 or more", lambda value: value >= 0)
RULES: dict[str, Rule] = {
    "server.bind": ("an address", bool),
    "server.port": ("0 to 65535", lambda value: 0 <= value <= 65535),
    "server.metrics_port": ("-1 to 65535", lambda value: -1 <= value <= 65535),
    "server.log_level": (f"one of {', '.join(LEVELS)}", lambda value: value in LEVELS),
    "server.drain": ("0 to 15", lambda value: 0 <= value <= 15),
    "ray.namespace": ("a name", bool),
    "ray.num_cpus": NOT_NEGATIVE,
    "ray.object_store_mib": ("76 or more", lambda value: value >= 76),
    "ray.lost_after": ("1 or more", lambda value: value >= 1),
    "model.key": ("of visible ASCII", lambda value: all("!" <= sign <= "~" for sign in value)),
    "model.connections": POSITIVE,
    "limits.deliberations": POSITIVE,
    "limits.running": POSITIVE,
    "limits.retention": POSITIVE,
    "limits.results_mib": POSITIVE,
    "limits.agents": POSITIVE,
    "nats.buffer": POSITIVE,
}
POOL_RULES: dict[str, Rule] = {
    "workers": ("1 to 1000", lambda value: 1 <= value <= 1000),
    "num_cpus": NOT_NEGATIVE,
    "resources": (
        "names with amounts more than 0",
        lambda value: all(type(amount) in (int, float) and amount > 0 for amount in value.values()),
    ),
    "strategy": (f"one of {', '.join(Strategy)}", lambda value: value in list(Strategy)),
}


class Unusable(Exception):
    """Everything that is wrong with a configuration, a line each."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the executor runs with. Times are in seconds."""

    bind: str
    port: int
    # None = off.
    metrics_port: int | None
    log_level: str
    drain: float
    cluster: ClusterSettings
    wanted: Settings
    hosts: Hosts
    agents: int
    # Empty = off.
    nats_url: str
    nats_envelope: bool
    nats_buffer: int


def load(file: str | None, environment: Mapping[str, str]) -> Config:
    """Raises Unusable."""
    values = _defaults()
    problems: list[str] = []
    path = file or environment.get("EXECUTOR_CONFIG") or None
    if path:
        _overlay(values, _read(path), problems)
    for variable, key in VARIABLES.items():
        # An empty variable is one that is not set.
        if text := environment.get(variable):
            _set(values, key, _typed(values[key], text), problems, variable)
    problems += _broken(values)
    if problems:
        raise Unusable("\n".join(problems))
    return _meant(values)


def _defaults() -> dict[str, Any]:
    """Flat: `section.key` to value; a pool's are `pools.NAME.key`."""
    text = resources.files(__package__ or "").joinpath("default.toml").read_text()
    return _flat(tomllib.loads(text))


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, keys in tree.items():
        if not isinstance(keys, dict):
            flat[section] = keys
            continue
        for key, value in keys.items():
            if section == "pools" and isinstance(value, dict):
                flat |= {f"pools.{key}.{inner}": given for inner, given in value.items()}
            else:
                flat[f"{section}.{key}"] = value
    return flat


def _read(path: str) -> dict[str, Any]:
    try:
        return _flat(tomllib.loads(Path(path).read_text()))
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {error}") from error


def _overlay(values: dict[str, Any], given: dict[str, Any], problems: list[str]) -> None:
    for key, value in given.items():
        _set(values, _in_pool(values, key), value, problems, key)


def _in_pool(values: dict[str, Any], key: str) -> str:
    """The key, with the pool that it is of brought into being: what a pool does not say is as in the default."""
    section, _, rest = key.partition(".")
    pool, _, inner = rest.rpartition(".")
    if section != "pools" or inner not in POOL_RULES:
        return key
    name = pool if pool == DEFAULT_POOL else pool.upper()
    for default in POOL_RULES:
        values.setdefault(f"pools.{name}.{default}", values[f"pools.{DEFAULT_POOL}.{default}"])
    return f"pools.{name}.{inner}"


def _set(values: dict[str, Any], key: str, value: Any, problems: list[str], source: str) -> None:
    if key not in values:
        problems.append(f"{source}: no such key")
        return
    wanted = type(values[key])
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        problems.append(f"{source} = {_shown(key, value)}: must be {_NAMES[wanted]}")
        return
    values[key] = value


def _typed(default: Any, text: str) -> Any:
    """A variable's text as the number that its key wants; what is none stays text, and is refused as such."""
    try:
        return int(text) if type(default) is int else text
    except ValueError:
        return text


def _broken(values: dict[str, Any]) -> list[str]:
    problems = []
    for key, value in values.items():
        rule = POOL_RULES.get(key.rpartition(".")[2]) if key.startswith("pools.") else RULES.get(key)
        if rule and not rule[1](value):
            problems.append(f"{key} = {_shown(key, value)}: must be {rule[0]}")
    if values["limits.running"] > values["limits.deliberations"]:
        problems.append("limits.running: must not be more than limits.deliberations")
    for url in hosts_of(values["model.url"]):
        problems += [f"model.url: {problem}" for problem in Url.parse(url).problems]
    for key in ("model.allowed_hosts", "model.key_hosts"):
        if not all(isinstance(host, str) and host for host in values[key]):
            problems.append(f"{key} = {values[key]}: must be hosts")
    return problems


def _meant(values: dict[str, Any]) -> Config:
    served = [Url.parse(url).authority for url in hosts_of(values["model.url"])]
    allowed = [*values["model.allowed_hosts"], *served]
    pools = {key.split(".")[1] for key in values if key.startswith("pools.")}
    wanted = Settings(
        limits=Limits(
            values["limits.deliberations"],
            values["limits.running"],
            values["limits.retention"],
            values["limits.results_mib"] << 20,
        ),
        model=ModelSettings(values["model.connections"], values["model.key"]),
        pools={name: _pool(values, f"pools.{name}") for name in sorted(pools)},
    )
    cluster = ClusterSettings(
        values["ray.address"],
        values["ray.namespace"],
        values["ray.num_cpus"] or os.cpu_count() or 1,
        values["ray.object_store_mib"] << 20,
        values["ray.lost_after"],
        values["server.log_level"],
    )
    return Config(
        bind=values["server.bind"],
        port=values["server.port"],
        metrics_port=values["server.metrics_port"] if values["server.metrics_port"] >= 0 else None,
        log_level=values["server.log_level"],
        drain=values["server.drain"],
        cluster=cluster,
        wanted=wanted,
        hosts=Hosts(tuple(allowed), tuple(values["model.key_hosts"] or served or allowed)),
        agents=values["limits.agents"],
        nats_url=values["nats.url"],
        nats_envelope=values["nats.envelope"],
        nats_buffer=values["nats.buffer"],
    )


def _pool(values: dict[str, Any], at: str) -> PoolSettings:
    return PoolSettings(
        values[f"{at}.workers"],
        values[f"{at}.num_cpus"],
        values[f"{at}.resources"],
        Strategy(values[f"{at}.strategy"]),
    )


def _shown(key: str, value: Any) -> str:
    return "***" if key in SECRETS else repr(value)


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a table"}
