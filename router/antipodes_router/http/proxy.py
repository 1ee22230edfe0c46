"""HTTP/1.1 towards the clients, on asyncio's transports with httptools as the parser.

One object serves one connection. Its requests are carried out one after the other: a client that
pipelines may mean the second to see the first. Meanwhile the socket is not read further than the
piece that brought the next request.
"""

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import cast

import httptools

from antipodes_router.http.choice import HttpState
from antipodes_router.http.exchange import Exchange
from antipodes_router.http.heads import (
    CONTINUE,
    JOINED_BYTES_MAX,
    SERVICE_UNAVAILABLE,
    Request,
    print_answer,
    print_error,
)

_PATHS = frozenset({b"/", b"/healthz", b"/readyz"})
_VERSIONS = frozenset({"1.0", "1.1"})


class ClientConnection(asyncio.Protocol):
    """Serves one connection of a client."""

    def __init__(self, state: HttpState, connections: "set[ClientConnection]") -> None:
        self._state = state
        self._limits = state.limits
        self._connections = connections
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._in_head = True
        self._head_pieces = 0
        self._waiting: deque[Request] = deque()
        self._exchange: Exchange | None = None
        self._current: Request | None = None
        self._advancing = False
        self._owes_continue = False
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._reading = True
        self._writable = True
        self._closing = False
        """Nothing more is read; what was read is answered."""
        self._active_since: float | None = None
        self._idle_since = time.monotonic()
        self._turned_away_since: float | None = None
        self._stalled_since: float | None = None

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or turn it away when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._connections) >= self._limits.connections_max or self._state.stopping:
            self._closing = True
            self._transport.abort()
            return
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and give up what was begun for it."""
        self._connections.discard(self)
        self._closing = True
        if self._exchange is not None:
            self._exchange.abandon()
        for request in (self._current, self._request, *self._waiting):
            self._forget_body(request)
        self._waiting.clear()
        self._exchange = self._current = None

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._closing:
            return
        if self._in_head:
            # The parser keeps a header until it is complete: count what it has been given.
            self._head_pieces += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as error:
            self._reject(HTTPStatus.BAD_REQUEST, f"malformed HTTP: {error}")
        if self._in_head and self._head_pieces > self._limits.head_bytes_max:
            self._reject_head()
        self._advance()

    def eof_received(self) -> bool:
        """The client sends nothing more; answer what is still owed."""
        self._closing = True
        self._active_since = None
        return self._current is not None or bool(self._waiting)

    def pause_writing(self) -> None:
        """The client does not read its answers: read nothing more from it, or for it."""
        self._writable = False
        self._stalled_since = time.monotonic()
        if self._exchange is not None:
            self._exchange.pause(True)
        self._pace()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._stalled_since = None
        if self._exchange is not None:
            self._exchange.pause(False)
        self._advance()

    def _pace(self) -> None:
        reading = self._writable and not self._waiting
        if reading is self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if not reading:
            self._transport.pause_reading()
            return
        self._transport.resume_reading()
        if self._active_since is not None:
            self._active_since = time.monotonic()  # The pause was not the client's doing.

    # --- httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._closing:
            return
        self._request = Request()
        self._in_head = True
        self._head_pieces = 0
        self._active_since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """Take the path."""
        self._request.url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are dropped with the framing they belong to."""
        self._count_head(len(name) + len(value))
        if self._in_head and not self._closing:
            problem = self._request.add_header(name, value)
            if problem:
                self._reject(HTTPStatus.NOT_IMPLEMENTED, problem)

    def on_headers_complete(self) -> None:
        """Look whether the rest is worth reading."""
        self._in_head = False
        request = self._request
        request.method = self._parser.get_method()
        version = self._parser.get_http_version()
        request.chunks = version != "1.0"
        if version not in _VERSIONS:
            self._reject(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here")
        elif self._parser.should_upgrade():
            self._reject(HTTPStatus.BAD_REQUEST, "no other protocol is spoken here")
        elif request.sized > self._limits.body_bytes_max:
            self._reject_body()
        elif request.expects:
            self._owes_continue = True

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self._closing:
            return
        request = self._request
        if len(request.body) + len(piece) > self._limits.body_bytes_max:
            self._reject_body()
        elif self._state.buffered_bytes + len(piece) > self._limits.buffered_bytes_max:
            message = "this router holds too many bytes of requests at the moment"
            self._turn_away(print_error(request, 503, SERVICE_UNAVAILABLE, message, close=True))
        else:
            self._state.buffered_bytes += len(piece)
            request.add_body(piece)

    def on_message_complete(self) -> None:
        """Have a request complete."""
        if self._closing:
            return
        request, self._request = self._request, Request()
        self._in_head = True
        self._head_pieces = 0
        self._active_since = None
        self._owes_continue = False
        if not self._parser.should_keep_alive() or not request.chunks:
            request.close = self._closing = True
        self._waiting.append(request)

    def _count_head(self, count: int) -> None:
        self._request.head_bytes += count
        if self._request.head_bytes > self._limits.head_bytes_max:
            self._reject_head()

    # --- requests, one after the other

    def _advance(self) -> None:
        """Carry the next requests out, as long as each is answered at once."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._waiting and self._current is None and self._writable:
                self._begin(self._waiting.popleft())
        finally:
            self._advancing = False
        if self._owes_continue and self._current is None and not self._waiting:
            self._owes_continue = False
            self.write(CONTINUE)
            self.flush()
        self._pace()

    def _begin(self, request: Request) -> None:
        self._current = request
        if request.reply is None and request.method in (b"GET", b"HEAD"):
            path = request.url.partition(b"?")[0]
            if path in _PATHS:
                request.close = request.close or self._state.stopping
                request.reply = self._answer_probe(request, path)
        if request.reply is not None:
            self.write(request.reply)
            self.flush()
            self.finished(close=request.close)
            return
        self._exchange = Exchange(self._state, self, request)
        self._exchange.begin()

    def _answer_probe(self, request: Request, path: bytes) -> bytes:
        region = self._state.first_available()
        status = 200
        if path == b"/readyz":
            status, text = (200, "ready\n") if region else (503, "not ready: no region available\n")
        elif region:
            text = f"healthy: dynamodb.{region}.amazonaws.com "
        else:
            text = "healthy: no region available "  # This process is; restarting it helps nobody.
        return print_answer(request, status, text.encode(), close=request.close)

    def write(self, data: bytes) -> None:
        """Send a piece of an answer, at the latest with ``flush``."""
        self._out.append(data)
        self._out_bytes += len(data)

    def flush(self) -> None:
        """Send what was written."""
        pieces = self._out
        if not pieces:
            return
        joined = self._out_bytes <= JOINED_BYTES_MAX
        self._out, self._out_bytes = [], 0
        if self._transport.is_closing():
            return
        if joined:
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        else:
            self._transport.writelines(pieces)

    def finished(self, *, close: bool) -> None:
        """End a request whose answer is complete, and go on with the next."""
        self._forget_body(self._current)
        self._exchange = self._current = None
        self._idle_since = time.monotonic()
        if close or (self._closing and not self._waiting):
            self._closing = True
            self._forget_waiting()
            if self._turned_away_since is None:
                self._transport.close()
            elif not self._transport.is_closing():
                # Closing with bytes unread would make the client's end drop our answer.
                self._transport.write_eof()
                self._turned_away_since = time.monotonic()
            return
        self._advance()

    def abort(self) -> None:
        """Break the connection."""
        self._transport.abort()

    def _forget_waiting(self) -> None:
        for request in self._waiting:
            self._forget_body(request)
        self._waiting.clear()

    def _forget_body(self, request: Request | None) -> None:
        if request is not None:
            self._state.buffered_bytes -= len(request.body)
            request.body = b""

    # --- limits

    def _reject(self, status: HTTPStatus, message: str) -> None:
        self._turn_away(print_answer(self._request, status, message.encode() + b"\n", close=True))

    def _reject_head(self) -> None:
        self._reject(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head is larger than {self._limits.head_bytes_max} bytes",
        )

    def _reject_body(self) -> None:
        self._reject(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is larger than {self._limits.body_bytes_max} bytes",
        )

    def _turn_away(self, reply: bytes) -> None:
        """Answer, in its turn, a request that is not read to its end; and read no other."""
        if self._closing:
            return
        self._closing = True
        self._active_since = None
        self._owes_continue = False
        self._turned_away_since = time.monotonic()
        request = Request()
        request.reply = reply
        request.close = True
        self._waiting.append(request)

    def look_after(self, now: float) -> None:
        """Close the connection when it has been idle, or slow, for too long."""
        limits = self._limits
        idle = self._current is None and not self._waiting
        if self._active_since is not None and self._reading:
            if now - self._active_since > limits.request_seconds_max:
                self._reject(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the request took longer than {limits.request_seconds_max:g} s",
                )
                self._advance()
        elif self._stalled_since is not None:
            if now - self._stalled_since > limits.answer_seconds_max:
                self._transport.abort()
        elif idle and self._turned_away_since is not None:
            if now - self._turned_away_since > limits.linger_seconds_max:
                self._transport.close()
        elif idle and (now - self._idle_since > limits.idle_seconds_max or self._state.stopping):
            self._transport.close()
