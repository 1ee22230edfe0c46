"""One connection to a node: one request in flight, the answer passed on piece by piece.

An HTTP answer names no request, so an answer belongs to the request before it only while nothing
else was ever read from the connection: whatever is unexpected ends the connection.
"""

import asyncio
import select
import time
from typing import Protocol, cast

import httptools

from antipodes_router.http.heads import Framing, Lines
from antipodes_router.http.limits import Limits

BODILESS = frozenset({204, 304})


class Taker(Protocol):
    """Who sends a request and reads its answer."""

    def connected(self, connection: "Connection") -> None:
        """Have a connection."""

    def refused(self, reason: str) -> None:
        """Have none: nothing was sent."""

    def head(self, status: int, reason: bytes, lines: Lines, framing: Framing) -> None:
        """Read the head of the answer."""

    def body(self, piece: bytes) -> None:
        """Read a piece of the answer's body."""

    def flush(self) -> None:
        """Pass on what was read; more may take a while."""

    def complete(self) -> None:
        """Know that the answer is complete; the connection is given back."""

    def broke(self, reason: str, *, reused: bool) -> None:
        """Know that there is no (further) answer; the connection is gone.

        Args:
            reason: What happened.
            reused: The connection had served before, so it may have been closed at its other end
                before the request got there.
        """


class Home(Protocol):
    """Where a connection comes from and goes back to."""

    def release(self, connection: "Connection", *, reusable: bool) -> None:
        """Take a connection back on which nothing is in flight."""

    def forget(self, connection: "Connection") -> None:
        """Drop a connection that is gone."""


class Connection(asyncio.Protocol):
    """One connection to a node.

    Args:
        home: Its pool.
        limits: On heads and on time.

    Attributes:
        active_at: When something was last sent or received, on the monotonic clock.
    """

    def __init__(self, home: Home, limits: Limits) -> None:
        self._home = home
        self._limits = limits
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpResponseParser(self)
        self._taker: Taker | None = None
        self._bodiless = False
        self._poll = select.poll()
        self._reading = True
        self._served = 0
        self._lost = False
        self._reset()
        self.active_at = time.monotonic()

    def _reset(self) -> None:
        self._lines = Lines()
        self._reason = b""
        self._framing = Framing.NONE
        self._chunked = False
        self._head_bytes = 0
        self._in_head = True
        self._complete = False
        self._reusable = False
        self._problem = ""

    # --- what a taker does

    def send(self, taker: Taker, wire: list[bytes | bytearray], *, bodiless: bool) -> None:
        """Send a request.

        Args:
            taker: Gets the answer.
            wire: The request.
            bodiless: The answer has no body, whatever its head says.
        """
        assert self._taker is None
        self._taker = taker
        self._bodiless = bodiless
        self.active_at = time.monotonic()
        for piece in wire:
            self._transport.write(piece)

    def pause(self, paused: bool) -> None:
        """Read no more of the answer, or go on."""
        if paused is not self._reading or self._transport.is_closing():
            return
        self._reading = not paused
        self.active_at = time.monotonic()
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def fail(self, reason: str, *, told: bool = True) -> None:
        """Break the connection.

        Args:
            reason: For the taker.
            told: The taker hears of it.
        """
        taker, self._taker = self._taker, None
        self._transport.abort()
        self._home.forget(self)
        if taker is not None and told:
            taker.broke(reason, reused=self._served > 0)

    # --- what the pool does

    def usable(self) -> bool:
        """Tell whether the other end has left it open, as far as this machine knows.

        The event loop may not have come to reading the end of the connection yet: ask the socket.
        """
        return not self._lost and not self._transport.is_closing() and not self._poll.poll(0)

    def close(self) -> None:
        """Close the connection, on which nothing is in flight."""
        self._transport.close()
        self._home.forget(self)

    def overdue(self, now: float) -> bool:
        """Tell whether a node owes an answer for too long; a client that reads slowly does not."""
        return (
            self._taker is not None
            and self._reading
            and now - self.active_at > self._limits.answer_seconds_max
        )

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._lost = True
        self.fail(f"the connection to its node broke ({exc or 'closed by the node'})")

    def eof_received(self) -> None:
        """Nothing more comes: the end of an answer that says no other, else a break."""
        # Chunks that lack the last one were cut off; asyncio closes, and connection_lost tells.
        endless = self._framing is Framing.OPEN and not self._chunked
        if self._taker is not None and endless and not self._in_head:
            self._complete, self._reusable = True, False
            self._finish(self._taker)

    def data_received(self, data: bytes) -> None:
        """Parse what came and pass it on."""
        taker = self._taker
        if taker is None:
            self.close()  # Nobody asked.
            return
        self.active_at = time.monotonic()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as error:
            if not self._complete:
                self.fail(f"its node answered with malformed HTTP ({error})")
                return
            self._reusable = False
        if self._taker is not taker:
            return  # Given up while this was read.
        if self._in_head and not self._complete:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes_max:
                self._problem = "the head of its node's answer is too large"
        if self._problem:
            self.fail(self._problem)
        elif self._complete:
            self._finish(taker)
        else:
            taker.flush()

    def _finish(self, taker: Taker) -> None:
        # What is unsent of a request that was answered early would precede the next one.
        reusable = self._reusable and self._transport.get_write_buffer_size() == 0
        self._taker = None
        self._served += 1
        self._reset()
        # Given back first: the client's next request may then take this very connection.
        self._home.release(self, reusable=reusable)
        taker.complete()

    # --- httptools

    def on_message_begin(self) -> None:
        """An answer begins; a second one was not asked for."""
        if self._complete:
            self._reusable = False

    def on_status(self, reason: bytes) -> None:
        """Take the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are dropped with the framing they belong to."""
        if not self._in_head or self._complete:
            return
        lower = name.lower()
        if lower == b"content-length":
            self._framing = Framing.LENGTH
        self._lines.add(lower, name, value)
        if lower == b"transfer-encoding":
            self._chunked = True

    def on_headers_complete(self) -> None:
        """Pass the head on."""
        status = self._parser.get_status_code()
        if self._complete or self._taker is None or status < 200:
            return
        self._in_head = False
        if self._bodiless or status in BODILESS:
            self._framing = Framing.NONE
        elif self._framing is not Framing.LENGTH:
            self._framing = Framing.OPEN
        self._taker.head(status, self._reason, self._lines, self._framing)
        if self._bodiless:
            # The parser would take the next answer for this one's body.
            self._complete, self._reusable = True, False

    def on_body(self, piece: bytes) -> None:
        """Pass a piece of the body on."""
        if self._taker is not None and not self._complete:
            self._taker.body(piece)

    def on_message_complete(self) -> None:
        """The answer is complete, unless it was only informational."""
        if self._complete:
            return
        if self._in_head:
            self._lines, self._reason, self._head_bytes = Lines(), b"", 0
            if self._parser.get_status_code() == 101:
                self._problem = "its node answered with another protocol"
            return
        self._complete, self._reusable = True, self._parser.should_keep_alive()
