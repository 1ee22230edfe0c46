"""The router's HTTP port against nodes that are faked: real sockets, scripted answers."""

import asyncio
import gzip
import os
import random
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from antipodes.cli import exits
from antipodes.cli.process import RefusedToStart
from antipodes_router.app import RouterApp
from antipodes_router.http.limits import Limits
from antipodes_router.settings import RouterSettings
from tests.integration.test_router import ASIA, EU, US, Node, Router

pytestmark = pytest.mark.integration

Reply = Callable[["Seen", "HttpNode", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """A message, from either side."""

    first: bytes
    headers: dict[str, str]
    body: bytes
    raw: bytes
    connection: int = 0

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def read_message(reader: asyncio.StreamReader, *, headless: bool = False) -> Seen | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw[:-4].split(b"\r\n")
    headers = dict(line.decode("latin-1").lower().split(": ", 1) for line in lines)
    body = b""
    if headless:
        pass
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readuntil(b"\r\n") == b"\r\n"
    return Seen(first, headers, body, raw)


def answer(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@dataclass
class HttpNode:
    """A node's two doors: gRPC for the health checks, HTTP for the rest."""

    grpc: Node
    port: int = 0
    reply: Reply | None = None
    seen: list[Seen] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    server: asyncio.Server | None = None

    @property
    def region(self) -> str:
        return self.grpc.region

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def until_seen(self, count: int) -> None:
        while len(self.seen) < count:
            self.entered.clear()
            await asyncio.wait_for(self.entered.wait(), 5)

    async def stop_http(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in self.writers:
            writer.transport.abort()

    async def stop(self) -> None:
        await self.stop_http()
        await self.grpc.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.writers)
        self.writers.append(writer)
        try:
            while (request := await read_message(reader)) is not None:
                request.connection = number
                self.seen.append(request)
                self.entered.set()
                if self.reply is not None:
                    await self.reply(request, self, writer)
                else:
                    writer.write(answer(self.region.encode()))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.gone.set()


def once(first: Reply, then: Reply | None = None) -> Reply:
    """Answer in one way once, then in another (as by default)."""
    replies = [first]

    async def reply(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
        if replies:
            await replies.pop()(seen, node, writer)
        elif then is not None:
            await then(seen, node, writer)
        else:
            writer.write(answer(node.region.encode()))

    return reply


def say(data: bytes) -> Reply:
    async def reply(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return reply


async def echo(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(seen.body))


async def hang_up(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hang(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()  # The reader's task sees the end, the transport closes.


def signature(region: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/{region}/dynamodb/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=0a"
    )


def request(
    operation: str = "PutItem",
    body: bytes = b"{}",
    *,
    region: str = "",
    head: str = "POST / HTTP/1.1",
    **more: str,
) -> bytes:
    headers = {"Host": "x", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    if not region and "x_antipodes_region" not in more:
        headers["x-antipodes-near"] = "53,-6"  # EU comes first, then US.
    if region:
        headers["Authorization"] = signature(region)
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    headers = {name: value for name, value in headers.items() if value}
    if "Transfer-Encoding" not in headers:
        headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{head}\r\n{lines}\r\n".encode("latin-1") + body


class Client:
    """A connection to the router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes, *, headless: bool = False) -> Seen:
        self.writer.write(data)
        return await self.answer(headless=headless)

    async def answer(self, *, headless: bool = False) -> Seen:
        async with asyncio.timeout(5):
            seen = await read_message(self.reader, headless=headless)
        assert seen is not None, "the router closed the connection"
        return seen

    def abort(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Vanish in a way that does not look like having sent everything."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    async def closed(self) -> bytes:
        """Read to the end of the connection."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


class HttpRouter:
    """A running router with an HTTP port."""

    def __init__(self, app: RouterApp, stack: AsyncExitStack) -> None:
        self.app = app
        self.grpc = Router(app)
        self._stack = stack

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.app.http_port)
        client = Client(reader, writer)
        self._stack.callback(client.abort)
        return client

    async def ask(self, data: bytes) -> Seen:
        return await (await self.connect()).ask(data)


@asynccontextmanager
async def routing(
    *nodes: HttpNode, limits: Limits | None = None, wait: bool = True, **settings: Any
) -> AsyncIterator[HttpRouter]:
    app = RouterApp(
        RouterSettings.load(
            {
                "listen": "127.0.0.1:0",
                "http_listen": "127.0.0.1:0",
                "region": {node.region: node.grpc.address for node in nodes},
                "http_region": {node.region: f"127.0.0.1:{node.port}" for node in nodes},
                "health_interval_ms": 20,
                "catch_up_interval_ms": 10,
                "drain_ms": 50,
                **settings,
            },
            environ={},
        ),
        limits,
    )
    await app.start()
    async with AsyncExitStack() as stack:
        router = HttpRouter(app, stack)
        try:
            if wait:
                await router.grpc.available(*(node.region for node in nodes))
            yield router
        finally:
            await stack.aclose()
            await router.grpc.channel.close()
            await app.stop()


Start = Callable[..., Awaitable[list[HttpNode]]]


@pytest.fixture
async def nodes() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(*regions: str) -> list[HttpNode]:
            started = []
            for region in regions:
                node = HttpNode(await Node(region).start())
                await node.start()
                stack.push_async_callback(node.stop)
                started.append(node)
            return started

        yield start


# Where to


async def test_signature_names_the_region(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        for region in (US, EU):
            got = await router.ask(request(region=region))
            assert (got.status, got.body) == (200, region.encode())
            assert got.headers["x-antipodes-served-by"] == region


async def test_without_a_signature_the_nearest_region_answers(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        nearest = EU.encode()
        assert (await router.ask(request())).body == nearest
        here = (await router.ask(request(x_antipodes_near=""))).body
        assert here.decode() in (US, EU)  # Measured by the router: both are on this machine.
        for foreign in ("local", "mars-1", "sa-east-1"):
            signed = request(region=foreign, x_antipodes_near="53,-6")
            assert (await router.ask(signed)).body == nearest
        assert (await router.ask(request(Authorization="Bearer x"))).body == nearest
        assert (await router.ask(request(x_antipodes_near="40,-75"))).body == US.encode()
        assert (await router.ask(request(x_antipodes_region=US))).body == US.encode()
        signed = request(region=EU, x_antipodes_region=US)
        assert (await router.ask(signed)).body == EU.encode()


async def test_headers_of_the_router_that_make_no_sense_are_refused(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        for header, data in (
            ("x-antipodes-near", request(x_antipodes_near="north")),
            ("x-antipodes-region", request(x_antipodes_region="mars-1")),
        ):
            got = await router.ask(data)
            assert got.status == 400
            assert got.json["__type"] == "com.amazon.coral.validate#ValidationException"
            assert got.json["message"].startswith(header)


async def test_named_region_that_is_down_is_not_replaced(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        await us.stop()
        await router.grpc.available(EU)
        client = await router.connect()
        got = await client.ask(request(region=US))
        assert got.status == 503
        assert got.headers["content-type"] == "application/x-amz-json-1.0"
        assert got.json["__type"] == "com.amazon.coral.service#ServiceUnavailable"
        assert got.json["message"].startswith(f"region {US} is not available (")
        assert (await client.ask(request())).body == EU.encode()
        assert (await client.ask(request(region=EU))).body == EU.encode()


async def test_named_region_that_refuses_connections_is_not_replaced(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        await us.stop_http()
        got = await router.ask(request(region=US))
        assert got.status == 503
        assert "cannot connect to its HTTP port" in got.json["message"]
        assert (await router.ask(request(x_antipodes_region=US))).body == EU.encode()


async def test_named_region_without_an_http_address_says_so(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu, http_region={US: f"127.0.0.1:{us.port}"}) as router:
        got = await router.ask(request(region=EU))
        assert got.status == 503
        assert "does not know where its node answers HTTP" in got.json["message"]
        assert (await router.ask(request())).body == US.encode()


async def test_failover_named_regions_goes_to_the_nearest_of_the_named_one(nodes: Start) -> None:
    us, eu, asia = await nodes(US, EU, ASIA)
    async with routing(us, eu, asia, failover_named_regions=True) as router:
        assert (await router.ask(request(region=US))).body == US.encode()
        await us.stop_http()  # Refused, while its health checks are fine.
        assert (await router.ask(request(region=US))).body == EU.encode()
        await us.stop()
        await router.grpc.available(EU, ASIA)
        assert (await router.ask(request(region=US))).body == EU.encode()


async def test_no_region_at_all_says_why_for_each(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        for node in (us, eu):
            await node.stop_http()
        got = await router.ask(request())
        assert got.status == 503
        assert f"{US}: cannot connect" in got.json["message"]
        assert f"{EU}: cannot connect" in got.json["message"]


# Breaks


@pytest.mark.parametrize(
    "operation", ["GetItem", "Query", "DescribeTable", "ListStreams", "GetRecords"]
)
async def test_read_is_asked_again_elsewhere(nodes: Start, operation: str) -> None:
    eu, us = await nodes(EU, US)
    eu.reply = hang_up
    async with routing(us, eu) as router:
        assert (await router.ask(request(operation))).body == US.encode()
        assert len(eu.seen) == 1


async def test_read_is_asked_again_after_half_a_head(nodes: Start) -> None:
    eu, us = await nodes(EU, US)

    async def half(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
        writer.close()

    eu.reply = half
    async with routing(us, eu) as router:
        assert (await router.ask(request("GetItem"))).body == US.encode()
        assert (await router.ask(request("PutItem"))).status == 500


@pytest.mark.parametrize(
    "operation", ["PutItem", "BatchWriteItem", "TransactWriteItems", "ExecuteStatement", "New"]
)
async def test_write_is_not_asked_again(nodes: Start, operation: str) -> None:
    eu, us = await nodes(EU, US)
    eu.reply = once(hang_up)
    async with routing(us, eu, failover_named_regions=True) as router:
        client = await router.connect()
        got = await client.ask(request(operation))
        assert got.status == 500
        assert got.json["__type"] == "com.amazonaws.dynamodb.v20120810#InternalServerError"
        assert "whether it carried out the request is not known" in got.json["message"]
        assert (len(eu.seen), len(us.seen)) == (1, 0)
        assert (await client.ask(request(operation))).body == EU.encode()


async def test_named_read_that_breaks_is_unavailable(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.reply = hang_up
    async with routing(us, eu) as router:
        got = await router.ask(request("GetItem", region=US))
        assert got.status == 503
        assert (
            f"region {US} is not available (the connection to its node broke" in got.json["message"]
        )
        assert not eu.seen


async def test_stale_connection_read_is_asked_again_of_the_same_region(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        client = await router.connect()
        assert (await client.ask(request("GetItem", region=US))).body == US.encode()
        us.reply = once(hang_up)
        assert (await client.ask(request("GetItem", region=US))).body == US.encode()
        assert [seen.connection for seen in us.seen] == [0, 0, 1]
        assert not eu.seen


async def test_stale_connection_write_is_not_asked_again(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        assert (await client.ask(request())).status == 200
        us.reply = once(hang_up)
        assert (await client.ask(request())).status == 500
        assert len(us.seen) == 2


async def test_connection_that_the_node_closed_while_idle_is_not_used(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        assert (await client.ask(request())).status == 200
        for _ in range(5):
            client.writer.write(request())  # The router's loop comes to this one first.
            fd = us.writers[-1].get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(fd)) as end:
                end.shutdown(socket.SHUT_RDWR)
            assert (await client.answer()).status == 200
        assert len(us.seen) == len(us.writers) == 6


async def test_answer_that_breaks_off_breaks_the_clients_connection(nodes: Start) -> None:
    (us,) = await nodes(US)
    for data in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ):

        async def breaks_off(
            seen: Seen, node: HttpNode, writer: asyncio.StreamWriter, data: bytes = data
        ) -> None:
            writer.write(data)
            writer.close()

        us.reply = breaks_off
        async with routing(us) as router:
            client = await router.connect()
            client.writer.write(request("GetItem"))
            got = await client.closed()
            assert not got.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000,
    ],
)
async def test_node_that_talks_nonsense_is_not_passed_on(nodes: Start, data: bytes) -> None:
    eu, us = await nodes(EU, US)
    eu.reply = say(data)
    async with routing(us, eu) as router:
        assert (await router.ask(request("GetItem"))).body == US.encode()
        assert (await router.ask(request("PutItem"))).status == 500


async def test_bytes_after_an_answer_end_the_connection(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = once(say(answer(b"mine") + answer(b"nobody's")))
    async with routing(us) as router:
        client = await router.connect()
        assert (await client.ask(request())).body == b"mine"
        assert (await client.ask(request())).body == US.encode()
        assert [seen.connection for seen in us.seen] == [0, 1]


async def test_node_that_never_answers_is_given_up(nodes: Start) -> None:
    eu, us = await nodes(EU, US)
    eu.reply = hang
    limits = Limits(answer_seconds_max=0.05, care_seconds=0.01)
    async with routing(us, eu, limits=limits) as router:
        assert (await router.ask(request("GetItem"))).body == US.encode()
        got = await router.ask(request("PutItem"))
        assert (got.status, "no answer within" in got.json["message"]) == (500, True)


async def test_node_that_answers_no_health_checks_loses_its_requests(nodes: Start) -> None:
    eu, us = await nodes(EU, US)
    eu.reply = hang
    async with routing(us, eu, health_timeout_ms=30) as router:
        read, write = await router.connect(), await router.connect()
        read.writer.write(request("GetItem"))
        write.writer.write(request("PutItem"))
        await eu.until_seen(2)
        eu.grpc.frozen.clear()
        assert (await read.answer()).body == US.encode()
        assert (await write.answer()).status == 500
        eu.grpc.frozen.set()


async def test_client_that_vanishes_frees_its_connection(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = once(hang)
    async with routing(us, limits=Limits(upstream_connections_max=1)) as router:
        gone, waits = await router.connect(), await router.connect()
        gone.writer.write(request())
        await us.entered.wait()
        waits.writer.write(request())
        gone.reset()
        assert (await waits.answer()).body == US.encode()


# Connections


async def test_connections_are_kept_on_both_sides(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        for _ in range(5):
            assert (await client.ask(request())).body == US.encode()
        assert (await router.ask(request())).body == US.encode()
        assert {seen.connection for seen in us.seen} == {0}


async def test_pool_is_bounded_and_the_rest_waits_its_turn(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us, limits=Limits(upstream_connections_max=3)) as router:
        answers = await asyncio.gather(*(router.ask(request()) for _ in range(40)))
        assert {got.body for got in answers} == {US.encode()}
        assert len(us.writers) == 3


async def test_request_that_waits_too_long_is_refused(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = hang
    limits = Limits(upstream_connections_max=1, wait_seconds_max=0.02, care_seconds=0.01)
    async with routing(us, limits=limits) as router:
        first = await router.connect()
        first.writer.write(request())
        await us.entered.wait()
        got = await router.ask(request())
        assert (got.status, "too many requests" in got.json["message"]) == (503, True)


async def test_idle_connections_to_a_node_are_closed(nodes: Start) -> None:
    (us,) = await nodes(US)
    limits = Limits(upstream_idle_seconds_max=0.02, care_seconds=0.01)
    async with routing(us, limits=limits) as router:
        client = await router.connect()
        assert (await client.ask(request())).status == 200
        await asyncio.wait_for(us.gone.wait(), 5)
        assert (await client.ask(request())).status == 200


async def test_node_that_closes_after_an_answer_gets_a_new_connection(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = say(answer(b"last", b"Connection: close"))
    async with routing(us) as router:
        client = await router.connect()
        for _ in range(3):
            got = await client.ask(request())
            assert got.body == b"last"
            assert "connection" not in got.headers  # That of the node is not the client's.
        assert [seen.connection for seen in us.seen] == [0, 1, 2]


async def test_pipelined_requests_are_answered_in_order(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.reply = eu.reply = echo
    async with routing(us, eu) as router:
        client = await router.connect()
        bodies = [b"%d" % index for index in range(200)]
        client.writer.write(
            b"".join(request(body=b, region=(US, EU)[i % 2]) for i, b in enumerate(bodies))
        )
        assert [(await client.answer()).body for _ in bodies] == bodies
        client.writer.write(b"GET /healthz HTTP/1.1\r\n\r\n" * 3000)
        for _ in range(3000):
            assert (await client.answer()).status == 200


async def test_pipelined_request_begins_when_the_one_before_is_answered(nodes: Start) -> None:
    (us,) = await nodes(US)
    release = asyncio.Event()

    async def wait(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(answer(b"first"))

    us.reply = once(wait)
    async with routing(us) as router:
        client = await router.connect()
        client.writer.write(request() + request() + b"nonsense\r\n\r\n")
        await us.entered.wait()
        assert (await router.ask(request())).status == 200
        assert len(us.seen) == 2
        release.set()
        assert (await client.answer()).body == b"first"
        assert (await client.answer()).body == US.encode()
        assert (await client.answer()).status == 400


async def test_client_that_half_closes_still_gets_its_answers(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        client.writer.write(request() + request())
        client.writer.write_eof()
        for _ in range(2):
            assert (await client.answer()).body == US.encode()
        assert await client.closed() == b""


@pytest.mark.parametrize("head", ["POST / HTTP/1.0", "POST / HTTP/1.1"])
async def test_client_that_asks_for_it_is_closed(nodes: Start, head: str) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        got = await client.ask(request(head=head, Connection="close") + request())
        assert (got.body, got.headers["connection"]) == (US.encode(), "close")
        assert await client.closed() == b""
        assert len(us.seen) == 1


async def test_too_many_connections_are_turned_away(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us, limits=Limits(connections_max=1)) as router:
        client = await router.connect()
        assert (await client.ask(request())).status == 200
        assert await (await router.connect()).closed() == b""
        assert (await client.ask(request())).status == 200


# What travels


async def test_request_passes_unchanged_but_for_its_framing(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        packed = gzip.compress(b'{"TableName":"t"}' * 100)
        await router.ask(
            request(
                body=packed, region=US, head="POST /a%20b?c=d HTTP/1.1", X_Amz_Date="20260101T0Z",
                Content_Encoding="gzip", Accept_Encoding="gzip", Keep_Alive="timeout=5",
                TE="trailers", Connection="keep-alive, x-mine, content-length", X_Mine="1",
                x_antipodes_near="1,2", X_Odd="  spaces  inside ü",
            )
        )  # fmt: skip
        (seen,) = us.seen
        assert seen.body == packed
        assert seen.first == b"POST /a%20b?c=d HTTP/1.1"
        assert b"\r\nX-Amz-Date: 20260101T0Z\r\n" in seen.raw
        assert b"\r\nX-Odd: spaces  inside \xfc\r\n" in seen.raw
        assert set(seen.headers) == {
            "host", "x-amz-target", "authorization", "content-length", "x-amz-date",
            "content-encoding", "accept-encoding", "x-antipodes-near", "x-odd",
        }  # fmt: skip


async def test_answer_passes_unchanged_but_for_its_framing(nodes: Start) -> None:
    (us,) = await nodes(US)
    packed = gzip.compress(b"{}" * 1000)
    us.reply = say(
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + answer(
            packed, b"X-Amz-Crc32: 1", b"Content-Encoding: gzip", b"Connection: X-Mine, keep-alive",
            b"X-Mine: 1", b"Keep-Alive: timeout=5", b"set-cookie: a", b"set-cookie: b",
            status=b"400 Odd Reason",
        )
    )  # fmt: skip
    async with routing(us) as router:
        got = await router.ask(request())
        assert (got.first, got.body) == (b"HTTP/1.1 400 Odd Reason", packed)
        assert got.raw.count(b"set-cookie") == 2
        assert set(got.headers) == {
            "content-length", "x-amz-crc32", "content-encoding", "set-cookie",
            "x-antipodes-served-by",
        }  # fmt: skip


async def test_chunked_request_arrives_whole(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = echo
    async with routing(us) as router:
        client = await router.connect()
        body = b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nX-Amz-Target: trailing\r\n\r\n"
        for _ in range(2):
            got = await client.ask(request(body=body, Transfer_Encoding="chunked"))
            assert got.body == b"abcd"
        assert us.seen[0].headers["content-length"] == "4"
        assert us.seen[0].headers["x-amz-target"] == "dynamodb_20120810.putitem"
        got = await client.ask(request(body=b"", Transfer_Encoding="gzip, chunked"))
        assert got.status == 501


async def test_chunked_answer_stays_chunked(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = say(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n1;e=1\r\nd\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    async with routing(us) as router:
        client = await router.connect()
        for _ in range(2):
            got = await client.ask(request())
            assert (got.body, got.headers["transfer-encoding"]) == (b"abcd", "chunked")
        old = await router.connect()
        old.writer.write(request(head="POST / HTTP/1.0"))
        got_raw = await old.closed()
        assert got_raw.endswith(b"\r\n\r\nabcd")
        assert b"chunked" not in got_raw
        assert {seen.connection for seen in us.seen} == {0}


async def test_answer_that_ends_with_its_connection_becomes_chunked(nodes: Start) -> None:
    (us,) = await nodes(US)

    async def endless(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        writer.write(b"def")
        writer.close()

    us.reply = endless
    async with routing(us) as router:
        client = await router.connect()
        for _ in range(2):
            assert (await client.ask(request())).body == b"abcdef"


async def test_answers_without_a_body(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = say(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with routing(us) as router:
        client = await router.connect()
        for _ in range(2):
            got = await client.ask(request(head="OPTIONS / HTTP/1.1"), headless=True)
            assert got.status == 204
        us.reply = say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        for _ in range(2):
            got = await client.ask(b"HEAD /x HTTP/1.1\r\n\r\n", headless=True)
            assert got.headers["content-length"] == "5"


async def test_large_bodies_pass_both_ways(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = echo
    body = random.Random(1).randbytes(16 << 20)
    async with routing(us) as router:
        client = await router.connect()
        assert (await client.ask(request(body=body))).body == body
        assert (await client.ask(request(body=b"{}"))).body == b"{}"


async def test_client_that_reads_slowly_holds_the_node_back(nodes: Start) -> None:
    (us,) = await nodes(US)
    size = 64 << 20
    sent = 0

    async def flood(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent += 1 << 20

    us.reply = flood
    async with routing(us) as router:
        client = await router.connect()
        client.writer.write(request("Scan") + request("Scan"))
        await us.entered.wait()
        before = -1
        while before < sent:  # Until it no longer moves.
            before = sent
            for _ in range(20):
                assert (await router.ask(b"GET / HTTP/1.1\r\n\r\n")).status == 200
        assert sent < size // 2
        assert (await client.answer()).body == bytes(size)
        assert len(us.seen) == 2


async def test_expect_is_answered_by_the_router(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        whole = request(body=b"abc", Expect="100-continue")
        client.writer.write(whole[:-3])
        async with asyncio.timeout(5):
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(b"abc")).body == US.encode()
        assert "expect" not in us.seen[0].headers


# The router's own answers


async def test_probes_are_answered_by_the_router(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    async with routing(us, eu) as router:
        client = await router.connect()
        for path in ("/", "/healthz"):
            got = await client.ask(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            assert got.body in [
                b"healthy: dynamodb.%b.amazonaws.com " % r for r in (US.encode(), EU.encode())
            ]
        got = await client.ask(b"HEAD / HTTP/1.1\r\n\r\n", headless=True)
        assert got.headers["content-length"] != "0"
        assert (await client.ask(b"GET /readyz HTTP/1.1\r\n\r\n")).status == 200
        for node in (us, eu):
            await node.stop()
        await router.grpc.available()
        assert (await client.ask(b"GET /readyz HTTP/1.1\r\n\r\n")).status == 503
        assert (await client.ask(b"GET /healthz HTTP/1.1\r\n\r\n")).status == 200
        assert not us.seen


async def test_own_errors_may_be_read_by_a_web_page(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        await us.stop_http()
        got = await router.ask(request(Origin="http://page"))
        assert (got.status, got.headers["access-control-allow-origin"]) == (503, "*")


# Bad clients


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 40_000 + b"\r\n", 431),
    ],
)  # fmt: skip
async def test_malformed_request_is_refused_and_the_router_lives(
    nodes: Start, data: bytes, status: int
) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        assert (await client.ask(data)).status == status
        client.writer.write(request())  # Is not read any more.
        client.writer.write_eof()
        assert await client.closed() == b""
        assert (await router.ask(request())).body == US.encode()
        assert len(us.seen) == 1


async def test_header_without_end_is_not_kept(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us) as router:
        client = await router.connect()
        client.writer.write(b"GET / HTTP/1.1\r\nA: ")
        sending = asyncio.create_task(_send_without_end(client))
        assert (await client.answer()).status == 431
        sending.cancel()


async def _send_without_end(client: Client) -> None:
    while True:
        client.writer.write(b"a" * 10_000)
        await client.writer.drain()


async def test_body_that_is_too_large_is_refused(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us, limits=Limits(body_bytes_max=100)) as router:
        client = await router.connect()
        assert (await client.ask(request(body=b"x" * 100))).status == 200
        assert (await client.ask(request(body=b"x" * 101))).status == 413
        chunks = b"32\r\n" + b"x" * 50 + b"\r\n"
        got = await router.ask(request(body=chunks * 3, Transfer_Encoding="chunked"))
        assert got.status == 413
        assert len(us.seen) == 1


async def test_bodies_of_all_clients_are_bounded_together(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = once(hang)
    async with routing(us, limits=Limits(buffered_bytes_max=100)) as router:
        first = await router.connect()
        first.writer.write(request(body=b"x" * 60))
        await us.entered.wait()
        assert (await router.ask(request(body=b"x" * 60))).status == 503
        first.reset()
        while (await router.ask(request(body=b"x" * 60))).status != 200:
            pass
        for _ in range(5):
            assert (await router.ask(request(body=b"x" * 60))).status == 200


async def test_slow_request_times_out(nodes: Start) -> None:
    (us,) = await nodes(US)
    limits = Limits(request_seconds_max=0.05, care_seconds=0.01, linger_seconds_max=0.02)
    async with routing(us, limits=limits) as router:
        for part in (b"P", b"POST / HTTP/1.1\r\nHost: x\r\n", request(body=b"abc")[:-1]):
            client = await router.connect()
            assert (await client.ask(part)).status == 408
            assert await client.closed() == b""
        assert not us.seen


async def test_idle_client_is_closed(nodes: Start) -> None:
    (us,) = await nodes(US)
    async with routing(us, limits=Limits(idle_seconds_max=0.05, care_seconds=0.01)) as router:
        silent, served = await router.connect(), await router.connect()
        assert (await served.ask(request())).status == 200
        assert await silent.closed() == b""
        assert await served.closed() == b""


async def test_client_that_never_reads_is_cut(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = say(answer(bytes(64 << 20)))
    limits = Limits(answer_seconds_max=0.1, care_seconds=0.01)
    async with routing(us, limits=limits) as router:
        client = await router.connect()
        client.writer.write(request())
        await asyncio.wait_for(us.gone.wait(), 5)  # Its connection went with the client's.


async def test_random_bytes_do_no_harm(nodes: Start) -> None:
    (us,) = await nodes(US)
    draw = random.Random(7)
    whole = request(body=b"abc") + request(body=b"1\r\na\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    async with routing(us) as router:
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 6)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            client = await router.connect()
            client.writer.write(bytes(data[: draw.randint(1, len(data))]))
            client.writer.write_eof()
            for line in (await client.closed()).split(b"\r\n"):
                if line.startswith(b"HTTP/1.1 ") and line[9:12].isdigit():
                    assert int(line[9:12]) in (200, 400, 408, 413, 431, 501, 503, 505)
        assert (await router.ask(request())).status == 200


# Starting and stopping


async def test_taken_http_port_refuses_to_start(nodes: Start) -> None:
    (us,) = await nodes(US)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RefusedToStart) as caught:
            async with routing(us, http_listen=f"127.0.0.1:{port}"):
                pass
    assert f"port {port}" in caught.value.problem
    assert "--http-listen" in caught.value.remedy


async def test_stop_lets_requests_finish_and_takes_no_more(nodes: Start) -> None:
    (us,) = await nodes(US)
    release = asyncio.Event()

    async def wait(seen: Seen, node: HttpNode, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(answer(b"done"))

    async with routing(us, drain_ms=5000) as router:
        idle, busy = await router.connect(), await router.connect()
        assert (await idle.ask(request())).status == 200
        us.reply = wait
        us.entered.clear()
        busy.writer.write(request())
        await us.entered.wait()
        stopping = asyncio.create_task(router.app.stop())
        assert await idle.closed() == b""
        with pytest.raises(ConnectionRefusedError):
            await router.connect()
        release.set()
        got = await busy.answer()
        assert (got.body, got.headers["connection"]) == (b"done", "close")
        await stopping


async def test_stop_ends_what_does_not_finish(nodes: Start) -> None:
    us, eu = await nodes(US, EU)
    us.reply = eu.reply = hang
    async with routing(us, eu) as router:
        read, write = await router.connect(), await router.connect()
        read.writer.write(request("GetItem"))
        write.writer.write(request("PutItem"))
        await eu.until_seen(2)
        await router.app.stop()
        assert (await read.answer()).status == 503
        assert (await write.answer()).status == 500
        assert (len(us.seen), len(eu.seen)) == (0, 2)


async def test_process_serves_both_ports(nodes: Start) -> None:
    (us,) = await nodes(US)
    us.reply = echo
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "antipodes_router", "--listen", f"127.0.0.1:{ports[0]}",
        "--http-listen", f"127.0.0.1:{ports[1]}", "--region", f"{US}={us.grpc.address}",
        "--http-region", f"{US}=127.0.0.1:{us.port}", "--log-format", "json",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(10):
        while b"region_available" not in await process.stderr.readline():
            assert process.returncode is None
    client = Client(*await asyncio.open_connection("127.0.0.1", ports[1]))
    body = bytes(1 << 20)
    for _ in range(3):
        assert (await client.ask(request(body=body, region=US))).body == body
    process.send_signal(signal.SIGTERM)
    assert await client.closed() == b""
    client.abort()
    await process.communicate()
    assert process.returncode == exits.OK


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"http_listen": "x"}, ["http_listen", "'x' is not of the form HOST:PORT"]),
        ({"http_listen": "h:1"}, ["no region that answers HTTP", "--http-region us-east-1="]),
        ({"http_region": ("us-east-1",)}, ["not of the form NAME=VALUE"]),
        ({"http_region": ("us-east-1=h",)}, ["us-east-1: 'h' is not of the form HOST:PORT"]),
        ({"http_region": ("eu-west-1=h:2",)}, ["there is no region eu-west-1", "--region"]),
        ({"http_region": ("us-east-1=h:1",)}, ["h:1 is where us-east-1 answers gRPC"]),
    ],
)
def test_wrong_http_settings_are_refused(flags: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RefusedToStart) as caught:
        RouterSettings.load({"region": ("us-east-1=h:1",), **flags}, environ={})
    for part in words:
        assert part in caught.value.problem
