"""moothall.v1.ExecutorControl: says results as they come, and stops deliberations."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc.aio import ServicerContext

from .child import Unreachable
from .cluster import Cluster
from .line import CallFailed
from .mirror import Mirror
from .registry import Deliberation
from .service import refuse
from .wave import Result, Status
from .wire.moothall.v1 import executor_pb2 as pb
from .wire.moothall.v1.executor_pb2_grpc import ExecutorControlServicer


class ControlService(ExecutorControlServicer):
    """One for the process."""

    def __init__(self, cluster: Cluster, mirror: Mirror) -> None:
        self._cluster = cluster
        self._mirror = mirror

    async def Cancel(
        self,
        request: pb.ExecutorCancelRequest,
        context: ServicerContext[pb.ExecutorCancelRequest, pb.ExecutorCancelResponse],
    ) -> pb.ExecutorCancelResponse:
        one = await self._find(request.deliberation_id, context)
        if one.status is Status.RUNNING:
            try:
                await self._cluster.cancel(request.deliberation_id)
            except (Unreachable, CallFailed) as error:
                await refuse(context, error)
        return pb.ExecutorCancelResponse(status=one.status.value)

    async def Watch(
        self,
        request: pb.ExecutorWatchRequest,
        context: ServicerContext[pb.ExecutorWatchRequest, pb.ExecutorUpdate],
    ) -> AsyncIterator[pb.ExecutorUpdate]:
        one = await self._find(request.deliberation_id, context)
        told = 0
        while True:
            results = list(one.results.values())
            for result in results[told:]:
                yield pb.ExecutorUpdate(result=said(result, one))
            told = len(results)
            # A result may have come while the ones before were being written.
            if told < len(one.results):
                continue
            if one.status is not Status.RUNNING:
                yield pb.ExecutorUpdate(end=pb.ExecutorEnd(status=one.status.value, error_message=one.error))
                return
            if self._mirror.closed:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the executor is being stopped")
            await self._mirror.changed(request.deliberation_id)

    async def _find(self, deliberation_id: str, context: ServicerContext[Any, Any]) -> Deliberation:
        one = self._mirror.registry.get(deliberation_id)
        if one is None:
            if not self._cluster.known:
                await context.abort(grpc.StatusCode.UNAVAILABLE, self._cluster.trouble)
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no deliberation has the id {deliberation_id[:600]}")
        return one


def said(result: Result, one: Deliberation) -> pb.ExecutorAgentResult:
    return pb.ExecutorAgentResult(
        agent_id=result.agent_id,
        role=result.role,
        status=result.status.value,
        content=result.content,
        reasoning=result.reasoning,
        model=result.model,
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        duration_ms=result.duration_ms,
        error=result.error,
        error_type=result.error_type,
        metadata=one.outline.metadata,
        attempts=result.attempts,
        finish_reason=result.finish_reason,
    )
