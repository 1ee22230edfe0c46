"""What the other regions ask, over gRPC."""

from typing import Any

from antipodes.v1 import replication_pb2, replication_pb2_grpc
from antipodes_node.doors.grpc.guard import Context
from antipodes_node.replication.coordination import Coordinator
from antipodes_node.replication.sending import TailSending


class ReplicationDoor(replication_pb2_grpc.ReplicationServicer):
    """Answers the other regions."""

    def __init__(self, sending: TailSending, coordinator: Coordinator) -> None:
        self._sending = sending
        self._coordinator = coordinator

    async def Tail(  # type: ignore[override]  # writes through the context, not by yielding
        self, request_iterator: Any, context: Context
    ) -> None:
        await self._sending.serve(context)

    async def PrepareTableChange(
        self, request: replication_pb2.PrepareTableChangeRequest, context: Context
    ) -> replication_pb2.PrepareTableChangeResponse:
        await self._coordinator.prepare(request)
        return replication_pb2.PrepareTableChangeResponse()

    async def DecideTableChange(
        self, request: replication_pb2.DecideTableChangeRequest, context: Context
    ) -> replication_pb2.DecideTableChangeResponse:
        await self._coordinator.decide(request)
        return replication_pb2.DecideTableChangeResponse()

    async def GetTableDecision(
        self, request: replication_pb2.GetTableDecisionRequest, context: Context
    ) -> replication_pb2.GetTableDecisionResponse:
        return self._coordinator.decision(request)
