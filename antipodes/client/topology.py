"""Which regions there are and how they are, as the router says.

One background task follows `Router.WatchTopology`. Straight at a node there is no such service:
then there is no topology, and nothing to choose.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from grpc import StatusCode, aio
from tenacity import AsyncRetrying, retry_if_exception_type

from antipodes.client.retry import WAIT
from antipodes.client.types import Region
from antipodes.core.regions import Coordinates, distance_km
from antipodes.v1 import router_pb2, router_pb2_grpc

AGAIN_S = 0.1
"""Between the end of one watch and the next."""


class Topology:
    """The regions at this moment.

    Args:
        channel: To the router.
        changed: Called after each change.
    """

    def __init__(self, channel: aio.Channel, changed: Callable[[], None]) -> None:
        self.generation = 0
        """Grows with every change that the client heard of."""
        self.regions: tuple[Region, ...] = ()
        self.absent = False
        """The endpoint is a node: there is no router."""
        self._watch: Any = router_pb2_grpc.RouterStub(channel).WatchTopology
        self._changed = changed
        self._known = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def known(self) -> None:
        """Wait until the regions are known, or until it is known that there is no router."""
        await self._known.wait()

    def available(self, name: str) -> bool:
        """Tell whether a region gets traffic."""
        return any(region.name == name and region.available for region in self.regions)

    def nearest(self, here: Coordinates) -> str | None:
        """Name the nearest region that gets traffic.

        Args:
            here: A place.

        Returns:
            The region; when none gets traffic the nearest of all; None when no region is known.
        """
        regions = [r for r in self.regions if r.available] or self.regions
        if not regions:
            return None
        return min(regions, key=lambda r: (distance_km(here, r.coordinates), r.name)).name

    async def close(self) -> None:
        """Stop following."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        # Whatever ends the watch, the router's stop included, it is begun again.
        while True:
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(aio.AioRpcError),
                wait=WAIT,
                reraise=True,
            )
            there_is_more: bool = await retrying(self._follow_once)
            if not there_is_more:
                return
            await asyncio.sleep(AGAIN_S)

    async def _follow_once(self) -> bool:
        """Follow until the watch ends; False when there is nothing to follow."""
        heard = False
        call: Any = self._watch(router_pb2.WatchTopologyRequest())
        try:
            async for message in call:
                heard = True
                self._learn(message)
        except aio.AioRpcError as error:
            if error.code() is StatusCode.UNIMPLEMENTED:
                self.absent = True
                self._known.set()
                return False
            if not heard:
                raise
        finally:
            call.cancel()
        return True

    def _learn(self, message: router_pb2.WatchTopologyResponse) -> None:
        self.regions = tuple(map(Region.from_message, message.regions))
        self.generation += 1
        self._known.set()
        self._changed()
