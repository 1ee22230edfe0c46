"""What the handles of one client share: the channel, the topology, a pipeline for each wish."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from grpc import aio

from antipodes.client.pipeline import Pipeline
from antipodes.client.retry import Repeat, may_repeat, repeat_call, unreachable
from antipodes.client.topology import Topology
from antipodes.client.types import KeyNames, Region, TableDescription
from antipodes.core import limits
from antipodes.core.errors import AntipodesError, RequestTimeout, ServiceUnavailable
from antipodes.core.regions import Coordinates
from antipodes.v1 import items_pb2_grpc, router_pb2, router_pb2_grpc
from antipodes.wire import errors as wire_errors

REGION_KEY = "antipodes-region"
NEAR_KEY = "antipodes-near"
FAILOVER_KEY = "antipodes-failover"
FAILOVER_NEVER = "never"

CONTROL_TIMEOUT_S = 30.0
"""Least time for an operation on tables: it may wait for every region."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # also how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 6000),  # with the next: a peer that froze is noticed within 8 s
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.enable_http_proxy", 0),  # nodes are reached directly, whatever the environment says
)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Wish:
    """Which region a handle prefers; neither means: what the router prefers.

    Attributes:
        region: By name.
        near: Nearest to a place.
    """

    region: str | None = None
    near: Coordinates | None = None

    def metadata(self, *, failover: bool) -> tuple[tuple[str, str], ...]:
        """Print for the router."""
        pairs: list[tuple[str, str]] = []
        if self.region is not None:
            pairs.append((REGION_KEY, self.region))
        if self.near is not None:
            pairs.append((NEAR_KEY, f"{self.near.latitude},{self.near.longitude}"))
        if not failover:
            pairs.append((FAILOVER_KEY, FAILOVER_NEVER))
        return tuple(pairs)


class Session:
    """One endpoint.

    Args:
        endpoint: host:port of a router or a node.
        timeout_s: For one call, its repetitions included.
        attempts_max: For one call, the first included.
        failover: Another region may serve when the preferred one cannot.
    """

    def __init__(
        self, endpoint: str, timeout_s: float, attempts_max: int, *, failover: bool
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.attempts_max = attempts_max
        self.failover = failover
        self.closed = False
        self.topology: Topology | None = None
        self.key_names: dict[str, KeyNames] = {}
        """Of tables that were described; dropped when the node contradicts."""
        self._describing = asyncio.Lock()
        self._channel: aio.Channel | None = None
        self._pipelines: dict[Wish, Pipeline] = {}
        self._changed = asyncio.Event()
        self._failing_back: asyncio.Task[None] | None = None

    def channel(self) -> aio.Channel:
        """Give the channel; the first use opens it and begins to follow the topology.

        Raises:
            RuntimeError: The client is closed, or no event loop runs.
        """
        if self._channel is None:
            if self.closed:
                raise RuntimeError("this client is closed")
            loop = asyncio.get_running_loop()
            self._channel = aio.insecure_channel(self.endpoint, options=CHANNEL_OPTIONS)
            self.topology = Topology(self._channel, self._changed.set)
            self._failing_back = loop.create_task(self._fail_back())
        return self._channel

    def pipeline(self, wish: Wish) -> Pipeline:
        """Give the pipeline for a wish; the first use makes it.

        Raises:
            RuntimeError: The client is closed.
        """
        found = self._pipelines.get(wish)
        if found is None:
            start = items_pb2_grpc.ItemsStub(self.channel()).Pipeline
            metadata = wish.metadata(failover=self.failover)
            found = Pipeline(lambda: start(metadata=metadata), self.endpoint, self._changed.set)
            self._pipelines[wish] = found
        return found

    def served_by(self, wish: Wish) -> str | None:
        """Name the region that serves a wish now; None when not known."""
        found = self._pipelines.get(wish)
        return None if found is None else found.served_by

    async def call(
        self, wish: Wish, operation: str, body: bytes, repeat: Repeat, least_s: float = 0.0
    ) -> bytes:
        """Make one call, and repeat it where that is safe.

        Args:
            wish: About the region.
            operation: DynamoDB's name of the operation.
            body: The request in DynamoDB's JSON.
            repeat: What may be repeated.
            least_s: Least time to wait, when the client's own is shorter.

        Returns:
            The response in DynamoDB's JSON.

        Raises:
            AntipodesError: As the node answered, or because it did not.
            RuntimeError: The client is closed.
        """
        pipeline = self._pipelines.get(wish) or self.pipeline(wish)
        clock = asyncio.get_running_loop().time
        deadline = clock() + max(self.timeout_s, least_s)
        try:
            return await pipeline.submit(operation, body, deadline)
        except AntipodesError as error:
            if not may_repeat(error, repeat):
                raise
            first = error
        return await repeat_call(
            lambda: pipeline.submit(operation, body, deadline), first, repeat,
            attempts_max=self.attempts_max, deadline=deadline, clock=clock,
        )  # fmt: skip

    async def keys_of(self, wish: Wish, table: str) -> KeyNames:
        """Give the names of a table's key attributes; asks once.

        Raises:
            ResourceNotFoundException: No such table.
        """
        found = self.key_names.get(table)
        if found is not None:
            return found
        async with self._describing:
            if table not in self.key_names:
                body = orjson.dumps({"TableName": table})
                answer = await self.call(wish, "DescribeTable", body, Repeat.READ)
                description = TableDescription.from_json(orjson.loads(answer)["Table"])
                self.key_names[table] = description.key
            return self.key_names[table]

    async def wait_for_topology(self) -> Topology:
        """Give the topology once it is known, or known to be absent.

        Raises:
            ServiceUnavailable: Nothing answers within the timeout.
        """
        self.channel()
        assert self.topology is not None
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.topology.known()
        except TimeoutError:
            raise unreachable(self.endpoint) from None
        return self.topology

    async def locate(self, wish: Wish) -> list[Region]:
        """Ask the router for the order of the regions; empty straight at a node.

        Raises:
            ValidationException: There is no region of that name.
            ServiceUnavailable: Nothing answers.
        """
        request = router_pb2.LocateRequest(region=wish.region or "")
        if wish.near is not None:
            request.coordinates.latitude, request.coordinates.longitude = wish.near
        if not (await self.wait_for_topology()).regions:
            return []
        locate: Any = router_pb2_grpc.RouterStub(self.channel()).Locate
        response = await self.unary(lambda timeout_s: locate(request, timeout=timeout_s))
        return [Region.from_message(region) for region in response.regions]

    async def unary(self, start: Callable[[float], Awaitable[_Answer]]) -> _Answer:
        """Make a call that only reads, outside of the pipeline.

        Args:
            start: Starts it, with seconds to wait.

        Raises:
            AntipodesError: As answered.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.timeout_s

        async def attempt() -> _Answer:
            try:
                return await start(max(0.001, deadline - clock()))
            except aio.AioRpcError as error:
                known = wire_errors.from_call(error)
                if isinstance(known, ServiceUnavailable | RequestTimeout):
                    known = unreachable(self.endpoint)
                raise known from error

        try:
            return await attempt()
        except AntipodesError as error:
            if not may_repeat(error, Repeat.READ):
                raise
            first = error
        return await repeat_call(
            attempt, first, Repeat.READ,
            attempts_max=self.attempts_max, deadline=deadline, clock=clock,
        )  # fmt: skip

    async def close(self) -> None:
        """Close everything; a second time nothing happens."""
        self.closed = True
        tasks = [] if self._failing_back is None else [self._failing_back]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.topology is not None:
            await self.topology.close()
        for pipeline in self._pipelines.values():
            await pipeline.close()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _fail_back(self) -> None:
        """Move pipelines back to the region they prefer when it is available again."""
        moved: dict[Wish, int] = {}
        while True:
            await self._changed.wait()
            self._changed.clear()
            topology = self.topology
            if topology is None or not self.failover:
                continue
            for wish, pipeline in list(self._pipelines.items()):
                # One move for each change: should the router disagree, there is no ping-pong.
                if pipeline.served_by is None or moved.get(wish, 0) >= topology.generation:
                    continue
                preferred = await self._preferred(wish, topology)
                if preferred is not None and pipeline.served_by not in (None, preferred):
                    moved[wish] = topology.generation
                    pipeline.move()

    async def _preferred(self, wish: Wish, topology: Topology) -> str | None:
        """Name the region that should serve a wish now; None when that is not known."""
        name = wish.region
        if name is None and wish.near is not None:
            name = topology.nearest(wish.near)
        elif name is None:
            try:
                locate: Any = router_pb2_grpc.RouterStub(self.channel()).Locate
                response = await locate(router_pb2.LocateRequest(), timeout=self.timeout_s)
            except aio.AioRpcError:
                return None
            name = response.regions[0].region if response.regions else None
        return name if name is not None and topology.available(name) else None
