"""Requests of the wire as waves, or everything that is wrong with them."""

import json
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import prompt
from .target import Hosts, Url
from .wave import Call, Kind, Outline, Seat, Wave
from .wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb

Request = pb.ExecuteDeliberationRequest | pb.ExecuteBacklogReviewDeliberationRequest

DEFAULT_TIMEOUT, DEFAULT_RETRIES = 300, 3
LONGEST_TIMEOUT, MOST_RETRIES = 86_400, 100
# Characters.
LONGEST_ID, LONGEST_DESCRIPTION = 512, 256 << 10
# Keys of a request's body that are not a client's to set.
OWN_KEYS = ("model", "messages", "stream", "stream_options", "n")
# What a header's value keeps as it is: visible ASCII, but for the sign of encoding itself.
_VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


class Invalid(Exception):
    """Everything that is wrong with a request."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of requests."""

    hosts: Hosts
    agents: int = 64


def parse(request: Request, rules: Rules, new_id: Callable[[], object] = uuid.uuid4) -> Wave:
    """Raises Invalid."""
    problems = _plain_problems(request, rules)
    url = Url.parse(request.vllm_url)
    problems += [f"vllm_url {problem}" for problem in url.problems]
    if not url.problems and not rules.hosts.allows(url):
        problems.append(f"vllm_url: host {url.authority} is not allowed (model.url, model.allowed_hosts)")
    constraints = request.constraints
    metadata = dict(constraints.metadata)
    attempt = metadata.get("attempt") or "1"
    calls = [_call(request, agent, metadata, attempt, problems) for agent in request.agents]
    if problems:
        raise Invalid(problems)
    backlog = isinstance(request, pb.ExecuteBacklogReviewDeliberationRequest)
    outline = Outline(
        deliberation_id=f"deliberation-{request.task_id}-{new_id()}",
        task_id=request.task_id,
        attempt=attempt,
        kind=Kind.BACKLOG_REVIEW if backlog else Kind.DELIBERATION,
        role=request.role,
        story_id=constraints.story_id,
        plan_id="" if isinstance(constraints, pb.BacklogReviewTaskConstraints) else constraints.plan_id,
        metadata=metadata,
        seats=tuple(Seat(call.agent_id, call.role, call.model) for call in calls),
    )
    return Wave(
        outline,
        url.completions,
        rules.hosts.may_have_key(url),
        float(constraints.timeout_seconds or DEFAULT_TIMEOUT),
        constraints.max_retries or DEFAULT_RETRIES,
        tuple(calls),
    )


def _plain_problems(request: Request, rules: Rules) -> list[str]:
    """What is wrong without looking into agents or URL."""
    constraints, ids = request.constraints, [agent.id for agent in request.agents]
    twice = sorted({agent_id for agent_id in ids if ids.count(agent_id) > 1}) if len(ids) <= rules.agents else []
    checks = (
        (not request.task_id.strip(), "task_id is empty"),
        (len(request.task_id) > LONGEST_ID, f"task_id is longer than {LONGEST_ID} characters"),
        (len(request.task_description) > LONGEST_DESCRIPTION, "task_description is longer than 256 KiB"),
        (not ids, "agents: there are none"),
        (len(ids) > rules.agents, f"agents: {len(ids)} are more than {rules.agents}"),
        (bool(twice), f"agents: twice the same id: {', '.join(twice)}"),
        (
            not 0 <= constraints.timeout_seconds <= LONGEST_TIMEOUT,
            f"constraints.timeout_seconds = {constraints.timeout_seconds}: must be 0 to {LONGEST_TIMEOUT}",
        ),
        (
            not 0 <= constraints.max_retries <= MOST_RETRIES,
            f"constraints.max_retries = {constraints.max_retries}: must be 0 to {MOST_RETRIES}",
        ),
    )
    return [problem for wrong, problem in checks if wrong]


def _call(request: Request, agent: pb.Agent, metadata: dict[str, str], attempt: str, problems: list[str]) -> Call:
    """An agent's call; what is wrong with it is added to the problems."""
    named = f"agent {agent.id}" if agent.id.strip() else "an agent"
    role, model = agent.role or request.role, agent.model or request.vllm_model
    if not agent.id.strip():
        problems.append("an agent's id is empty")
    if len(agent.id) > LONGEST_ID:
        problems.append(f"an agent's id is longer than {LONGEST_ID} characters")
    if not model:
        problems.append(f"{named}: neither its model nor vllm_model is set")
    if not agent.prompt_template.strip() and not request.task_description.strip():
        problems.append(f"{named}: neither its prompt_template nor task_description is set")
    messages = prompt.messages(agent.prompt_template, request.task_description, role)
    parameters = _parameters(metadata.get(f"params.{agent.id}"), named, problems)
    body = _ENCODER.encode({**parameters, "model": model, "messages": messages})
    name = metadata.get(f"call.{agent.id}") or f"{request.task_id}/{agent.id}/{attempt}"
    return Call(agent.id, role, model, body.encode(), urllib.parse.quote(name, safe=_VISIBLE))


def _parameters(text: str | None, named: str, problems: list[str]) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        parameters = _DECODER.decode(text)
    except (ValueError, RecursionError):
        problems.append(f"{named}: its params are no JSON")
        return {}
    if not isinstance(parameters, dict):
        problems.append(f"{named}: its params are no JSON object")
        return {}
    if own := [key for key in OWN_KEYS if key in parameters]:
        problems.append(f"{named}: its params must not set {', '.join(own)}")
    return parameters


def _no_constant(name: str) -> float:
    """NaN and its like are no JSON, whatever Python says."""
    raise ValueError(name)


# Made once: each is set up anew where its options are given to a call.
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"))
