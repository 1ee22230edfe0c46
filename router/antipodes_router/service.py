"""The router's own service: where to go, and how the regions are."""

from collections.abc import AsyncIterator
from typing import Any

from grpc import StatusCode, aio

from antipodes.core.regions import Coordinates, distance_km
from antipodes.v1 import router_pb2, router_pb2_grpc
from antipodes_router.routing import (
    UNKNOWN,
    RegionView,
    Wish,
    check_coordinates,
    order_regions,
)
from antipodes_router.topology import Topology


class RouterService(router_pb2_grpc.RouterServicer):
    """Answers from the topology alone.

    Args:
        topology: Which regions there are and how they are.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    async def Locate(  # noqa: N802
        self,
        request: router_pb2.LocateRequest,
        context: "aio.ServicerContext[Any, Any]",
    ) -> router_pb2.LocateResponse:
        """Order the regions for one client, best first."""
        regions = self._topology.snapshot.regions
        if request.region and self._topology.view(request.region) is None:
            known = ", ".join(view.region for view in regions)
            await context.abort(
                StatusCode.INVALID_ARGUMENT,
                f"region: there is no region {request.region!r}; known are: {known}",
            )
        here = None
        if request.HasField("coordinates"):
            try:
                here = check_coordinates(
                    request.coordinates.latitude, request.coordinates.longitude
                )
            except ValueError as error:
                await context.abort(StatusCode.INVALID_ARGUMENT, f"coordinates: {error}")
        wish = Wish(request.region, here, dict(request.measured_ms))
        return router_pb2.LocateResponse(
            regions=[to_status(view, here) for view in order_regions(regions, wish)]
        )

    async def WatchTopology(  # noqa: N802
        self,
        request: router_pb2.WatchTopologyRequest,
        context: "aio.ServicerContext[Any, Any]",
    ) -> AsyncIterator[router_pb2.WatchTopologyResponse]:
        """Send the regions and their health, at once and again after each change."""
        async for snapshot in self._topology.watch():
            yield router_pb2.WatchTopologyResponse(
                generation=snapshot.generation,
                regions=[to_status(view) for view in snapshot.regions],
            )
        await context.abort(StatusCode.UNAVAILABLE, "this router is stopping")


def to_status(view: RegionView, here: Coordinates | None = None) -> router_pb2.RegionStatus:
    """Put what is known about a region into the wire's form.

    Args:
        view: The region.
        here: Where the client is; None when it did not say.
    """
    return router_pb2.RegionStatus(
        region=view.region,
        address=view.address,
        coordinates=router_pb2.Coordinates(
            latitude=view.coordinates.latitude, longitude=view.coordinates.longitude
        ),
        healthy=view.healthy,
        available=view.available,
        round_trip_ms=view.round_trip_ms,
        distance_km=UNKNOWN if here is None else distance_km(here, view.coordinates),
        reason=view.reason,
    )
