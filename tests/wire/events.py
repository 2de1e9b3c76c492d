"""Somebody else's side of the events, written from the contract alone: none of our code, none of our names.

    python events.py NATS_URL formats     plans in every format, bare and in an envelope; carries winners out
    python events.py NATS_URL troubles    a plan whose first task fails: what follows for the others

Publishes, reads everything that comes, holds each event against its table, and ends when every task has ended. Writes one
JSON object: how many of each subject were seen, and of each task which finals.
"""

import asyncio
import json
import re
import sys
from collections import Counter, defaultdict
from datetime import datetime

import nats
from nats.js.api import DeliverPolicy

TASK = {"story_id", "task_id", "role", "timestamp", "run"}
# Subject -> fields; a field with ? may be missing.
PAYLOADS = {
    "orchestration.plan.approved": {"story_id", "plan_id", "approved_by", "roles", "task_ids", "timestamp"},
    "orchestration.phase.changed": {"story_id", "from_phase", "to_phase", "timestamp"},
    "orchestration.task.queued": TASK | {"plan_id", "priority", "dependencies"},
    "orchestration.task.dispatched": TASK | {"agent_id"},
    "orchestration.deliberation.completed": {
        "story_id", "task_id", "decisions", "winner_id", "duration_ms", "timestamp",
    },
    "orchestration.deliberation.failed": {"story_id", "task_id", "error", "error_type", "timestamp"},
    "orchestration.task.completed": TASK | {"agent_id", "duration_ms", "checks_passed"},
    "orchestration.task.failed": TASK | {"agent_id", "error", "error_type", "attempts"},
    "orchestration.task.cancelled": TASK | {"reason"},
    "orchestration.task.skipped": TASK | {"reason"},
    "orchestration.task.parked": TASK | {"reason", "cause_task_id?"},
    "orchestration.task.blocked": TASK | {"reason", "cause_task_id?"},
    "agent.cmd.execute": {"task_id", "story_id", "role", "agent_id", "proposal", "constraints"},
}
DECISION = {"id", "type", "agent_id", "rank", "score", "rationale"}
ENVELOPE = {
    "event_type", "payload", "idempotency_key", "correlation_id", "timestamp", "producer", "causation_id?", "metadata",
}
FINALS = {f"orchestration.task.{word}" for word in ("completed", "failed", "cancelled", "skipped")}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

TASKS = [
    {"id": "one", "role": "DEV", "description": "parse a duration"},
    {"id": "two", "role": "DEV", "description": "print it", "depends_on": ["one"], "priority": "HIGH"},
]
YAML = "tasks:\n- {id: one, role: DEV, description: parse}\n- {id: two, role: DEV, description: print, depends_on: [one]}\n"
MARKDOWN = "# Plan\n\n## DEV Tasks\n\n- [ ] one: parse\n- [ ] two: print\n  - Depends on: one\n"
SPEC_KIT = "## Phase 1: Setup\n\n- [ ] T001 make src/a.py\n- [ ] T002 fill src/a.py\n"
FORMATS = {
    "list": {"tasks": TASKS},
    "object": {"plan": {"tasks": TASKS}},
    "json": {"plan": json.dumps({"tasks": TASKS})},
    "yaml": {"plan": YAML},
    "markdown": {"plan": MARKDOWN},
    "spec-kit": {"plan": SPEC_KIT},
    "outline": {"tasks_outline": TASKS},
    "nothing": {"plan": "just words", "roles": ["DEV"]},
}


def fields(what, found, wanted):
    needed = {field for field in wanted if not field.endswith("?")}
    allowed = needed | {field.rstrip("?") for field in wanted}
    if not needed <= set(found) <= allowed:
        sys.exit(f"{what} has {sorted(found)}, wanted is {sorted(wanted)}")


class Side:
    def __init__(self, client):
        self.js = client.jetstream()
        self.seen = Counter()
        self.finals = defaultdict(list)
        self.approved = {}
        self.correlations = {}
        self.needs = {}
        self.completed = {}
        self.decided = {}
        self.ids = set()
        self.queue = None
        self.reading = []

    async def publish(self, subject, payload, envelope, correlation="c"):
        headers = {"traceparent": TRACE}
        if envelope:
            payload = {
                "event_type": subject, "payload": payload, "idempotency_key": f"key-of-{correlation}",
                "correlation_id": correlation, "timestamp": "2026-01-02T03:04:05Z", "producer": "planning", "metadata": {},
            }
        await self.js.publish(subject, json.dumps(payload).encode(), headers=headers)

    async def read(self, is_done):
        """Everything of both streams from their beginning, until it is done; then on from there."""
        if self.queue is None:
            self.queue = asyncio.Queue()
            for subject in ("orchestration.>", "agent.cmd.>"):
                subscription = await self.js.subscribe(subject, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
                self.reading.append(asyncio.create_task(forward(subscription, self.queue)))
        while not is_done(self):
            await self.take(await asyncio.wait_for(self.queue.get(), 60))

    async def take(self, message):
        event = json.loads(message.data)
        subject = message.subject
        fields("the envelope", event, ENVELOPE)
        payload = event["payload"]
        fields(subject, payload, PAYLOADS[subject] | {"event_type"})
        assert event["event_type"] == payload["event_type"] == subject, event
        assert event["producer"] == "moothall" and TIME.fullmatch(event["timestamp"]), event
        assert message.headers["Nats-Msg-Id"] == event["idempotency_key"], message.headers
        assert event["idempotency_key"] not in self.ids, f"{event} came twice"
        self.ids.add(event["idempotency_key"])
        if "timestamp" in payload:
            assert TIME.fullmatch(payload["timestamp"]), payload
        self.seen[subject] += 1
        await self.note(subject, event, payload, message.headers)

    async def note(self, subject, event, payload, headers):
        task = payload.get("task_id")
        if subject == "orchestration.plan.approved":
            self.approved[payload["plan_id"]] = payload["task_ids"]
            for task in payload["task_ids"]:
                self.correlations[task] = self.correlations.get(payload["plan_id"])
        if task and (correlation := self.correlations.get(task)):
            assert event["correlation_id"] == correlation, (correlation, event)
            assert headers.get("traceparent") == TRACE, headers
        if subject == "orchestration.task.queued":
            self.needs[task] = payload["dependencies"]
        if subject == "orchestration.deliberation.completed":
            self.decided[task] = datetime.fromisoformat(payload["timestamp"])
            for decision in payload["decisions"]:
                fields("a decision", decision, DECISION)
            assert payload["decisions"][0]["agent_id"] == payload["winner_id"], payload
        if subject == "orchestration.task.completed":
            self.completed[task] = datetime.fromisoformat(payload["timestamp"])
        if subject in FINALS:
            self.finals[task].append((subject, payload["run"]))
        if subject == "agent.cmd.execute":
            assert payload["proposal"] and payload["constraints"]["metadata"]["plan_id"], payload
            answer = {"task_id": task, "agent_id": "workspace-1", "checks_passed": True, "output": {"files": 2}}
            await self.publish("agent.response.completed", answer, False)

    def in_order(self):
        """Order is kept within a task; between tasks the times tell it."""
        for task, at in self.decided.items():
            for need in self.needs.get(task, []):
                assert self.completed[need] <= at, f"{task} was decided before {need} had completed"

    def all_ended(self, plans):
        tasks = [task for plan in plans for task in self.approved.get(plan, [])]
        return all(plan in self.approved for plan in plans) and all(self.finals[task] for task in tasks)


async def forward(subscription, queue):
    async for message in subscription.messages:
        await queue.put(message)


async def formats(side):
    plans = []
    for envelope in (False, True):
        for name, body in FORMATS.items():
            plan = f"{name}-{'wrapped' if envelope else 'bare'}"
            plans.append(plan)
            # A bare event names no correlation.
            side.correlations[plan] = f"of {plan}" if envelope else None
            event = {"story_id": f"story-{plan}", "plan_id": plan, "approved_by": "ann", **body}
            await side.publish("planning.plan.approved", event, envelope, f"of {plan}")
    carried = {"tasks": [{**TASKS[0], "id": "carried", "await_execution": True}, {**TASKS[1], "depends_on": ["carried"]}]}
    await side.publish("planning.plan.approved", {"story_id": "s", "plan_id": "carried-out", "plan": carried}, False)
    held = {"tasks": [TASKS[0]], "hold_until_phase": "BUILD"}
    await side.publish("planning.plan.approved", {"story_id": "held", "plan_id": "held", "plan": held}, False)
    unknown = {"tasks": [{**TASKS[0], "role": "NOBODY"}]}
    await side.publish("planning.plan.approved", {"story_id": "u", "plan_id": "unknown", "plan": unknown}, False)
    await side.read(lambda side: "held" in side.approved)
    moved = {"story_id": "held", "from_state": "PLAN", "to_state": "BUILD"}
    await side.publish("planning.story.transitioned", moved, True)
    plans += ["carried-out", "held"]
    await side.read(lambda side: side.all_ended(plans) and side.seen["orchestration.task.parked"])


async def troubles(side):
    tasks = [
        {"id": "fails", "role": "DEV", "description": "this one fails"},
        {"id": "blocked", "role": "DEV", "description": "waits", "depends_on": ["fails"]},
        {"id": "skipped", "role": "DEV", "description": "goes", "depends_on": ["fails"], "on_dependency_failure": "skip"},
    ]
    event = {"story_id": "troubled", "plan_id": "troubled", "tasks": tasks}
    await side.publish("planning.plan.approved", event, True, "of trouble")
    # Somebody cancels the blocked one once it is.
    await side.read(lambda side: side.all_ended(["troubled"]))


async def main():
    url, what = sys.argv[1:]
    client = await nats.connect(url)
    side = Side(client)
    await {"formats": formats, "troubles": troubles}[what](side)
    side.in_order()
    print(json.dumps({"seen": side.seen, "finals": side.finals, "approved": side.approved}))
    await client.close()


asyncio.run(main())
