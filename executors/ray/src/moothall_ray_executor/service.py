"""fleet.ray_executor.v1.RayExecutorService: takes waves, and answers what became of them from the mirror."""

import json
import time
from typing import Any, NoReturn

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from .child import Unreachable
from .cluster import Cluster
from .line import CallFailed
from .mirror import Mirror
from .registry import Deliberation
from .request import Invalid, Request, Rules, parse
from .wave import Result, Status, as_dict
from .wire.fleet.ray_executor.v1 import ray_executor_pb2 as pb
from .wire.fleet.ray_executor.v1.ray_executor_pb2_grpc import RayExecutorServiceServicer

# Seconds that an ended deliberation is still listed among the jobs.
LISTED = 60.0
# Characters of a status answer: clients take 4 MiB of bytes unless told otherwise.
MOST_ANSWER = 3 << 20
STOPPING = "the executor is being stopped"

# What the wire asks of a context is only to abort.
Context = ServicerContext[Request, pb.ExecuteDeliberationResponse]


class Refused(Exception):
    """What a call fails with."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def of(cls, error: Exception) -> "Refused":
        """A call that did not get through to the supervisor, or failed there."""
        code = grpc.StatusCode.UNAVAILABLE if isinstance(error, Unreachable) else grpc.StatusCode.INTERNAL
        return cls(code, str(error)[:500])

    async def abort(self, context: ServicerContext[Any, Any]) -> NoReturn:
        """Ends the call with it."""
        await context.abort(self.code, self.message)


class ExecutorService(RayExecutorServiceServicer):
    """One for the process."""

    def __init__(self, cluster: Cluster, mirror: Mirror, rules: Rules) -> None:
        self._cluster = cluster
        self._mirror = mirror
        self._rules = rules
        self._started = time.monotonic()
        self.stopping = False

    async def ExecuteDeliberation(
        self, request: pb.ExecuteDeliberationRequest, context: Context
    ) -> pb.ExecuteDeliberationResponse:
        return await self._execute(request, context)

    async def ExecuteBacklogReviewDeliberation(
        self, request: pb.ExecuteBacklogReviewDeliberationRequest, context: Context
    ) -> pb.ExecuteDeliberationResponse:
        return await self._execute(request, context)

    async def GetDeliberationStatus(
        self, request: pb.GetDeliberationStatusRequest, context: Context
    ) -> pb.GetDeliberationStatusResponse:
        try:
            one = self.find(request.deliberation_id)
        except Refused as refused:
            if refused.code is not grpc.StatusCode.NOT_FOUND:
                await refused.abort(context)
            return pb.GetDeliberationStatusResponse(status="not_found")
        return pb.GetDeliberationStatusResponse(
            status=one.status.value, result=first_result(one), error_message=one.error
        )

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        answer = pb.GetStatusResponse(
            status="healthy" if self._cluster.up and not self.stopping else "unhealthy",
            uptime_seconds=int(time.monotonic() - self._started),
        )
        if request.include_stats:
            answer.stats.CopyFrom(self._stats())
        return answer

    async def GetActiveJobs(self, request: pb.GetActiveJobsRequest, context: Context) -> pb.GetActiveJobsResponse:
        now = time.time()
        listed = (one for one in self._mirror.registry if one.ended_at is None or now - one.ended_at <= LISTED)
        return pb.GetActiveJobsResponse(jobs=[job(one, now) for one in listed])

    async def _execute(self, request: Request, context: Context) -> pb.ExecuteDeliberationResponse:
        try:
            return await self.submit(request)
        except Refused as refused:
            await refused.abort(context)

    async def submit(self, request: Request) -> pb.ExecuteDeliberationResponse:
        """Takes a wave. Raises Refused."""
        try:
            wave = parse(request, self._rules)
        except Invalid as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        existing = self._mirror.registry.existing(wave.outline.key)
        if existing is None:
            if self.stopping:
                raise Refused(grpc.StatusCode.UNAVAILABLE, STOPPING)
            try:
                existing = await self._cluster.submit(wave)
            except (Unreachable, CallFailed) as error:
                raise Refused.of(error) from error
        if existing is None:
            running = self._cluster.most_running
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{running} deliberations run, which is the limit")
        new = existing == wave.outline.deliberation_id
        return pb.ExecuteDeliberationResponse(
            task_id=request.task_id,
            deliberation_id=existing,
            status="submitted",
            message=f"{len(wave.calls)} agents are asked" if new else "it was submitted before",
        )

    def find(self, deliberation_id: str) -> Deliberation:
        """Raises Refused."""
        one = self._mirror.registry.get(deliberation_id)
        if one is not None:
            return one
        if not self._cluster.known:
            raise Refused(grpc.StatusCode.UNAVAILABLE, self._cluster.trouble)
        raise Refused(grpc.StatusCode.NOT_FOUND, f"no deliberation has the id {deliberation_id[:600]}")

    def _stats(self) -> pb.RayExecutorStats:
        registry = self._mirror.registry
        totals = registry.totals
        ended = totals.completed + totals.failed
        return pb.RayExecutorStats(
            total_deliberations=totals.submitted,
            active_deliberations=len(registry.running),
            completed_deliberations=totals.completed,
            failed_deliberations=totals.failed,
            average_execution_time_ms=totals.seconds * 1000 / ended if ended else 0.0,
        )


def first_result(one: Deliberation) -> pb.DeliberationResult:
    """The first agent's, with all in its metadata."""
    first = one.outline.seats[0]
    result = one.results.get(first.agent_id)
    answered = result if result is not None and result.status is Status.COMPLETED else None
    metadata = {**one.outline.metadata, "results": results_json(one)}
    return pb.DeliberationResult(
        agent_id=first.agent_id,
        proposal=answered.content if answered else "",
        reasoning=result.reasoning if result and one.size <= MOST_ANSWER else "",
        metadata=metadata,
    )


def results_json(one: Deliberation) -> str:
    """In the order of the request's agents. Too long for a client, it comes without reasoning: Watch has it."""
    results = [one.results[seat.agent_id] for seat in one.outline.seats if seat.agent_id in one.results]
    short = one.size > MOST_ANSWER
    return json.dumps([_shown(result, short) for result in results], ensure_ascii=False)


def job(one: Deliberation, now: float) -> pb.JobInfo:
    outline = one.outline
    return pb.JobInfo(
        job_id=outline.deliberation_id,
        name=f"vllm-agent-job-{outline.deliberation_id}",
        status=one.status.value,
        submission_id=outline.deliberation_id,
        role=outline.role,
        task_id=outline.task_id,
        start_time=_timestamp(one.started_at),
        end_time=_timestamp(one.ended_at) if one.ended_at is not None else None,
        runtime=runtime((one.ended_at or now) - one.started_at),
    )


def runtime(seconds: float) -> str:
    """Such as `1h 2m 3s`."""
    hours, rest = divmod(max(0, int(seconds)), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}h {minutes}m {left}s" if hours else f"{minutes}m {left}s"


def _shown(result: Result, short: bool) -> dict[str, object]:
    shown = as_dict(result)
    return {**shown, "reasoning": ""} if short else shown


def _timestamp(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMilliseconds(round(seconds * 1000))
    return made
