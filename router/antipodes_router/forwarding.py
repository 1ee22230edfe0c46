"""Passes calls on to a region as raw bytes, and to another region when the first is gone.

A call is only ever started on an established connection. When there is none, the node provably has
not seen the call, and the next region gets it. Once it was started, only the node knows how far it
came: a method that only reads is asked again elsewhere, for any other the client hears UNAVAILABLE
and decides. What gRPC says in a status is no proof either way: a node may answer UNAVAILABLE too.

The methods of the contract that have one request and one response take a shorter way through gRPC
than streams do; on the wire it is the same. Everything else, known or not, passes as two streams of
bytes; a stream is not moved, since its client must see the break.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc import StatusCode, aio

from antipodes.v1 import admin_pb2, items_pb2, streams_pb2, tables_pb2
from antipodes_router.routing import RegionView, Wish, order_regions, parse_coordinates
from antipodes_router.topology import Topology
from antipodes_router.upstream import Upstream

log = structlog.get_logger()

REGION_KEY = "antipodes-region"
NEAR_KEY = "antipodes-near"
FAILOVER_KEY = "antipodes-failover"
SERVED_BY_KEY = "antipodes-served-by"
REFUSED_KEY = "antipodes-refused"

FAILOVER_NEVER = "never"

NODE_SERVICES: tuple[ServiceDescriptor, ...] = (
    items_pb2.DESCRIPTOR.services_by_name["Items"],
    tables_pb2.DESCRIPTOR.services_by_name["Tables"],
    streams_pb2.DESCRIPTOR.services_by_name["Streams"],
    admin_pb2.DESCRIPTOR.services_by_name["Admin"],
)

_METHODS = {
    f"/{service.full_name}/{method.name}": method
    for service in NODE_SERVICES
    for method in service.methods
}

METHODS = frozenset(_METHODS)

UNARY = frozenset(
    name for name, m in _METHODS.items() if not (m.client_streaming or m.server_streaming)
)

ONE_REQUEST = frozenset(name for name, m in _METHODS.items() if not m.client_streaming)

HALF_CLOSE_LINGER_S = 0.01
"""Measured: gRPC reports that a client vanished 1 ms after its stream seems to have ended, later
under load."""

READS = frozenset(
    "/antipodes.v1." + name
    for name in (
        "Items/GetItem", "Items/BatchGetItem", "Items/Query", "Items/Scan",
        "Tables/DescribeTable", "Tables/ListTables", "Admin/GetStatus",
    )
)  # fmt: skip
"""Methods that may be asked twice."""

_ADMIN = "/antipodes.v1.Admin/"

OWN = ("/antipodes.v1.Router/", "/grpc.health.v1.Health/", "/grpc.reflection.")
"""What the router answers itself."""

_HOP_KEYS = frozenset({"user-agent", "te", "content-type", "host", "accept-encoding"})
"""Metadata that belongs to one connection; so does every key that starts with ``grpc-``."""

Metadata = tuple[tuple[str, str | bytes], ...]
Context = aio.ServicerContext[bytes, bytes]


class Refused(Exception):
    """The router itself ends the call.

    Args:
        code: Of the status.
        details: Of the status.
        begun: A node may have seen the call; otherwise the client is told that none has.
    """

    def __init__(self, code: StatusCode, details: str, *, begun: bool = False) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing: Metadata = () if begun else ((REFUSED_KEY, "true"),)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the metadata of a call asks for.

    Attributes:
        metadata: What the node gets to see.
        wish: Where the client is.
        pinned: No other region than the first will do.
    """

    metadata: Metadata
    wish: Wish
    pinned: bool


class Forwarding(grpc.GenericRpcHandler):
    """Serves every method that the router does not answer itself.

    Args:
        topology: Which regions there are and how they are.
        upstreams: The connection to each region.
        suspect: Called with a region whose call failed as if its node was gone.
    """

    def __init__(
        self,
        topology: Topology,
        upstreams: Mapping[str, Upstream],
        suspect: Callable[[str], None],
    ) -> None:
        self._topology = topology
        self._upstreams = upstreams
        self._suspect = suspect
        self._handlers = {method: self._handler(method) for method in METHODS}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Give what passes a method on; None for what the router answers itself."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None and not method.startswith(OWN):
            handler = self._handler(method)
        return handler

    def _handler(self, method: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        # The stubs only know handlers of the synchronous API.
        if method in UNARY:

            async def pass_message(request: bytes, context: Context) -> bytes:
                return await self._pass_message(method, request, context)

            return grpc.unary_unary_rpc_method_handler(cast("Any", pass_message))

        async def pass_stream(_: object, context: Context) -> None:
            await self._pass_stream(method, context)

        return grpc.stream_stream_rpc_method_handler(cast("Any", pass_stream))

    async def _pass_message(self, method: str, request: bytes, context: Context) -> bytes:
        try:
            plan = self._read_metadata(context)
            tried: list[str] = []
            while True:
                upstream = self._pick(method, plan, tried)
                region = upstream.region
                call = upstream.unary(method)(
                    request, timeout=context.time_remaining(), metadata=plan.metadata
                )
                upstream.live.add(call)
                try:
                    response = await call
                except aio.AioRpcError as error:
                    initial, trailing = tuple(error.initial_metadata()), error.trailing_metadata()
                    code, details = error.code(), error.details() or ""
                    if code is StatusCode.UNAVAILABLE and not initial and not trailing:
                        # Nothing but the bare status: most likely the node is gone.
                        self._suspect(region)
                        if method in READS and self._has_next(plan, tried):
                            log.info("call_moved", method=method, region=region, reason=details)
                            continue
                    await context.send_initial_metadata((*initial, (SERVED_BY_KEY, region)))
                    await context.abort(code, details, tuple(trailing))
                except asyncio.CancelledError:
                    if not _was_cut(upstream, call):
                        raise
                    if method in READS and self._has_next(plan, tried):
                        continue
                    raise _stopped_answering(region) from None
                else:
                    initial = tuple(await call.initial_metadata())
                    await context.send_initial_metadata((*initial, (SERVED_BY_KEY, region)))
                    if trailing := await call.trailing_metadata():
                        context.set_trailing_metadata(tuple(trailing))
                    return response
                finally:
                    upstream.live.discard(call)
        except Refused as refusal:
            await context.abort(refusal.code, refusal.details, refusal.trailing)

    async def _pass_stream(self, method: str, context: Context) -> None:
        try:
            plan = self._read_metadata(context)
            upstream = self._pick(method, plan, [])
        except Refused as refusal:
            await context.abort(refusal.code, refusal.details, refusal.trailing)
        call = upstream.stream(method)(timeout=context.time_remaining(), metadata=plan.metadata)
        upstream.live.add(call)
        linger_s = 0 if method in ONE_REQUEST else HALF_CLOSE_LINGER_S
        requests = asyncio.create_task(_pass_requests(context, call, linger_s))
        try:
            initial = tuple(await call.initial_metadata())
            await context.send_initial_metadata((*initial, (SERVED_BY_KEY, upstream.region)))
            while (message := await call.read()) is not aio.EOF:
                await context.write(cast("bytes", message))
            if trailing := await call.trailing_metadata():
                context.set_trailing_metadata(tuple(trailing))
        except aio.AioRpcError as error:
            if error.code() is StatusCode.UNAVAILABLE:
                self._suspect(upstream.region)
            context.set_trailing_metadata(tuple(error.trailing_metadata()))
            context.set_details(error.details() or "")
            context.set_code(error.code())
        except asyncio.CancelledError:
            if not _was_cut(upstream, call):
                raise
            broken = _stopped_answering(upstream.region)
            context.set_details(broken.details)
            context.set_code(broken.code)
        finally:
            upstream.live.discard(call)
            requests.cancel()
            call.cancel()

    def _read_metadata(self, context: Context) -> _Plan:
        passed: list[tuple[str, str | bytes]] = []
        region = ""
        near = None
        pinned = False
        for key, value in cast("Iterable[tuple[str, Any]]", context.invocation_metadata() or ()):
            if key == REGION_KEY:
                if self._topology.view(value) is None:
                    known = ", ".join(self._upstreams)
                    raise Refused(
                        StatusCode.INVALID_ARGUMENT,
                        f"{REGION_KEY}: there is no region {value!r}; known are: {known}",
                    )
                region = value
            elif key == NEAR_KEY:
                try:
                    near = parse_coordinates(value)
                except ValueError as error:
                    raise Refused(StatusCode.INVALID_ARGUMENT, f"{NEAR_KEY}: {error}") from error
            elif key == FAILOVER_KEY:
                if value != FAILOVER_NEVER:
                    raise Refused(
                        StatusCode.INVALID_ARGUMENT,
                        f"{FAILOVER_KEY}: {value!r} is not {FAILOVER_NEVER!r}",
                    )
                pinned = True
            elif key in _HOP_KEYS or key.startswith("grpc-"):
                continue
            passed.append((key, value))
        return _Plan(tuple(passed), Wish(region, near), pinned)

    def _candidates(self, plan: _Plan, tried: list[str]) -> list[RegionView]:
        ordered = order_regions(self._topology.snapshot.regions, plan.wish)
        if plan.pinned:
            pin = plan.wish.region or (tried or [ordered[0].region])[0]
            ordered = [view for view in ordered if view.region == pin]
        return [view for view in ordered if view.available and view.region not in tried]

    def _has_next(self, plan: _Plan, tried: list[str]) -> bool:
        return bool(self._candidates(plan, tried))

    def _pick(self, method: str, plan: _Plan, tried: list[str]) -> Upstream:
        """Choose the best region with an established connection, and note it as tried.

        Raises:
            Refused: There is none.
        """
        if plan.pinned and plan.wish.region and method.startswith(_ADMIN) and not tried:
            # An operator looks into this very node, also while it gets no traffic.
            upstream = self._upstreams[plan.wish.region]
            if upstream.connected():
                tried.append(upstream.region)
                return upstream
        for view in self._candidates(plan, tried):
            tried.append(view.region)
            upstream = self._upstreams[view.region]
            if upstream.connected():
                return upstream
            self._suspect(view.region)
        raise self._nowhere(plan)

    def _nowhere(self, plan: _Plan) -> Refused:
        views = self._topology.snapshot.regions
        if plan.pinned and plan.wish.region:
            reasons = [view.reason for view in views if view.region == plan.wish.region]
            return Refused(
                StatusCode.UNAVAILABLE,
                f"region {plan.wish.region} is not available ({reasons[0] or 'no connection'}) "
                f"and {FAILOVER_KEY} is {FAILOVER_NEVER}",
            )
        reasons = [f"{view.region}: {view.reason or 'no connection'}" for view in views]
        return Refused(StatusCode.UNAVAILABLE, "no region is available: " + "; ".join(reasons))


async def _pass_requests(
    context: Context, call: "aio.StreamStreamCall[bytes, bytes]", linger_s: float
) -> None:
    """Pass the client's messages on until it has sent its last; is cancelled when it vanishes."""
    # Whatever breaks here ends the call, and its status says so to whoever reads the responses.
    with contextlib.suppress(aio.AioRpcError, aio.BaseError, asyncio.InvalidStateError):
        while (message := cast("object", await context.read())) is not aio.EOF:
            await call.write(cast("bytes", message))
        # A client that vanished looks like one that has sent its last message until gRPC reports
        # it, and a node may act on the end of a stream: a cancelled one must not seem complete.
        await asyncio.sleep(linger_s)
        await call.done_writing()


def _was_cut(upstream: Upstream, call: object) -> bool:
    """Tell a call that the router broke from one that its client cancelled."""
    task = asyncio.current_task()
    return call not in upstream.live and task is not None and not task.cancelling()


def _stopped_answering(region: str) -> Refused:
    return Refused(StatusCode.UNAVAILABLE, f"region {region} stopped answering", begun=True)
