"""The router against nodes that are faked: real gRPC on both sides, no storage behind."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from antipodes.cli import exits
from antipodes.cli.process import RefusedToStart
from antipodes.core.regions import Coordinates
from antipodes.v1 import admin_pb2, router_pb2, router_pb2_grpc
from antipodes_router.app import RouterApp, now_ms
from antipodes_router.probing import Prober
from antipodes_router.settings import RouterSettings
from antipodes_router.topology import Place, Snapshot, Topology
from antipodes_router.upstream import Upstream

pytestmark = pytest.mark.integration

GET, PUT = "/antipodes.v1.Items/GetItem", "/antipodes.v1.Items/PutItem"
PIPELINE = "/antipodes.v1.Items/Pipeline"
SUBSCRIBE = "/antipodes.v1.Streams/Subscribe"
STATUS = "/antipodes.v1.Admin/GetStatus"
HEALTH = "/grpc.health.v1.Health/Check"

US, EU, ASIA = "us-east-1", "eu-west-1", "ap-south-1"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

BYTES = bytes(range(256))  # Neither UTF-8 nor a protobuf message.

Pairs = tuple[tuple[str, str | bytes], ...]
Context = aio.ServicerContext[bytes, bytes]
Behaviour = Callable[[bytes, Context], Awaitable[bytes]]


def link(peer: str, *, synced: bool, state: Any = admin_pb2.LINK_STATE_CATCHING_UP) -> Any:
    return admin_pb2.LinkStatus(peer_region=peer, synced=synced, state=state)


class Node(grpc.GenericRpcHandler):
    """A node that answers what the test tells it to; by default its region's name."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.port = 0
        self.health: int = SERVING
        self.frozen = asyncio.Event()
        self.frozen.set()
        self.deaf = False
        self.checks = 0
        self.status = admin_pb2.GetStatusResponse(cluster_id="c1", region=region)
        self.behaviours: dict[str, Behaviour] = {}
        self.seen: list[tuple[str, bytes, dict[str, str | bytes]]] = []
        self.entered = asyncio.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.timeouts: list[float | None] = []
        self._server: aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, method: str) -> int:
        return sum(seen[0] == method for seen in self.seen)

    async def start(self) -> "Node":
        self._server = aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 << 20)]
        )
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    def service(self, handler_call_details: Any) -> Any:
        method: str = handler_call_details.method
        if method in (PIPELINE, SUBSCRIBE, "/future.v9.Service/Unheard"):

            async def stream(_: object, context: Context) -> None:
                await self._echo(method, context)

            return grpc.stream_stream_rpc_method_handler(cast("Any", stream))

        async def unary(request: bytes, context: Context) -> bytes:
            return await self._answer(method, request, context)

        return grpc.unary_unary_rpc_method_handler(cast("Any", unary))

    async def _answer(self, method: str, request: bytes, context: Context) -> bytes:
        if method == HEALTH:
            self.checks += 1
            await self.frozen.wait()
            answer = health_pb2.HealthCheckResponse(status=cast("Any", self.health))
            return cast("bytes", answer.SerializeToString())
        if method == STATUS:
            return self.status.SerializeToString()
        self.timeouts.append(context.time_remaining())
        self._note(method, request, context)
        if behaviour := self.behaviours.get(method):
            return await behaviour(request, context)
        return self.region.encode()

    async def _echo(self, method: str, context: Context) -> None:
        self._note(method, b"", context)
        await context.send_initial_metadata((("opened-by", self.region),))
        try:
            if self.deaf:
                await asyncio.Event().wait()
            while (message := cast("object", await context.read())) is not aio.EOF:
                await context.write(cast("bytes", message) + b"!")
            context.set_trailing_metadata((("closed-by", self.region),))
            self.ended.put_nowait("half-closed")
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise

    def _note(self, method: str, request: bytes, context: Context) -> None:
        pairs = cast("Pairs", context.invocation_metadata())
        self.seen.append((method, request, dict(pairs)))
        self.entered.set()


class Router:
    """A running router and a client of it."""

    def __init__(self, app: RouterApp) -> None:
        self.app = app
        self.channel = aio.insecure_channel(
            f"127.0.0.1:{app.port}", options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        self.stub = cast("Any", router_pb2_grpc.RouterStub(self.channel))

    def call(
        self, method: str, request: bytes = b"", timeout_s: float = 5, **metadata: Any
    ) -> "aio.UnaryUnaryCall[bytes, bytes]":
        pairs = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        callable_: Any = self.channel.unary_unary(method)
        call: aio.UnaryUnaryCall[bytes, bytes] = callable_(
            request, timeout=timeout_s, metadata=pairs
        )
        return call

    def stream(self, method: str, metadata: Pairs = ()) -> "aio.StreamStreamCall[bytes, bytes]":
        callable_: Any = self.channel.stream_stream(method)
        call: aio.StreamStreamCall[bytes, bytes] = callable_(timeout=5, metadata=metadata)
        return call

    async def until(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        async with asyncio.timeout(5):
            async for snapshot in self.app.topology.watch():
                if condition(snapshot):
                    return snapshot
        raise AssertionError("the watch ended")

    async def available(self, *names: str) -> Snapshot:
        wanted = set(names)
        return await self.until(
            lambda snapshot: wanted == {v.region for v in snapshot.regions if v.available}
        )


@asynccontextmanager
async def routing(*nodes: Node, wait: bool = True, **settings: Any) -> AsyncIterator[Router]:
    quick = {"health_interval_ms": 20, "catch_up_interval_ms": 10, "drain_ms": 50}
    app = RouterApp(
        RouterSettings.load(
            {
                "listen": "127.0.0.1:0",
                "region": {node.region: node.address for node in nodes},
                **quick,
                **settings,
            },
            environ={},
        )
    )
    await app.start()
    router = Router(app)
    try:
        if wait:
            await router.available(*(node.region for node in nodes))
        yield router
    finally:
        await router.channel.close()
        await app.stop()


@pytest.fixture
async def nodes() -> AsyncIterator[Callable[..., Awaitable[list[Node]]]]:
    async with AsyncExitStack() as stack:

        async def start(*regions: str) -> list[Node]:
            started = [await Node(region).start() for region in regions]
            for node in started:
                stack.push_async_callback(node.stop)
            return started

        yield start


Start = Callable[..., Awaitable[list[Node]]]


async def refusal(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


async def initial(call: Any) -> dict[str, str | bytes]:
    return dict(await call.initial_metadata())


# Passing through


async def test_unary_call_passes_unchanged(nodes: Start) -> None:
    (us,) = await nodes(US)

    async def answer(request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("early", "1"), ("early-bin", BYTES)))
        context.set_trailing_metadata((("late", "2"), ("late-bin", BYTES)))
        return request[::-1]

    us.behaviours[PUT] = answer
    async with routing(us) as router:
        call = router.call(PUT, BYTES, traceparent="t1", antipodes_region=US)
        assert await call == BYTES[::-1]
        assert await initial(call) == {
            "early": "1", "early-bin": BYTES, "antipodes-served-by": US,
        }  # fmt: skip
        assert dict(await call.trailing_metadata()) == {"late": "2", "late-bin": BYTES}
    method, request, metadata = us.seen[0]
    assert (method, request, metadata["traceparent"]) == (PUT, BYTES, "t1")
    assert us.timeouts[0] is not None
    assert 0 < us.timeouts[0] <= 5.1  # gRPC rounds up at each hop.


async def test_status_with_details_passes_unchanged(nodes: Start) -> None:
    (us,) = await nodes(US)
    info = error_details_pb2.ErrorInfo(reason="ValidationException")
    rich = status_pb2.Status(code=StatusCode.INVALID_ARGUMENT.value[0], message="größer als 1")
    rich.details.add().Pack(info)
    details = rich.SerializeToString()

    async def refuse(_: bytes, context: Context) -> bytes:
        await context.abort(
            StatusCode.INVALID_ARGUMENT, "größer als 1", (("grpc-status-details-bin", details),)
        )

    us.behaviours[PUT] = refuse
    async with routing(us) as router:
        call = router.call(PUT)
        error = await refusal(call)
        assert (error.code(), error.details()) == (StatusCode.INVALID_ARGUMENT, "größer als 1")
        assert dict(error.trailing_metadata()) == {"grpc-status-details-bin": details}
        assert (await initial(call))["antipodes-served-by"] == US


@pytest.mark.parametrize("method", [PIPELINE, "/future.v9.Service/Unheard"])
async def test_stream_passes_in_both_directions(nodes: Start, method: str) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        call = router.stream(method)
        # The node speaks first: nothing may wait for the client's first message.
        assert await initial(call) == {"opened-by": US, "antipodes-served-by": US}
        for message in (BYTES, b"", b"x" * 20_000_000):
            await call.write(message)
            assert await call.read() == message + b"!"
        await call.done_writing()
        assert await call.read() is aio.EOF
        assert dict(await call.trailing_metadata()) == {"closed-by": US}
        assert await us.ended.get() == "half-closed"


async def test_stream_when_client_cancels_is_cancelled_at_the_node(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.deaf = True
    async with routing(us) as router:
        call = router.stream(PIPELINE)
        await initial(call)
        call.cancel()
        assert await asyncio.wait_for(us.ended.get(), 5) == "cancelled"


async def test_unary_call_when_client_cancels_is_cancelled_at_the_node(nodes: Start) -> None:
    (us,) = await nodes(US)

    async def hang(_: bytes, context: Context) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            us.ended.put_nowait("ended")
        return b""

    us.behaviours[PUT] = hang
    async with routing(us) as router:
        call = router.call(PUT)
        await us.entered.wait()
        call.cancel()
        assert await asyncio.wait_for(us.ended.get(), 5) == "ended"
        deadline = router.call(PUT, timeout_s=0.1)
        assert (await refusal(deadline)).code() is StatusCode.DEADLINE_EXCEEDED
        assert await asyncio.wait_for(us.ended.get(), 5) == "ended"


async def test_reflection_names_the_services_of_router_and_nodes(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        stub = cast("Any", reflection_pb2_grpc).ServerReflectionStub(router.channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {s.name for s in (await call.read()).list_services_response.service}
        await call.done_writing()
        assert await call.read() is aio.EOF
    assert names >= {f"antipodes.v1.{s}" for s in ("Router", "Items", "Tables", "Streams", "Admin")}


async def test_unknown_method_of_the_router_is_not_passed_on(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        error = await refusal(router.call("/antipodes.v1.Router/Nonsense"))
    assert error.code() is StatusCode.UNIMPLEMENTED
    assert not us.seen


# Choosing a region


async def test_named_region_serves(nodes: Start) -> None:
    async with routing(*await nodes(US, EU, ASIA)) as router:
        for region in (US, EU, ASIA):
            call = router.call(GET, antipodes_region=region)
            assert await call == region.encode()
            assert (await initial(call))["antipodes-served-by"] == region


async def test_nearest_region_serves(nodes: Start) -> None:
    async with routing(*await nodes(US, EU, ASIA)) as router:
        assert await router.call(GET, antipodes_near="48.9,2.4") == EU.encode()
        assert await router.call(GET, antipodes_near="28.6, 77.2") == ASIA.encode()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("antipodes_region", "mars-1", "no region 'mars-1'; known are: eu-west-1, us-east-1"),
        ("antipodes_near", "here", "antipodes-near: 'here' is not of the form"),
        ("antipodes_near", "91,0", "latitude 91"),
        ("antipodes_failover", "maybe", "'maybe' is not 'never'"),
    ],
)
async def test_malformed_metadata_is_refused(
    nodes: Start, key: str, value: str, words: str
) -> None:
    async with routing(*await nodes(US, EU)) as router:
        for error in (
            await refusal(router.call(GET, b"", 5, **{key: value})),
            await refusal(router.stream(PIPELINE, ((key.replace("_", "-"), value),)).read()),
        ):
            assert error.code() is StatusCode.INVALID_ARGUMENT
            assert words in str(error.details())


# Failing over


async def test_write_when_port_is_dead_goes_to_the_next_nearest(nodes: Start) -> None:
    us, eu, asia = await nodes(US, EU, ASIA)
    async with routing(us, eu, asia) as router:
        await us.stop()
        await router.available(EU, ASIA)
        assert await router.call(PUT, antipodes_region=US) == EU.encode()
        call = router.stream(PIPELINE, (("antipodes-region", US),))
        assert (await initial(call))["antipodes-served-by"] == EU
        call.cancel()


async def test_broken_connection_is_noticed_without_waiting_for_a_check(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu, health_interval_ms=60_000, catch_up_interval_ms=60_000) as router:
        await us.stop()
        snapshot = await router.available(EU)
        assert "us-east-1" in [v.region for v in snapshot.regions if not v.healthy]


async def test_region_that_asks_for_no_traffic_gets_none_and_keeps_its_calls(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        pipeline = router.stream(PIPELINE, (("antipodes-region", US),))
        await pipeline.write(b"a")
        assert await pipeline.read() == b"a!"
        us.health = NOT_SERVING
        snapshot = await router.available(EU)
        assert "NOT_SERVING" in snapshot.regions[1].reason
        assert await router.call(PUT, antipodes_region=US) == EU.encode()
        await pipeline.write(b"b")
        assert await pipeline.read() == b"b!"
        pipeline.cancel()


async def break_while(node: Node, call: "aio.UnaryUnaryCall[bytes, bytes]") -> None:
    await node.entered.wait()
    assert not call.done()
    await node.stop()


async def hang(_: bytes, context: Context) -> bytes:
    await asyncio.Event().wait()
    return b""


async def test_write_when_connection_breaks_under_way_is_not_repeated(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.behaviours[PUT] = hang
    async with routing(us, eu) as router:
        call = router.call(PUT, antipodes_region=US)
        await break_while(us, call)
        assert (await refusal(call)).code() is StatusCode.UNAVAILABLE
        assert eu.count(PUT) == 0
        assert await router.call(PUT, antipodes_region=US) == EU.encode()


async def test_read_when_connection_breaks_under_way_is_asked_elsewhere(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.behaviours[GET] = hang
    async with routing(us, eu) as router:
        call = router.call(GET, antipodes_region=US)
        await break_while(us, call)
        assert await call == EU.encode()


async def test_unavailable_that_the_node_says_itself_reaches_the_client(nodes: Start) -> None:
    us, eu = await nodes(US, EU)

    async def refuse(_: bytes, context: Context) -> bytes:
        # The words that gRPC uses for a connection that could not be made.
        await context.abort(StatusCode.UNAVAILABLE, "failed to connect to all addresses")

    us.behaviours[PUT] = refuse
    async with routing(us, eu) as router:
        error = await refusal(router.call(PUT, antipodes_region=US))
        assert error.details() == "failed to connect to all addresses"
        assert (eu.count(PUT), us.count(PUT)) == (0, 1)


async def test_stream_when_connection_breaks_ends_unavailable(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        call = router.stream(SUBSCRIBE, (("antipodes-region", US),))
        await initial(call)
        await us.stop()
        async with asyncio.timeout(1):
            assert (await refusal(call.read())).code() is StatusCode.UNAVAILABLE


async def test_frozen_node_loses_its_traffic_and_its_calls(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.behaviours[PUT] = us.behaviours[GET] = hang
    async with routing(us, eu, health_timeout_ms=100) as router:
        stream = router.stream(PIPELINE, (("antipodes-region", US),))
        await initial(stream)
        write = router.call(PUT, antipodes_region=US)
        read = router.call(GET, antipodes_region=US)
        us.frozen.clear()
        await router.available(EU)
        for call in (stream.read(), write):
            error = await refusal(call)
            assert error.code() is StatusCode.UNAVAILABLE
            assert error.details() == "region us-east-1 stopped answering"
        assert await read == EU.encode()
        assert eu.count(PUT) == 0
        us.frozen.set()
        await router.available(US, EU)


async def test_failover_never_names_the_region_and_why(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        pinned: dict[str, Any] = {"antipodes_region": US, "antipodes_failover": "never"}
        assert await router.call(PUT, **pinned) == US.encode()
        us.health = NOT_SERVING
        await router.available(EU)
        error = await refusal(router.call(GET, **pinned))
        assert error.code() is StatusCode.UNAVAILABLE
        assert "region us-east-1 is not available (its health check says NOT_SERVING)" in str(
            error.details()
        )
        status = admin_pb2.GetStatusResponse.FromString(await router.call(STATUS, **pinned))
        assert status.region == US
        await us.stop()
        await router.until(lambda s: "refused" in s.regions[1].reason)
        assert "refused" in str((await refusal(router.call(STATUS, **pinned))).details())


async def test_without_any_region_the_client_hears_why(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        health = cast("Any", health_pb2_grpc).HealthStub(router.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        us.health = NOT_SERVING
        await eu.stop()
        await router.available()
        error = await refusal(router.call(GET))
        assert error.code() is StatusCode.UNAVAILABLE
        assert str(error.details()).startswith("no region is available: eu-west-1: ")
        assert ("antipodes-refused", "true") in tuple(error.trailing_metadata())
        assert "us-east-1: its health check says NOT_SERVING" in str(error.details())
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()


# Coming back


async def test_region_that_comes_back_gets_traffic_only_when_caught_up(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        await us.stop()
        await router.available(EU)
        us.status.links.append(link(EU, synced=False))
        await us.start()
        await router.until(lambda s: s.regions[1].healthy)
        assert await router.call(GET, antipodes_region=US) == EU.encode()
        snapshot = await router.until(lambda s: s.regions[1].reason.startswith("catching up"))
        assert snapshot.regions[1].reason == "catching up with eu-west-1"
        us.status.links[0].synced = True
        await router.available(US, EU)
        assert await router.call(GET, antipodes_region=US) == US.encode()
        us.status.links[0].synced = False  # Later lag does not take it out.
        checks = us.checks
        while us.checks < checks + 3:
            await router.call(GET, antipodes_region=EU)
        assert await router.call(GET, antipodes_region=US) == US.encode()


async def test_links_to_dead_or_paused_peers_do_not_hold_a_region_back(nodes: Start) -> None:
    us, eu, asia = await nodes(US, EU, ASIA)
    await asia.stop()
    us.status.links.extend(
        [
            link(EU, synced=False, state=admin_pb2.LINK_STATE_PAUSED),
            link(ASIA, synced=False),
            link("unknown-1", synced=False),
        ]
    )
    async with routing(us, eu, asia, wait=False) as router:
        await router.available(US, EU)


async def test_region_that_refuses_writes_waits(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.status.writes_refused = "disk full"
    async with routing(us, eu, wait=False) as router:
        await router.available(EU)
        await router.until(lambda s: s.regions[1].reason == "it refuses writes: disk full")
        us.status.writes_refused = ""
        await router.available(US, EU)


async def test_regions_that_all_wait_get_traffic_in_the_end(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.status.links.append(link(EU, synced=False))
    eu.status.links.append(link(US, synced=False))
    async with routing(us, eu, wait=False, catch_up_wait_ms=100) as router:
        await router.until(lambda s: all(v.healthy for v in s.regions))
        assert (await refusal(router.call(GET))).code() is StatusCode.UNAVAILABLE
        await router.available(US, EU)


async def test_node_of_another_cluster_gets_no_traffic(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.status.cluster_id = "c2"
    async with routing(us, eu, wait=False, cluster_id="c1", catch_up_wait_ms=0) as router:
        snapshot = await router.until(
            lambda s: s.regions[0].available and "cluster" in s.regions[1].reason
        )
        assert "'c2'" in snapshot.regions[1].reason
        assert "'c1'" in snapshot.regions[1].reason
        assert await router.call(GET, antipodes_region=US) == EU.encode()


async def test_node_of_another_region_gets_no_traffic(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.status.region = EU
    async with routing(us, eu, wait=False) as router:
        await router.until(lambda s: "serves region eu-west-1" in s.regions[1].reason)


# The router's own service


async def test_watch_pushes_the_state_and_each_change(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        watch = router.stub.WatchTopology(router_pb2.WatchTopologyRequest())
        first = await watch.read()
        assert [(r.region, r.healthy, r.available, r.reason) for r in first.regions] == [
            (EU, True, True, ""), (US, True, True, ""),
        ]  # fmt: skip
        assert first.regions[1].address == us.address
        us.health = NOT_SERVING
        second = await asyncio.wait_for(watch.read(), 5)
        assert second.generation > first.generation
        assert not second.regions[1].healthy
        assert second.regions[1].round_trip_ms < 0 <= second.regions[0].round_trip_ms
        await router.app.stop()
        error = await refusal(watch.read())
        assert (error.code(), error.details()) == (
            StatusCode.UNAVAILABLE, "this router is stopping",
        )  # fmt: skip


async def test_locate_orders_the_regions(nodes: Start) -> None:
    us, eu, asia = await nodes(US, EU, ASIA)
    async with routing(us, eu, asia) as router:

        async def locate(**request: Any) -> list[Any]:
            answer = await router.stub.Locate(router_pb2.LocateRequest(**request))
            return list(answer.regions)

        def names(regions: list[Any]) -> list[str]:
            return [r.region for r in regions]

        paris = router_pb2.Coordinates(latitude=48.9, longitude=2.4)
        near = await locate(coordinates=paris)
        assert names(near) == [EU, US, ASIA]
        assert 700 < near[0].distance_km < 900
        assert names(await locate(region=ASIA)) == [ASIA, EU, US]
        measured = await locate(measured_ms={US: 1, ASIA: 2, EU: 3})
        assert names(measured) == [US, ASIA, EU]
        assert measured[0].distance_km < 0
        assert sorted(names(await locate())) == [ASIA, EU, US]
        await eu.stop()
        await router.available(US, ASIA)
        gone = await locate(coordinates=paris)
        assert names(gone) == [US, ASIA, EU]
        assert gone[2].reason
        for wrong in (
            router_pb2.LocateRequest(region="mars-1"),
            router_pb2.LocateRequest(coordinates=router_pb2.Coordinates(latitude=91)),
        ):
            error = await refusal(router.stub.Locate(wrong))
            assert error.code() is StatusCode.INVALID_ARGUMENT


async def test_two_routers_side_by_side_agree(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as one, routing(us, eu) as other:
        await us.stop()
        for router in (one, other):
            await router.available(EU)
            assert await router.call(PUT, antipodes_region=US) == EU.encode()
        await us.start()
        for router in (one, other):
            await router.available(US, EU)
            assert await router.call(PUT, antipodes_region=US) == US.encode()


# Starting and stopping


async def test_taken_port_refuses_to_start(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        with pytest.raises(RefusedToStart) as caught:
            async with routing(us, listen=f"127.0.0.1:{router.app.port}"):
                pass
        assert f"port {router.app.port}" in caught.value.problem
        assert "--listen" in caught.value.remedy


async def test_stop_lets_calls_in_flight_finish(nodes: Start) -> None:
    (us,) = await nodes(US)
    release = asyncio.Event()

    async def wait(_: bytes, context: Context) -> bytes:
        await release.wait()
        return b"done"

    us.behaviours[PUT] = wait
    async with routing(us, drain_ms=2000) as router:
        call = router.call(PUT)
        await us.entered.wait()
        stopping = asyncio.create_task(router.app.stop())
        async for _ in router.app.topology.watch():
            pass  # Ends when the router has begun to stop.
        release.set()
        assert await call == b"done"
        await stopping


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, ["no region is given", "--region us-east-1=127.0.0.1:7401"]),
        ({"region": ("us-east-1",)}, ["not of the form NAME=VALUE"]),
        ({"region": ("US=127.0.0.1:1",)}, ["'US' cannot be a region's name"]),
        ({"region": ("us-east-1=127.0.0.1",)}, ["not of the form HOST:PORT"]),
        ({"region": ("us-east-1=h:70000",)}, ["port 70000"]),
        ({"region": ("us-east-1=h:1", "eu-west-1=h:1")}, ["the same address h:1"]),
        ({"region": ("lab-1=h:1",)}, ["add --coordinates lab-1=LATITUDE/LONGITUDE"]),
        (
            {"region": ("lab-1=h:1",), "coordinates": ("lab-1=99/0",), "listen": "x"},
            ["lab-1: latitude 99", "'x' is not of the form HOST:PORT"],
        ),
    ],
)
def test_wrong_settings_are_refused_with_all_problems(
    flags: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(RefusedToStart) as caught:
        RouterSettings.load(flags, environ={})
    for part in words:
        assert part in caught.value.problem


def test_settings_come_from_flags_and_environment() -> None:
    settings = RouterSettings.load(
        {"coordinates": ("lab-1=1.5/-2",)},
        environ={"ANTIPODES_ROUTER_REGION": "us-east-1=h:2,lab-1=[::1]:1"},
    )
    assert settings.region == {"lab-1": "[::1]:1", "us-east-1": "h:2"}
    assert settings.place_of("lab-1") == (1.5, -2)
    assert settings.place_of(US) == (38.95, -77.45)


async def test_process_serves_and_exits_with_the_right_status(nodes: Start) -> None:
    (us,) = await nodes(US)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def launch() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "antipodes_router", "--listen", f"127.0.0.1:{port}",
                "--region", f"{US}={us.address}", "--log-format", "json",
                stderr=asyncio.subprocess.PIPE, env=dict(os.environ),
            )  # fmt: skip

        refused = await launch()
        _, text = await refused.communicate()
        assert refused.returncode == exits.NOT_STARTED
        assert f"cannot listen on port {port}".encode() in text
    process = await launch()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        callable_: Any = channel.unary_unary(GET)
        assert process.stderr is not None
        async with asyncio.timeout(10):
            while b"region_available" not in await process.stderr.readline():
                assert process.returncode is None
        assert await callable_(b"", timeout=5, wait_for_ready=True) == US.encode()
    process.send_signal(signal.SIGTERM)
    _, text = await process.communicate()
    assert process.returncode == exits.OK
    assert b"router_stopped" in text


@pytest.mark.parametrize("turns", range(4))
async def test_prober_that_is_woken_and_cancelled_at_once_ends(nodes: Start, turns: int) -> None:
    (us,) = await nodes(US)
    upstream = Upstream(US, us.address)
    topology = Topology({US: Place(us.address, Coordinates(0, 0))})
    prober = Prober(
        upstream, topology, interval_ms=60_000, timeout_ms=1000, catch_up_interval_ms=60_000,
        now_ms=now_ms,
    )  # fmt: skip
    run = asyncio.create_task(prober.run())
    async with asyncio.timeout(5):
        async for snapshot in topology.watch():
            if snapshot.regions[0].available:
                break
    prober.suspect()  # A node dies at the moment at which the router stops.
    for _ in range(turns):
        await asyncio.sleep(0)
    run.cancel()
    await asyncio.wait((run,), timeout=5)
    assert run.cancelled()
    await upstream.channel.close()
