"""moothall.v1.ExecutorControl: says results as they come, and stops deliberations."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc.aio import ServicerContext

from .attend import Attendance, end_of, said
from .child import Unreachable
from .cluster import Cluster
from .line import CallFailed
from .mirror import Mirror
from .registry import Deliberation
from .service import STOPPING, ExecutorService, Refused
from .wave import Status
from .wire.moothall.v1 import executor_pb2 as pb
from .wire.moothall.v1.executor_pb2_grpc import ExecutorControlServicer


class ControlService(ExecutorControlServicer):
    """One for the process."""

    def __init__(self, service: ExecutorService, cluster: Cluster, mirror: Mirror) -> None:
        self._service = service
        self._cluster = cluster
        self._mirror = mirror
        self._attending: set[Attendance] = set()

    def close(self) -> None:
        """The mirror is closed: streams end."""
        for attendance in self._attending:
            attendance.wake()

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
                await Refused.of(error).abort(context)
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
                yield pb.ExecutorUpdate(result=said(result, one.outline.metadata))
            told = len(results)
            # A result may have come while the ones before were being written.
            if told < len(one.results):
                continue
            if one.status is not Status.RUNNING:
                yield pb.ExecutorUpdate(end=end_of(one))
                return
            if self._mirror.closed:
                await context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)
            await self._mirror.changed(request.deliberation_id)

    async def Attend(
        self,
        request_iterator: AsyncIterator[pb.ExecutorOrders],
        context: ServicerContext[pb.ExecutorOrders, pb.ExecutorReports],
    ) -> AsyncIterator[pb.ExecutorReports]:
        # A client waits for it before it believes in the stream.
        await context.send_initial_metadata(())
        attendance = Attendance(self._service, self._mirror)
        self._attending.add(attendance)
        try:
            async for reports in attendance.reports(request_iterator):
                yield reports
        finally:
            self._attending.discard(attendance)
        if self._mirror.closed:
            await context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)

    async def _find(self, deliberation_id: str, context: ServicerContext[Any, Any]) -> Deliberation:
        try:
            return self._service.find(deliberation_id)
        except Refused as refused:
            await refused.abort(context)
