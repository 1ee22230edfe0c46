"""Asks each region's node how it is, and tells the topology."""

import asyncio
import contextlib
from collections.abc import Callable

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health_pb2

from antipodes.v1 import admin_pb2, admin_pb2_grpc
from antipodes_router.topology import Topology
from antipodes_router.upstream import Upstream

log = structlog.get_logger()

MISSES_BEFORE_CUT = 2
"""Unanswered checks in a row that break the calls in flight. One is enough to send new calls
elsewhere, which costs little when it was a mistake; breaking calls costs more."""


def connection_problem(error: aio.AioRpcError) -> str:
    """Shorten gRPC's account of why it could not connect."""
    details = error.details() or error.code().name
    return details.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")


class Prober:
    """Keeps the topology up to date about one region.

    Args:
        upstream: The connection to the region's node.
        topology: Told what was seen.
        interval_ms: Pause between two health checks.
        timeout_ms: How long a check may take.
        catch_up_interval_ms: Pause while the node is healthy but gets no traffic yet.
        now_ms: Monotonic time.
    """

    def __init__(
        self,
        upstream: Upstream,
        topology: Topology,
        *,
        interval_ms: float,
        timeout_ms: float,
        catch_up_interval_ms: float,
        now_ms: Callable[[], float],
    ) -> None:
        self._upstream = upstream
        self._topology = topology
        self._interval_ms = interval_ms
        self._timeout_ms = timeout_ms
        self._catch_up_interval_ms = min(interval_ms, catch_up_interval_ms)
        self._now_ms = now_ms
        self._health = upstream.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        self._admin = admin_pb2_grpc.AdminStub(upstream.channel)
        self._wake = asyncio.Event()
        self._misses = 0

    async def run(self) -> None:
        """Check until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_connection())
            while True:
                self._wake.clear()
                await self._check()
                # Not wait_for: in Python 3.11 it loses a cancellation that comes with a wake-up.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_ms() / 1000):
                        await self._wake.wait()

    def suspect(self) -> None:
        """Check at once: a call failed in a way that may be the node's end."""
        if not self._upstream.connected():
            self.connection_lost()
        self._wake.set()

    def connection_lost(self) -> None:
        """Take the region out, and check at once whether it can be reached again."""
        view = self._topology.view(self._upstream.region)
        if view is not None and view.healthy:
            self._topology.failed(
                self._upstream.region, "the connection to its node broke", self._now_ms()
            )
        self._wake.set()

    def _pause_ms(self) -> float:
        if 0 < self._misses < MISSES_BEFORE_CUT:
            return 0
        view = self._topology.view(self._upstream.region)
        catching_up = view is not None and view.healthy and not view.available
        return self._catch_up_interval_ms if catching_up else self._interval_ms

    async def _watch_connection(self) -> None:
        """Notice a broken connection when it breaks: a node may restart between two checks."""
        channel = self._upstream.channel
        state = channel.get_state()
        while True:
            await channel.wait_for_state_change(state)
            was, state = state, channel.get_state()
            if was is grpc.ChannelConnectivity.READY:
                self.connection_lost()

    async def _check(self) -> None:
        region = self._upstream.region
        view = self._topology.view(region)
        try:
            trip_ms = await self._ask_health()
            if view is not None and not view.healthy:
                trip_ms = await self._ask_health()  # The first one paid for connecting.
        except _NotServing as refusal:
            self._misses = 0
            self._topology.failed(region, str(refusal), self._now_ms())
            return
        except aio.AioRpcError as error:
            self._note_failure(error)
            return
        self._misses = 0
        self._topology.answered(region, trip_ms, self._now_ms())
        view = self._topology.view(region)
        if view is not None and not view.available:
            await self._ask_status()

    async def _ask_health(self) -> float:
        """Measure the round trip of one health check, in milliseconds."""
        started_ms = self._now_ms()
        answer = await self._health(
            health_pb2.HealthCheckRequest(), timeout=self._timeout_ms / 1000
        )
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            raise _NotServing(f"its health check says {status}")
        return self._now_ms() - started_ms

    def _note_failure(self, error: aio.AioRpcError) -> None:
        region = self._upstream.region
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            self._misses = 0
            self._topology.failed(region, connection_problem(error), self._now_ms())
            return
        self._misses += 1
        reason = f"no answer to a health check within {self._timeout_ms:g} ms"
        self._topology.failed(region, reason, self._now_ms())
        if self._misses == MISSES_BEFORE_CUT:
            if self._upstream.live:
                log.warning("calls_cut", region=region, calls=len(self._upstream.live))
            self._upstream.cut()

    async def _ask_status(self) -> None:
        region = self._upstream.region
        try:
            status = await self._admin.GetStatus(
                admin_pb2.GetStatusRequest(), timeout=self._timeout_ms / 1000
            )
        except aio.AioRpcError as error:
            problem = f"its status is not known: {connection_problem(error)}"
            self._topology.reported(region, None, self._now_ms(), problem)
        else:
            self._topology.reported(region, status, self._now_ms())


class _NotServing(Exception):
    """The node answered, and asks for no traffic."""
