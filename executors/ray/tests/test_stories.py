"""Waves on a real Ray: what clients are promised."""

import asyncio
import json
import os
import signal
import time
import urllib.request

import grpc
import pytest

from moothall_ray_executor.wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb
from moothall_ray_executor.wire.moothall.v1 import executor_pb2

from .conftest import KEY
from .harness import Client, Executor, eventually, wave
from .model_server import ModelServer, answer, completion, status


async def test_all_agents_of_a_wave_are_asked_at_once(client: Client, model: ModelServer) -> None:
    model.holding = True
    deliberation = await client.submit(wave("at-once", model.url))
    assert deliberation.startswith("deliberation-at-once-")
    await model.until(lambda: model.in_flight == 3)
    running = await client.status(deliberation)
    assert (running.status, running.result.agent_id, running.result.metadata["results"]) == ("running", "a0", "[]")
    await model.release()
    results, end = await client.outcome(deliberation)
    assert end == "completed"
    assert {name: result.content for name, result in results.items()} == {
        f"a{index}": f"answer of at-once/a{index}/1" for index in range(3)
    }
    done = await client.status(deliberation)
    assert done.status == "completed"
    assert done.result.proposal == "answer of at-once/a0/1"
    told = json.loads(done.result.metadata["results"])
    assert [result["agent_id"] for result in told] == ["a0", "a1", "a2"]
    assert (told[0]["status"], told[0]["model"], told[0]["prompt_tokens"]) == ("completed", "served", 7)


async def test_what_may_pass_is_tried_again_and_other_refusals_are_not(client: Client, model: ModelServer) -> None:
    model.script["again/a0/1"] = [status(503), status(429, **{"Retry-After": "1"})]
    model.script["again/a1/1"] = [status(400)]
    model.script["again/a2/1"] = [status(307, Location=f"{model.url}/elsewhere")]
    begun = time.monotonic()
    results, end = await client.outcome(await client.submit(wave("again", model.url)))
    assert time.monotonic() - begun >= 1.1, "the server's Retry-After is obeyed"
    assert end == "completed"
    assert (results["a0"].status, results["a0"].attempts) == ("completed", 3)
    assert (results["a1"].status, results["a1"].error_type, results["a1"].attempts) == ("failed", "rejected", 1)
    assert results["a1"].error == "the model server answered status 400: this is a 400"
    assert (results["a2"].error_type, model.count("again/a2/1")) == ("rejected", 1)


async def test_retries_end_with_the_budget(client: Client, model: ModelServer) -> None:
    model.script["budget/a0/1"] = [status(500)] * 5
    request = wave("budget", model.url, agents=1)
    request.constraints.max_retries = 1
    deliberation = await client.submit(request)
    results, end = await client.outcome(deliberation)
    assert (end, results["a0"].error_type, model.count("budget/a0/1")) == ("failed", "model_unavailable", 2)
    assert (await client.status(deliberation)).error_message == (
        "a0: the model server answered status 500: this is a 500"
    )


async def test_a_deadline_ends_a_call_and_its_connection(client: Client, model: ModelServer) -> None:
    model.holding = True
    request = wave("late", model.url, agents=1)
    request.constraints.timeout_seconds = 1
    results, end = await client.outcome(await client.submit(request))
    assert (end, results["a0"].error_type) == ("failed", "timeout")
    assert 1000 <= results["a0"].duration_ms < 2000
    await model.until(lambda: model.disconnected == ["late/a0/1"])


async def test_nobody_listens(client: Client) -> None:
    request = wave("nobody", "http://127.0.0.1:9", agents=1)
    request.constraints.max_retries = 1
    results, _ = await client.outcome(await client.submit(request))
    assert (results["a0"].error_type, results["a0"].attempts) == ("connection", 2)


async def test_cancel_closes_connections_within_a_second(client: Client, model: ModelServer) -> None:
    model.script["stop/a0/1"] = [answer(completion("quick"))]
    model.holding = True
    deliberation = await client.submit(wave("stop", model.url))
    await model.until(lambda: model.count("stop/a0/1") == 1 and model.in_flight == 2)
    watching = asyncio.create_task(client.watch(deliberation))
    assert await client.cancel(deliberation) == "cancelled"
    await model.until(lambda: sorted(model.disconnected) == ["stop/a1/1", "stop/a2/1"], limit=1.0)
    *results, end = await watching
    said = {update.result.agent_id: update.result.status for update in results}
    assert said["a1"] == said["a2"] == "cancelled"
    assert end.end.status == "cancelled"
    assert (await client.status(deliberation)).status == "cancelled"
    assert await client.cancel(deliberation) == "cancelled", "once more changes nothing"


async def test_a_repeated_submit_starts_nothing_twice(client: Client, model: ModelServer) -> None:
    model.holding = True
    first = await asyncio.gather(*(client.submit(wave("twice", model.url)) for _ in range(5)))
    assert len(set(first)) == 1
    await model.until(lambda: model.in_flight == 3)
    await model.release()
    await client.outcome(first[0])
    assert await client.submit(wave("twice", model.url)) == first[0], "after it finished, too"
    assert len(model.calls) == 3
    again = await client.submit(wave("twice", model.url, attempt="2"))
    assert again != first[0]
    assert (await client.outcome(again))[1] == "completed"
    assert model.count("twice/a0/2") == 1


async def test_watch_tells_results_as_they_come_and_late_ones_all(client: Client, model: ModelServer) -> None:
    model.holding = True
    model.script["order/a2/1"] = [answer(completion("first"))]
    deliberation = await client.submit(wave("order", model.url, agents=3, colour="red"))
    stream = client.control.Watch(executor_pb2.ExecutorWatchRequest(deliberation_id=deliberation), timeout=20)
    early = [await anext(aiter(stream))]
    assert early[0].result.agent_id == "a2", "it is told while the others are at work"
    assert early[0].result.metadata["colour"] == "red"
    await model.release()
    early += [update async for update in stream]
    assert [update.WhichOneof("update") for update in early] == ["result", "result", "result", "end"]
    assert await client.watch(deliberation) == early, "late, it is the same"


async def test_what_the_model_is_sent_and_what_it_says(client: Client, model: ModelServer) -> None:
    parameters = {"temperature": 0.5, "seed": 7, "chat_template_kwargs": {"enable_thinking": False}}
    metadata = {"params.a0": json.dumps(parameters), "call.a1": "T/1/propose-0/grüß dich"}
    model.script["sent/a0/1"] = [answer(completion("<think>hm</think>\nyes"))]
    model.script["T/1/propose-0/grüß dich"] = [answer(completion("no", reasoning_content="well"))]
    request = wave("sent", model.url + "/v1/", agents=3, **metadata)
    request.agents[1].model = "other"
    request.agents[2].prompt_template = ""
    results, _ = await client.outcome(await client.submit(request))
    assert model.bodies["sent/a0/1"] == {
        **parameters,
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Write."}],
    }
    assert model.bodies["T/1/propose-0/grüß dich"]["model"] == "other"
    assert model.bodies["sent/a2/1"]["messages"][-1] == {"role": "user", "content": "Write a parser."}
    assert model.headers["sent/a0/1"]["Authorization"] == f"Bearer {KEY}"
    assert (results["a0"].content, results["a0"].reasoning) == ("yes", "hm")
    assert (results["a1"].content, results["a1"].reasoning) == ("no", "well")


async def test_answers_that_are_none_are_failures(client: Client, model: ModelServer) -> None:
    model.script["none/a0/1"] = [answer({"choices": []})]
    model.script["none/a1/1"] = [answer(completion(""))]
    model.script["none/a2/1"] = [answer(completion("x" * (1 << 20) + "y"))]
    results, end = await client.outcome(await client.submit(wave("none", model.url)))
    assert end == "failed"
    assert [results[f"a{index}"].error_type for index in range(3)] == [
        "invalid_response",
        "invalid_response",
        "answer_too_large",
    ]


async def test_all_problems_of_a_request_are_said_at_once(client: Client) -> None:
    request = wave("", "http://models.example:8000", agents=2, **{"params.a0": "[1]"})
    request.agents[1].id = "a0"
    request.vllm_model = ""
    request.constraints.timeout_seconds = -1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.submit(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    said = refused.value.details() or ""
    for problem in (
        "task_id is empty",
        "twice the same id: a0",
        "vllm_model",
        "timeout_seconds = -1",
        "no JSON object",
    ):
        assert problem in said
    assert "host models.example:8000 is not allowed" in said


async def test_an_id_that_nobody_knows(client: Client) -> None:
    assert (await client.status("deliberation-x")).status == "not_found"
    for call in (client.watch, client.cancel):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call("deliberation-x")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_jobs_stats_and_metrics(client: Client, model: ModelServer, executor: Executor) -> None:
    model.holding = True
    deliberation = await client.submit(wave("jobs", model.url))
    before = await client.service.GetStatus(pb.GetStatusRequest(include_stats=True))
    jobs = {job.job_id: job for job in (await client.service.GetActiveJobs(pb.GetActiveJobsRequest())).jobs}
    job = jobs[deliberation]
    assert job.name == f"vllm-agent-job-{deliberation}"
    assert (job.status, job.task_id, job.role, job.HasField("end_time")) == ("running", "jobs", "DEV", False)
    assert abs(job.start_time.seconds - time.time()) < 20
    await model.release()
    await client.outcome(deliberation)
    after = await client.service.GetStatus(pb.GetStatusRequest(include_stats=True))
    assert (before.status, after.status) == ("healthy", "healthy")
    assert after.stats.completed_deliberations == before.stats.completed_deliberations + 1
    assert after.stats.average_execution_time_ms > 0
    jobs = {job.job_id: job for job in (await client.service.GetActiveJobs(pb.GetActiveJobsRequest())).jobs}
    assert jobs[deliberation].HasField("end_time")
    with urllib.request.urlopen(f"http://{executor.ready['metrics']}/metrics") as page:
        assert 'moothall_executor_deliberations_ended_total{status="completed"}' in page.read().decode()


async def test_a_worker_that_is_killed_is_replaced_and_its_calls_are_made_again(
    client: Client, model: ModelServer, executor: Executor
) -> None:
    model.holding = True
    deliberation = await client.submit(wave("killed", model.url, agents=4))
    await model.until(lambda: model.in_flight == 4)
    workers = executor.pids("ray::Worker")
    os.kill(workers[0], signal.SIGKILL)
    await model.until(lambda: len(model.calls) > 4 and model.in_flight == 4)
    await model.release()
    results, end = await client.outcome(deliberation)
    assert (end, {result.status for result in results.values()}) == ("completed", {"completed"})
    assert sorted(model.disconnected) == sorted(name for name in set(model.calls) if model.count(name) == 2)
    await eventually(lambda: len(executor.pids("ray::Worker")) == len(workers))


async def test_nothing_secret_is_logged(executor: Executor) -> None:
    log = executor.log.read_text()
    assert '"message": "listening"' in log
    assert KEY not in log
    assert "Write a parser" not in log
