"""HTTP/1.1 for DynamoDB's JSON protocol, on asyncio's transports with httptools as the parser.

One object serves one connection. Requests of a connection are begun as they arrive and answered in
order (pipelining); a read is answered within the callback that brought it, so that it costs no
task. Limits on the sizes of head and body, on connections and on time keep a bad client from harm.
"""

import asyncio
import gzip
import secrets
import time
import zlib
from base64 import b32encode
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import cast

import httptools
import orjson
import structlog

from antipodes.core import limits
from antipodes.core.errors import SerializationException, UnknownOperationException
from antipodes.core.replication import Acknowledge, Effect, Refuse
from antipodes_node.doors.http.errors import print_error
from antipodes_node.driver import Driver
from antipodes_node.service.operations import Operations
from antipodes_node.service.plans import Planned

log = structlog.get_logger()

HEAD_BYTES_MAX = 64 * limits.KIB
BODY_BYTES_MAX = 16 * limits.MIB
CONNECTIONS_MAX = 4096
PIPELINED_MAX = 64
"""Requests of one connection that wait for an answer; the socket is not read beyond."""
REQUEST_SECONDS_MAX = 30.0
"""From the first byte of a request to its last."""
IDLE_SECONDS_MAX = 300.0
"""A connection without a request is closed after this time."""
CALL_SECONDS_MAX = 60.0
"""Writes that have not begun by then are refused."""
GZIP_BYTES_MIN = 1024
"""Smaller answers are not compressed."""
CARE_SECONDS = 5.0

TARGETS = {b"DynamoDB_20120810", b"DynamoDBStreams_20120810"}
JSON_TYPE = b"application/x-amz-json-1.0"
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_HEAD = b"HTTP/1.1 %d %b\r\nserver: Server\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n"
_PREFLIGHT = (
    b"access-control-allow-origin: *\r\naccess-control-allow-methods: POST, GET, OPTIONS\r\n"
    b"access-control-allow-headers: *\r\naccess-control-max-age: 172800\r\n"
)


@dataclass
class HttpState:
    """What all connections of the door share.

    Attributes:
        operations: The service.
        driver: Carries writes out.
        region: For the health text.
        ready: Tells whether the node can serve.
        connections: Open ones.
        stopping: No further requests are taken.
    """

    operations: Operations
    driver: Driver
    region: str
    ready: Callable[[], bool]
    connections: "set[HttpConnection]" = field(default_factory=set)
    stopping: bool = False
    _prefix: str = field(default_factory=lambda: b32encode(secrets.token_bytes(25)).decode()[:40])
    _count: int = 0

    def request_id(self) -> bytes:
        """Name a request: 52 capital letters and digits, never twice."""
        self._count += 1
        tail = b32encode(self._count.to_bytes(8)).rstrip(b"=")[-12:]
        return self._prefix.encode() + tail.rjust(12, b"A")


class _Request:
    """A request as far as it has been read, and its answer once there is one."""

    __slots__ = (
        "body", "close", "encoding", "gzip", "method", "origin", "path", "response", "target",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = b""
        self.path = b""
        self.target = b""
        self.encoding = b""
        self.origin = b""
        self.gzip = False
        self.close = False
        self.body: list[bytes] = []
        self.response: bytes | None = None


class HttpConnection(asyncio.Protocol):
    """Serves one connection."""

    def __init__(self, state: HttpState) -> None:
        self._state = state
        self._begin = state.operations.begin
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._request = _Request()
        self._in_head = True
        self._fed_bytes = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._waiting: deque[_Request] = deque()
        self._reading = True
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.active_since: float | None = None
        """When the request that is being read began."""
        self.idle_since = time.monotonic()

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or turn it away when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._state.connections) >= CONNECTIONS_MAX or self._state.stopping:
            self._transport.abort()
            return
        self._state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what was begun goes on, its answers are dropped."""
        self._state.connections.discard(self)
        self._closing = True
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._closing:
            return
        if self.active_since is None:
            self.active_since = time.monotonic()
        if self._in_head:
            self._fed_bytes += len(data)  # the parser holds an unfinished header back
        try:
            self._parser.feed_data(data)
            if self._in_head and self._fed_bytes > HEAD_BYTES_MAX:
                self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except httptools.HttpParserUpgrade:
            self._reject(HTTPStatus.BAD_REQUEST)
        except httptools.HttpParserError:
            self._reject(HTTPStatus.BAD_REQUEST)

    def eof_received(self) -> bool:
        """The client sends nothing more; answer what is still owed."""
        self._closing = True
        return bool(self._waiting)

    def pause_writing(self) -> None:
        """The client does not read its answers: read nothing more from it."""
        self._pause(True)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._pause(len(self._waiting) >= PIPELINED_MAX)

    def _pause(self, pause: bool) -> None:
        if pause is not self._reading or self._transport.is_closing():
            return
        self._reading = not pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # --- httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request = _Request()
        self._head_bytes = self._body_bytes = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take the path."""
        self._request.path += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the headers that matter; trailers do not."""
        if not self._in_head:
            return
        self._count_head(len(name) + len(value))
        match name.lower():
            case b"x-amz-target":
                self._request.target = value
            case b"accept-encoding":
                self._request.gzip = b"gzip" in value
            case b"content-encoding":
                self._request.encoding = value.lower()
            case b"origin":
                self._request.origin = value
            case b"transfer-encoding" if value.lower() != b"chunked":
                self._reject(HTTPStatus.NOT_IMPLEMENTED)
            case b"expect" if value.lower() == b"100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            case _:
                pass

    def on_headers_complete(self) -> None:
        """The body follows."""
        self._in_head = False
        self._fed_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > BODY_BYTES_MAX:
            self._reject(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif not self._closing:
            self._request.body.append(body)

    def on_message_complete(self) -> None:
        """Begin the request, and answer it at once if that needs no waiting."""
        if self._closing:
            return
        request = self._request
        request.method = self._parser.get_method()
        request.close = not self._parser.should_keep_alive()
        self.active_since = None
        self._waiting.append(request)
        if len(self._waiting) >= PIPELINED_MAX:
            self._pause(True)
        try:
            self._begin_request(request)
        except Exception as error:
            self._fail(request, error)

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX:
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    # --- requests

    def _begin_request(self, request: _Request) -> None:
        if request.method != b"POST":
            self._answer_plain(request)
            return
        service, _, operation = request.target.partition(b".")
        if service not in TARGETS or not operation:
            raise UnknownOperationException
        body = b"".join(request.body)
        if request.encoding == b"gzip":
            body = _unzip(body)
        try:
            parsed = orjson.loads(body)
        except ValueError as error:
            raise SerializationException from error
        answer = self._begin(operation.decode(errors="replace"), parsed)
        if isinstance(answer, bytes):
            self._answer(request, 200, answer)
        elif isinstance(answer, Planned):
            self._state.driver.submit(
                answer.event, partial(self._written, request, answer),
                time.monotonic() + CALL_SECONDS_MAX,
            )  # fmt: skip
        else:
            task = asyncio.ensure_future(self._wait_for(request, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _written(self, request: _Request, planned: Planned, effect: Effect) -> None:
        if isinstance(effect, Acknowledge):
            self._answer(request, 200, planned.answer(effect.outcomes))
        else:
            assert isinstance(effect, Refuse)
            self._fail(request, effect.error)

    async def _wait_for(self, request: _Request, answer: Awaitable[bytes]) -> None:
        try:
            self._answer(request, 200, await answer)
        except Exception as error:
            self._fail(request, error)

    def _answer_plain(self, request: _Request) -> None:
        """Answer what a browser, a probe or a load balancer asks."""
        path = request.path.partition(b"?")[0]
        if request.method == b"OPTIONS":
            self._respond(request, 200, b"", b"text/plain", _PREFLIGHT)
        elif request.method in (b"GET", b"HEAD") and path in (b"/", b"/healthz"):
            text = f"healthy: dynamodb.{self._state.region}.amazonaws.com \n".encode()
            self._respond(request, 200, text, b"text/plain")
        elif request.method in (b"GET", b"HEAD") and path == b"/readyz":
            ready = self._state.ready()
            text = b"ready\n" if ready else b"not ready\n"
            self._respond(request, 200 if ready else 503, text, b"text/plain")
        else:
            self._respond(request, 404, b"<UnknownOperationException/>\n", b"text/xml")

    # --- answers

    def _fail(self, request: _Request, error: Exception) -> None:
        status, body = print_error(error)
        self._answer(request, status, body)

    def _answer(self, request: _Request, status: int, body: bytes) -> None:
        extra = b"x-amzn-requestid: %b\r\n" % self._state.request_id()
        if request.gzip and len(body) >= GZIP_BYTES_MIN:
            body = gzip.compress(body, 1, mtime=0)
            extra += b"content-encoding: gzip\r\n"
        extra += b"x-amz-crc32: %d\r\n" % zlib.crc32(body)
        self._respond(request, status, body, JSON_TYPE, extra)

    def _respond(
        self, request: _Request, status: int, body: bytes, kind: bytes, extra: bytes = b""
    ) -> None:
        if request.origin and b"access-control" not in extra:
            extra += b"access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n"
        if request.close or self._state.stopping:
            extra += b"connection: close\r\n"
        head = _HEAD % (status, _REASONS.get(status, b""), kind, len(body), extra)
        request.response = head if request.method == b"HEAD" else head + body
        self._flush()

    def _flush(self) -> None:
        """Send the answers that are due, in the order of their requests."""
        ready: list[bytes] = []
        close = self._state.stopping
        while self._waiting and self._waiting[0].response is not None:
            request = self._waiting.popleft()
            ready.append(cast("bytes", request.response))
            close = close or request.close
        if not ready or self._transport.is_closing():
            return
        self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        self.idle_since = time.monotonic()
        if close or (self._closing and not self._waiting):
            self._closing = True
            self._transport.close()
        elif not self._reading and len(self._waiting) < PIPELINED_MAX // 2:
            self._pause(False)

    def _reject(self, status: HTTPStatus) -> None:
        """End a connection whose requests can no longer be told apart."""
        if self._closing:
            return
        self._closing = True
        request = _Request()
        request.close = True
        self._waiting.append(request)
        self._respond(request, status, b"", b"text/plain")

    def look_after(self, now: float) -> None:
        """Close the connection when it has been idle, or slow, for too long."""
        if self.active_since is not None and now - self.active_since > REQUEST_SECONDS_MAX:
            self._reject(HTTPStatus.REQUEST_TIMEOUT)
            return
        idle = not self._waiting and self.active_since is None
        if idle and (now - self.idle_since > IDLE_SECONDS_MAX or self._state.stopping):
            self._transport.close()

    def abort(self) -> None:
        """Break the connection."""
        self._transport.abort()


def _unzip(body: bytes) -> bytes:
    """Unpack a compressed body, which must not exceed the limit unpacked either."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(body, BODY_BYTES_MAX)
    except zlib.error as error:
        raise SerializationException from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise SerializationException
    return unpacked


class HttpDoor:
    """The listening side.

    Args:
        operations: The service.
        driver: Carries writes out.
        region: Of the node.
        ready: Tells whether the node can serve.
    """

    def __init__(
        self, operations: Operations, driver: Driver, region: str, ready: Callable[[], bool]
    ) -> None:
        self._state = HttpState(operations, driver, region, ready)
        self._server: asyncio.Server | None = None
        self._care: asyncio.Task[None] | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; gives the port.

        Raises:
            OSError: The address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: HttpConnection(self._state), host, port, backlog=1024, reuse_address=True
        )
        self._care = asyncio.create_task(self._look_after_all(), name="http-care")
        return int(self._server.sockets[0].getsockname()[1])

    async def _look_after_all(self) -> None:
        while True:
            await asyncio.sleep(CARE_SECONDS)
            now = time.monotonic()
            for connection in list(self._state.connections):
                connection.look_after(now)

    async def close(self, drain_seconds: float) -> None:
        """Take no further requests, answer those that were read, then break what is left."""
        if self._server is None:
            return
        self._state.stopping = True
        self._server.close()
        if self._care is not None:
            self._care.cancel()
        until = time.monotonic() + drain_seconds
        for connection in list(self._state.connections):
            connection.look_after(time.monotonic())
        while self._state.connections and time.monotonic() < until:  # noqa: ASYNC110 - at the end
            await asyncio.sleep(0.01)
        for connection in list(self._state.connections):
            connection.abort()
