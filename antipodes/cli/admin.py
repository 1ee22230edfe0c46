"""Asking the nodes of a cluster through its router, or one node directly."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc.aio

from antipodes.core import limits
from antipodes.core.errors import ServiceUnavailable, UnknownOperationException
from antipodes.v1 import admin_pb2, admin_pb2_grpc, router_pb2, router_pb2_grpc
from antipodes.wire import errors as wire_errors

CALL_SECONDS_MAX = 10.0


class ClusterAdmin:
    """Admin calls to named regions.

    Args:
        endpoint: host:port of the router, or of a node, which then is the only region.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(
            endpoint, (("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),)
        )
        self._admin: Any = admin_pb2_grpc.AdminStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def regions(self) -> Sequence[router_pb2.RegionStatus]:
        """List the regions that the router knows; a node alone is its own only region."""
        try:
            located = await router_pb2_grpc.RouterStub(self._channel).Locate(
                router_pb2.LocateRequest(), timeout=CALL_SECONDS_MAX
            )
        except grpc.aio.AioRpcError as error:
            cause = wire_errors.from_call(error)
            if isinstance(cause, UnknownOperationException):
                status = await self.status("")
                return [
                    router_pb2.RegionStatus(
                        region=status.region, address=self._endpoint, healthy=True, available=True,
                        round_trip_ms=-1, distance_km=-1,
                    )
                ]  # fmt: skip
            raise self._explain(cause) from error
        return sorted(located.regions, key=lambda region: region.region)

    async def status(self, region: str) -> admin_pb2.GetStatusResponse:
        """Ask a node how it is."""
        request = admin_pb2.GetStatusRequest()
        return await self._call(self._admin.GetStatus, request, region)  # type: ignore[no-any-return]

    async def digest(self, region: str, table: str) -> admin_pb2.GetTableDigestResponse:
        """Ask for count and digest of a table in a region."""
        request = admin_pb2.GetTableDigestRequest(table_name=table)
        return await self._call(self._admin.GetTableDigest, request, region)  # type: ignore[no-any-return]

    async def conflicts(
        self, region: str, table: str = "", limit: int = 0
    ) -> Sequence[admin_pb2.Conflict]:
        """List the conflicts that a region has seen, newest first."""
        request = admin_pb2.ListConflictsRequest(table_name=table, limit=limit)
        answer: admin_pb2.ListConflictsResponse = await self._call(
            self._admin.ListConflicts, request, region
        )
        return answer.conflicts

    async def item_version(
        self, region: str, table: str, key: bytes
    ) -> admin_pb2.GetItemVersionResponse:
        """Ask for an item with the version behind it."""
        request = admin_pb2.GetItemVersionRequest(table_name=table, key=key)
        return await self._call(self._admin.GetItemVersion, request, region)  # type: ignore[no-any-return]

    async def set_link(self, region: str, peer: str, *, paused: bool) -> None:
        """Stop or resume a region's fetching from a peer."""
        request = admin_pb2.SetLinkRequest(peer_region=peer, paused=paused)
        await self._call(self._admin.SetLink, request, region)

    async def _call(self, method: Any, request: Any, region: str) -> Any:
        metadata = (
            (("antipodes-region", region), ("antipodes-failover", "never")) if region else None
        )
        try:
            return await method(request, timeout=CALL_SECONDS_MAX, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self._explain(wire_errors.from_call(error)) from error

    def _explain(self, cause: Exception) -> Exception:
        if isinstance(cause, ServiceUnavailable) and "connect" in str(cause):
            return ServiceUnavailable(
                f"no router or node answers at {self._endpoint}; start a cluster with: antipodes up"
            )
        return cause
