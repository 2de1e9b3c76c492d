"""Runs every call of the tables against a daemon, as a client does that was built long ago.

    python story.py localhost:50055

The daemon needs a model that answers; the story makes its own council (role WIRE) and deletes it. Prints what it saw as
one JSON object; an unkept promise ends it with an AssertionError that says which.
"""

import json
import sys
import uuid

import grpc
from client import Client, shown
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

ROLE = "WIRE"
TASK = "Write a function that parses a duration such as 1h30m."
CONSTRAINTS = {"rubric": "Correct and short.", "requirements": ["Rejects negative values."]}
WORDS = {"generating", "reviewing", "revising", "scoring", "selecting", "complete"}


def new_id():
    return f"wire-{uuid.uuid4()}"


def request(**fields):
    return {"task_id": new_id(), "task_description": TASK, "role": ROLE, "constraints": dict(CONSTRAINTS), **fields}


def refused(code, call, *arguments, **options):
    """The error of a call that must fail with this code."""
    try:
        answer = call(*arguments, **options)
        list(answer) if hasattr(answer, "__next__") else None
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} is not {code}: {error.details()}"
        return error
    raise AssertionError(f"the call was answered, {code} was expected")


def check_results(results, agents):
    assert len(results) == agents, f"{len(results)} results of {agents} agents"
    assert [result.rank for result in results] == list(range(1, agents + 1))
    for result in results:
        assert result.proposal.author_id and result.proposal.content, "a result without author or text"
        assert result.proposal.author_role == ROLE
        assert 0 <= result.score < 1


def deliberations(client):
    """Calls by kind of request: 3 agents make 3 calls a wave, and one round has two waves more."""
    table = {
        "one round": (9, 3, request()),
        "rounds=2": (15, 3, request(rounds=2)),
        "rounds=0": (9, 3, request(rounds=0)),
        "metadata.rounds=none": (3, 3, request(constraints={**CONSTRAINTS, "metadata": {"rounds": "none"}})),
        "num_agents=2": (6, 2, request(num_agents=2)),
    }
    seen = {}
    for name, (calls, agents, asked) in table.items():
        answer = client.Deliberate(asked)
        check_results(answer.results, agents)
        assert answer.task_id == asked["task_id"]
        assert answer.winner_id == answer.results[0].proposal.author_id
        assert len(answer.metadata.execution_id) == 16 and answer.metadata.orchestrator_version
        assert answer.metadata.tags["calls"] == str(calls), f"{name}: {answer.metadata.tags['calls']} calls"
        seen[name] = calls
    again = request()
    assert client.Deliberate(again) == client.Deliberate(again), "the same id and content got another answer"
    refused(grpc.StatusCode.ALREADY_EXISTS, client.Deliberate, {**again, "rounds": 3})
    return seen


def keyed_by_metadata(client):
    key = new_id()
    call = client.start("Deliberate", request(task_id=""), metadata=[("idempotency-key", key)])
    assert call.result().task_id == key
    assert dict(call.initial_metadata())["moothall-task-id"] == key


def orchestrations(client):
    answer = client.Orchestrate(request(options={"enable_peer_review": True, "enable_architect_selection": True}))
    assert answer.winner.rank == 1
    assert [candidate.rank for candidate in answer.candidates] == [2, 3]
    assert answer.execution_id == answer.metadata.execution_id
    plain = client.Orchestrate(request(options={"enable_peer_review": False}))
    assert plain.metadata.tags["calls"] == "3", "review was not skipped"


def stream(client):
    call = client.start("StreamDeliberation", request())
    assert dict(call.initial_metadata())["moothall-task-id"]
    updates = list(call)
    assert {update.status for update in updates} <= WORDS, {update.status for update in updates}
    percents = [update.progress_percent for update in updates]
    assert percents == sorted(percents) and percents[-1] == 100
    assert updates[-1].status == "complete" and updates[-1].partial_result.rank == 1
    return len(updates)


def backlog(client):
    task = f"ceremony-{uuid.uuid4()}:story-{uuid.uuid4()}:role-{ROLE}"
    answer = client.DeliberateForBacklogReview(request(task_id=task))
    assert answer.task_id == task and not answer.results
    refused(grpc.StatusCode.INVALID_ARGUMENT, client.DeliberateForBacklogReview, request())
    # Sent again it attaches to the running work, so that the answer is the end of it.
    client.Deliberate(request(task_id=task))
    result = client.GetDeliberationResult({"task_id": task})
    assert result.status == 3, "DELIBERATION_STATUS_COMPLETED"
    check_results(result.results, 3)
    refused(grpc.StatusCode.NOT_FOUND, client.GetDeliberationResult, {"task_id": new_id()})


def councils(client):
    made = client.CreateCouncil({"role": ROLE.lower(), "num_agents": 3})
    assert made.council_id == f"council-{ROLE.lower()}" and made.agents_created == 3
    assert list(made.agent_ids) == [f"agent-{ROLE.lower()}-00{number}" for number in (1, 2, 3)]
    refused(grpc.StatusCode.ALREADY_EXISTS, client.CreateCouncil, {"role": ROLE})
    assert not client.ListCouncils({"role_filter": ROLE}).councils[0].agents
    listed = client.ListCouncils({"role_filter": ROLE, "include_agents": True}).councils[0]
    assert len(listed.agents) == 3 and listed.status in {"active", "idle", "busy"}


def agents(client):
    joined = client.RegisterAgent({"agent_id": "guest", "role": ROLE, "capabilities": {"languages": ["python"]}})
    assert joined.success and joined.council_id == f"council-{ROLE.lower()}"
    assert client.ListCouncils({"role_filter": ROLE}).councils[0].num_agents == 4
    assert client.UnregisterAgent({"agent_id": "guest", "role": ROLE}).success
    refused(grpc.StatusCode.NOT_FOUND, client.UnregisterAgent, {"agent_id": "guest", "role": ROLE})


def errors(client):
    every = refused(grpc.StatusCode.INVALID_ARGUMENT, client.Deliberate, {"rounds": 99, "num_agents": -1})
    for field in ("role", "task_description", "rounds", "num_agents"):
        assert field in every.details(), f"{field} is not in: {every.details()}"
    refused(grpc.StatusCode.NOT_FOUND, client.Deliberate, request(role="NOBODY"))
    refused(grpc.StatusCode.INVALID_ARGUMENT, client.GetMetrics, {"metric_type": "speed"})
    refused(grpc.StatusCode.INVALID_ARGUMENT, client.GetMetrics, {"time_range_ms": -1})
    unsaid = refused(grpc.StatusCode.INVALID_ARGUMENT, client.GetTaskContext, {}).details()
    assert "story_id" in unsaid and "DESIGN, BUILD, TEST, DOCS" in unsaid, unsaid
    said = {"story_id": "S-1", "role": ROLE, "phase": "BUILD"}
    assert "context.address" in refused(grpc.StatusCode.FAILED_PRECONDITION, client.GetTaskContext, said).details()
    assert not client.ProcessPlanningEvent({"event_type": "planning.story.created"}).processed
    assert "plan_id" in refused(grpc.StatusCode.INVALID_ARGUMENT, client.DeriveSubtasks, {}).details()
    derived = client.DeriveSubtasks({"plan_id": "P-1", "case_id": "S-1", "roles": ["DEV", "QA"]})
    assert [task.role for task in derived.tasks] == ["DEV", "QA"] and derived.total_tasks == 2
    assert derived.derivation_id and all(task.case_id == "S-1" for task in derived.tasks)


def numbers(client):
    status = client.GetStatus({"include_stats": True})
    assert status.status in {"healthy", "degraded"} and status.stats.role_counts[ROLE] > 0
    assert not client.GetStatus({}).HasField("stats")
    metrics = client.GetMetrics({})
    latency = metrics.performance
    assert latency.p99_latency_ms >= latency.p95_latency_ms >= latency.p50_latency_ms and latency.p99_latency_ms > 0
    assert metrics.agents.agents_per_role[ROLE] == 3
    assert not client.GetMetrics({"metric_type": "agents"}).HasField("performance")
    return shown(metrics.performance)


def older(target):
    with Client(target, "orchestrator.v1") as client:
        deliberated = client.Deliberate({"task_description": TASK, "role": ROLE})
        check_results(deliberated.results, 3)
        task = {"task_id": new_id(), "task_description": TASK, "role": ROLE}
        assert client.Orchestrate(task).winner.rank == 1
        assert client.GetStatus({}).status in {"healthy", "degraded"}


def health(target, package):
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", f"{package.name}.{package.service}", "orchestrator.v1.OrchestratorService", "journal"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        asked = health_pb2.HealthCheckRequest(service="no.such.Service")
        refused(grpc.StatusCode.NOT_FOUND, stub.Check, asked)


def reflection(target, version):
    """How many methods each service has. Both versions have the same messages; only their paths differ."""
    with grpc.insecure_channel(target) as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        [listed] = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = [service.name for service in listed.list_services_response.service]
        assert "grpc.health.v1.Health" in names, names
        methods = {}
        for answer in ask(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names):
            for encoded in answer.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
                methods.update({f"{file.package}.{service.name}": len(service.method) for service in file.service})
        assert set(names) <= set(methods), f"{set(names) - set(methods)} cannot be looked up"
        return methods


def main():
    target = sys.argv[1]
    with Client(target) as client:
        grpc.channel_ready_future(client.channel).result(timeout=30)
        health(target, client.package)
        seen = {"methods": {version: reflection(target, version) for version in ("v1", "v1alpha")}}
        councils(client)
        try:
            seen["calls"] = deliberations(client)
            keyed_by_metadata(client)
            orchestrations(client)
            seen["updates"] = stream(client)
            backlog(client)
            agents(client)
            errors(client)
            older(target)
            seen["performance"] = numbers(client)
        finally:
            assert client.DeleteCouncil({"role": ROLE}).agents_removed == 3
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
