"""Results as events on NATS: subject and payload of each. Pure."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from .registry import Deliberation
from .wave import Kind, Result, Status

PRODUCER = "moothall-ray-executor"
COMPLETED, FAILED = "agent.response.completed", "agent.response.failed"
BACKLOG_REVIEW = "agent.response.completed.backlog-review.role"


@dataclass(frozen=True, slots=True)
class Message:
    """What is published, and of what it tells."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    # Deliberation, agent.
    key: tuple[str, str]


def message(one: Deliberation, result: Result, envelope: bool, now: datetime) -> Message | None:
    """None = nobody waits for it: the agent was cancelled."""
    if result.status is Status.CANCELLED:
        return None
    outline = one.outline
    subject = FAILED
    if result.status is Status.COMPLETED:
        subject = BACKLOG_REVIEW if outline.kind is Kind.BACKLOG_REVIEW else COMPLETED
    event_id = f"{outline.deliberation_id}/{result.agent_id}"
    at = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {"event_type": subject, "timestamp": at, **_payload(one, result)}
    document = payload
    if envelope:
        document = {
            "event_type": subject,
            "payload": payload,
            "idempotency_key": event_id,
            "correlation_id": outline.metadata.get("correlation_id") or outline.task_id,
            "timestamp": at,
            "producer": PRODUCER,
            "metadata": outline.metadata,
        }
    headers = {"Nats-Msg-Id": event_id}
    if traceparent := outline.metadata.get("traceparent"):
        headers["traceparent"] = traceparent
    return Message(subject, json.dumps(document).encode(), headers, (outline.deliberation_id, result.agent_id))


def _payload(one: Deliberation, result: Result) -> dict[str, object]:
    outline = one.outline
    payload: dict[str, object] = {
        "task_id": outline.task_id,
        "deliberation_id": outline.deliberation_id,
        "agent_id": result.agent_id,
        "role": result.role,
        "story_id": outline.story_id,
        "plan_id": outline.plan_id,
        "status": result.status.value,
        "model": result.model,
        "reasoning": result.reasoning,
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "duration_ms": result.duration_ms,
        "finish_reason": result.finish_reason,
        "num_agents": len(outline.seats),
    }
    if outline.attempt.isdecimal():
        payload["attempt"] = int(outline.attempt[:9])
    if result.status is Status.COMPLETED:
        payload["proposal"] = result.content
    else:
        payload |= {"error": result.error, "error_type": result.error_type}
    # What is not known is left out.
    return {key: value for key, value in payload.items() if value != ""}
