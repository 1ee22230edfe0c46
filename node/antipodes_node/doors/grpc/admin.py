"""Administration over gRPC."""

from antipodes.v1 import admin_pb2, admin_pb2_grpc
from antipodes_node.doors.grpc.guard import Context
from antipodes_node.service.status import StatusService


class AdminDoor(admin_pb2_grpc.AdminServicer):
    """Answers operators."""

    def __init__(self, status: StatusService) -> None:
        self._status = status

    async def GetStatus(
        self, request: admin_pb2.GetStatusRequest, context: Context
    ) -> admin_pb2.GetStatusResponse:
        return self._status.status()

    async def GetTableDigest(
        self, request: admin_pb2.GetTableDigestRequest, context: Context
    ) -> admin_pb2.GetTableDigestResponse:
        count, digest = await self._status.table_digest(request.table_name)
        return admin_pb2.GetTableDigestResponse(item_count=count, digest=digest)

    async def ListConflicts(
        self, request: admin_pb2.ListConflictsRequest, context: Context
    ) -> admin_pb2.ListConflictsResponse:
        found = self._status.conflicts(request.table_name, request.limit)
        return admin_pb2.ListConflictsResponse(conflicts=found)

    async def GetItemVersion(
        self, request: admin_pb2.GetItemVersionRequest, context: Context
    ) -> admin_pb2.GetItemVersionResponse:
        return self._status.item_version(request.table_name, request.key)

    async def SetLink(
        self, request: admin_pb2.SetLinkRequest, context: Context
    ) -> admin_pb2.SetLinkResponse:
        self._status.set_link(request.peer_region, request.paused)
        return admin_pb2.SetLinkResponse()
