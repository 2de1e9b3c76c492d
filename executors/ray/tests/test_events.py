"""Results on a real NATS JetStream: each once, whatever NATS does."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
from nats.js import JetStreamContext

from moothall_ray_executor.event import Message
from moothall_ray_executor.publisher import Publisher
from moothall_ray_executor.wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb

from .harness import Client, Executor, eventually, free_port, nats_server, wave
from .model_server import ModelServer, status


@contextlib.asynccontextmanager
async def stream(url: str) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(url)
    try:
        made = connection.jetstream()
        await made.add_stream(name="AGENT_RESPONSES", subjects=["agent.response.>"])
        yield made
    finally:
        await connection.close()


async def take(made: JetStreamContext, count: int) -> list[tuple[str, dict[str, str], Any]]:
    """Subject, headers and document of so many messages."""
    subscription = await made.pull_subscribe("agent.response.>", durable=None)
    taken: list[Any] = []
    while len(taken) < count:
        taken += await subscription.fetch(count - len(taken), timeout=20)
    return [(message.subject, dict(message.headers or {}), json.loads(message.data)) for message in taken]


def nothing_waits(executor: Executor) -> bool:
    with urllib.request.urlopen(f"http://{executor.ready['metrics']}/metrics") as page:
        return "moothall_executor_nats_waiting 0.0" in page.read().decode()


async def test_results_are_published_once_in_the_envelope(
    client: Client, model: ModelServer, executor: Executor, nats_url: str
) -> None:
    async with stream(nats_url) as made:
        # Those of earlier stories come as soon as there is a stream.
        await eventually(lambda: nothing_waits(executor))
        await made.purge_stream("AGENT_RESPONSES")
        model.script["told/a1/2"] = [status(400)]
        deliberation = await client.submit(wave("told", model.url, agents=2, attempt="2", correlation_id="C-1"))
        await client.outcome(deliberation)
        by_agent = {
            document["payload"]["agent_id"]: (subject, headers, document)
            for subject, headers, document in await take(made, 2)
        }
        subject, headers, document = by_agent["a0"]
        assert (subject, document["event_type"]) == ("agent.response.completed", "agent.response.completed")
        assert headers["Nats-Msg-Id"] == document["idempotency_key"] == f"{deliberation}/a0"
        assert (document["correlation_id"], document["producer"]) == ("C-1", "moothall-ray-executor")
        payload = document["payload"]
        assert (payload["task_id"], payload["story_id"], payload["role"]) == ("told", "S-1", "DEV")
        assert (payload["attempt"], payload["num_agents"], payload["deliberation_id"]) == (2, 2, deliberation)
        assert payload["proposal"] == "answer of told/a0/2"
        subject, _, document = by_agent["a1"]
        assert (subject, document["payload"]["error_type"]) == ("agent.response.failed", "rejected")
        request = pb.ExecuteBacklogReviewDeliberationRequest(
            task_id="review",
            task_description="Look.",
            vllm_url=model.url,
            vllm_model="tiny",
            agents=[pb.Agent(id="a0")],
        )
        await client.service.ExecuteBacklogReviewDeliberation(request)
        ((subject, _, document),) = (await take(made, 3))[2:]
        assert subject == "agent.response.completed.backlog-review.role"
        assert document["payload"]["task_id"] == "review"
        assert (await made.stream_info("AGENT_RESPONSES")).state.messages == 3


async def test_while_nats_is_down_results_wait_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    port, told = free_port(), []

    async def note(keys: list[tuple[str, str]]) -> None:
        told.extend(keys)

    publisher = Publisher(f"nats://127.0.0.1:{port}", 3, note)
    running = asyncio.create_task(publisher.run())
    for index in range(5):
        publisher.offer(message(f"d{index}"))
    assert (publisher.waiting, publisher.dropped) == (3, 2)
    with nats_server(tmp_path / "1", port) as url:
        async with stream(url) as made:
            await asyncio.wait_for(publisher.flushed(), 30)
            assert [document["n"] for _, _, document in await take(made, 3)] == ["d2", "d3", "d4"]
            assert sorted(told) == [("d2", "a"), ("d3", "a"), ("d4", "a")]
    # It goes away, and comes back.
    publisher.offer(message("d5"))
    with nats_server(tmp_path / "1", port) as url:
        async with stream(url) as made:
            await asyncio.wait_for(publisher.flushed(), 30)
            publisher.offer(message("d5"))
            await asyncio.wait_for(publisher.flushed(), 30)
            assert (await made.stream_info("AGENT_RESPONSES")).state.messages == 4, "told twice, it is there once"
    running.cancel()
    await eventually(running.done)


def message(deliberation: str) -> Message:
    return Message(
        "agent.response.completed",
        json.dumps({"n": deliberation}).encode(),
        {"Nats-Msg-Id": f"{deliberation}/a"},
        (deliberation, "a"),
    )
