"""Results on a real NATS JetStream: each once, whatever NATS does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
from nats.js import JetStreamContext

from moothall_ray_executor.event import Message
from moothall_ray_executor.publisher import Publisher
from moothall_ray_executor.wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb

from .harness import LIMIT, PLACE, Client, eventually, free_port, nats_server, wave
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


async def everything(made: JetStreamContext) -> AsyncIterator[tuple[str, dict[str, str], Any]]:
    """Subject, headers and document of each message that is there."""
    left = (await made.stream_info("AGENT_RESPONSES")).state.messages
    subscription = await made.pull_subscribe("agent.response.>", durable=None)
    while left > 0:
        for message in await subscription.fetch(min(left, 256), timeout=20):
            yield message.subject, dict(message.headers or {}), json.loads(message.data)
            left -= 1


async def take(made: JetStreamContext, count: int, *of: str) -> list[tuple[str, dict[str, str], Any]]:
    """So many messages of deliberations with these names, or of all: other stories' may come between them."""
    async with asyncio.timeout(LIMIT):
        while True:
            found = [one async for one in everything(made) if one[1]["Nats-Msg-Id"].startswith(of or "")]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_results_are_published_once_in_the_envelope(client: Client, model: ModelServer, nats_url: str) -> None:
    async with stream(nats_url) as made:
        model.script["told/a1/2"] = [status(400)]
        deliberation = await client.submit(wave("told", model.url, agents=2, attempt="2", correlation_id="C-1"))
        await client.outcome(deliberation)
        by_agent = {
            document["payload"]["agent_id"]: (subject, headers, document)
            for subject, headers, document in await take(made, 2, deliberation)
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
        review = (await client.service.ExecuteBacklogReviewDeliberation(request)).deliberation_id
        ((subject, _, document),) = await take(made, 1, review)
        assert subject == "agent.response.completed.backlog-review.role"
        assert document["payload"]["task_id"] == "review"
        await client.outcome(review)
        assert len(await take(made, 3, deliberation, review)) == 3, "each is there once"


async def test_while_nats_is_down_results_wait_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    port, told = free_port(PLACE), []

    async def note(keys: list[tuple[str, str]]) -> None:
        told.extend(keys)

    publisher = Publisher(f"nats://{PLACE}:{port}", 3, note)
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
