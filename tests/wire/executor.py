"""Uses an executor as one does who has the wire tables and nothing else: submits waves and polls them.

    python executor.py localhost:50056 http://localhost:8000

Both must be there, the executor with at least three free places. Prints what it saw as one JSON object; an unkept promise
ends it with an AssertionError that says which.
"""

import json
import sys
import time
import uuid

import grpc
from client import Client

PACKAGE = "fleet.ray_executor.v1"
# Seconds that a wave may take, and between two looks at it.
PATIENCE, LOOK = 60.0, 0.05
AGENTS = [f"agent-{number}" for number in range(3)]


def wave(server, **fields):
    agents = [{"id": agent, "prompt_template": f"You are {agent}.\n---user---\nSay so."} for agent in AGENTS]
    constraints = {"timeout_seconds": 30, "max_retries": 1, "metadata": {"attempt": "1", "colour": "green"}}
    made = {"task_id": f"T-{uuid.uuid4()}/propose-0", "task_description": "Say who you are.", "role": "DEV"}
    return {**made, "constraints": constraints, "agents": agents, "vllm_url": server, "vllm_model": "m", **fields}


def ended(client, name):
    """How it ended. A promise of every look: what has come so far is there, each agent once."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status = client.GetDeliberationStatus({"deliberation_id": name})
        results = json.loads(status.result.metadata.get("results", "[]"))
        told = [result["agent_id"] for result in results]
        assert len(told) == len(set(told)), f"told twice: {told}"
        if status.status != "running":
            return status, {result["agent_id"]: result for result in results}
        time.sleep(LOOK)
    raise AssertionError(f"{name} did not end within {PATIENCE:g} s")


def deliberation(client, server):
    request = wave(server)
    taken = client.ExecuteDeliberation(request)
    assert (taken.status, taken.task_id) == ("submitted", request["task_id"])
    assert taken.deliberation_id.startswith(f"deliberation-{request['task_id']}-")
    assert client.ExecuteDeliberation(request).deliberation_id == taken.deliberation_id, "a retried submit is the same"
    jobs = {job.job_id: job for job in client.GetActiveJobs().jobs}
    job = jobs[taken.deliberation_id]
    assert (job.name, job.role) == (f"vllm-agent-job-{taken.deliberation_id}", "DEV")
    assert job.task_id == request["task_id"] and job.start_time.seconds > 0
    status, results = ended(client, taken.deliberation_id)
    assert status.status == "completed" and status.result.agent_id == AGENTS[0], status
    assert status.result.metadata["colour"] == "green", "metadata comes back"
    assert sorted(results) == AGENTS
    for result in results.values():
        assert result["status"] == "completed" and result["content"], result
        assert result["prompt_tokens"] > 0 and result["duration_ms"] >= 0 and not result["error"], result
    assert client.ExecuteDeliberation(request).deliberation_id == taken.deliberation_id, "also when it has ended"
    constraints = {**request["constraints"], "metadata": {"attempt": "2"}}
    again = client.ExecuteDeliberation({**request, "constraints": constraints})
    assert again.deliberation_id != taken.deliberation_id, "another attempt is another deliberation"
    ended(client, again.deliberation_id)
    return len(results)


def backlog(client, server):
    request = wave(server)
    constraints = {"timeout_seconds": 30, "metadata": {}}
    taken = client.ExecuteBacklogReviewDeliberation({**request, "constraints": constraints})
    status, results = ended(client, taken.deliberation_id)
    assert status.status == "completed"
    return len(results)


def errors(client, server):
    """Every problem of a request at once; an unknown deliberation is an answer, no error."""
    try:
        client.ExecuteDeliberation(wave(server, task_id=" ", agents=[], vllm_url="ftp://x"))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        for part in ("task_id", "agents", "vllm_url"):
            assert part in error.details(), error.details()
    else:
        raise AssertionError("a wave without agents was taken")
    assert client.GetDeliberationStatus({"deliberation_id": "nobody"}).status == "not_found"


def main():
    target, server = sys.argv[1:]
    with Client(target, PACKAGE) as client:
        grpc.channel_ready_future(client.channel).result(timeout=30)
        before = client.GetStatus({"include_stats": True})
        assert before.status == "healthy"
        seen = {"results": deliberation(client, server), "reviewed": backlog(client, server)}
        errors(client, server)
        after = client.GetStatus({"include_stats": True}).stats
        assert after.completed_deliberations == before.stats.completed_deliberations + 3
        assert after.average_execution_time_ms > 0
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
