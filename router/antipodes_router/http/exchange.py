"""One request's way to a region and its answer's way back; and to another region when it must.

What may be sent twice:

- Before any byte of a request went out (no connection, none free), any request goes elsewhere.
- Once it was sent, only the node knows how far it came. Before the head of an answer was passed on,
  an operation that only reads is asked again; for a write the client hears that the outcome is not
  known, and decides. A connection that had served before and is reset with no answer most likely
  was closed by the node before it got the request, but a node that dies at work looks the same: no
  exception for writes (RFC 9110, 9.2.2). Such closings are made rare instead: idle connections are
  closed by the router first, and each is asked for its end just before it is used.
- Once an answer was begun, a break of it breaks the client's connection.
"""

from typing import Protocol

import structlog

from antipodes_router.http.choice import SERVED_BY_HEADER, HttpState, Plan
from antipodes_router.http.connection import Connection
from antipodes_router.http.heads import (
    CHUNKED,
    CLOSE,
    INTERNAL_SERVER_ERROR,
    SERVICE_UNAVAILABLE,
    VALIDATION,
    Framing,
    Lines,
    Request,
    print_error,
)

log = structlog.get_logger()


class Client(Protocol):
    """The connection that a request came from."""

    def write(self, data: bytes) -> None:
        """Send a piece of the answer, at the latest with ``flush``."""

    def flush(self) -> None:
        """Send what was written."""

    def finished(self, *, close: bool) -> None:
        """Know that the answer is complete."""

    def abort(self) -> None:
        """Break the connection: the answer cannot be completed."""


class Exchange:
    """Carries one request.

    Args:
        state: Of the port.
        client: Gets the answer.
        request: Complete.
    """

    __slots__ = (
        "_begun", "_chunking", "_client", "_close", "_connection", "_gone", "_plan", "_refreshed",
        "_region", "_request", "_state", "_tried",
    )  # fmt: skip

    def __init__(self, state: HttpState, client: Client, request: Request) -> None:
        self._state = state
        self._client = client
        self._request = request
        self._plan: Plan | None = None
        self._tried: dict[str, str] = {}
        self._region = ""
        self._connection: Connection | None = None
        self._refreshed = False
        self._begun = False
        self._chunking = False
        self._close = request.close
        self._gone = False

    def begin(self) -> None:
        """Send the request to where it wants to go."""
        try:
            self._plan = self._state.plan(self._request)
        except ValueError as error:
            self._refuse(400, VALIDATION, str(error))
        else:
            self._try_next(self._plan)

    def pause(self, paused: bool) -> None:
        """Read no more of the answer, or go on: the client's pace."""
        if self._connection is not None:
            self._connection.pause(paused)

    def abandon(self) -> None:
        """End: the client is gone."""
        if self._gone:
            return
        self._gone = True
        self._leave()
        if self._connection is not None:
            # The rest of the answer would have to be read before the connection could be used.
            self._connection.fail("its client is gone", told=False)
        elif self._region:
            self._state.pools[self._region].give_up(self)

    def cancel(self) -> bool:
        """End the attempt: the node answers no health checks, or the router stops."""
        if self._connection is not None:
            self._connection.fail("it stopped answering")
        elif not self._gone and self._region:
            self._state.pools[self._region].give_up(self)
            self.refused("it stopped answering")
        return True

    def _try_next(self, plan: Plan) -> None:
        region = self._state.pick(plan, self._tried)
        if not region:
            self._refuse(503, SERVICE_UNAVAILABLE, self._state.nowhere(plan, self._tried))
            return
        self._tried[region] = "no connection"
        self._region = region
        self._refreshed = False
        self._go(fresh=False)

    def _go(self, *, fresh: bool) -> None:
        self._state.upstreams[self._region].live.add(self)
        self._state.pools[self._region].acquire(self, fresh=fresh)

    def _leave(self) -> None:
        if self._region:
            self._state.upstreams[self._region].live.discard(self)

    def _next(self, reason: str) -> None:
        """Try another region, after what happened in this one."""
        assert self._plan is not None
        self._tried[self._region] = reason
        self._region, left = "", self._region
        if self._state.pick(self._plan, self._tried):
            log.info("call_moved", method=self._method(), region=left, reason=reason)
        self._try_next(self._plan)

    def _method(self) -> str:
        return self._request.target.decode("latin-1")

    def _refuse(self, status: int, error_type: str, message: str) -> None:
        self._gone = True
        self._close = self._close or self._state.stopping
        self._client.write(
            print_error(self._request, status, error_type, message, close=self._close)
        )
        self._client.flush()
        self._client.finished(close=self._close)

    # --- what the region's connections tell

    def connected(self, connection: Connection) -> None:
        """Send the request."""
        self._connection = connection
        bodiless = self._request.method == b"HEAD"
        connection.send(self, self._request.wire(), bodiless=bodiless)

    def refused(self, reason: str) -> None:
        """Go elsewhere: nothing was sent."""
        self._leave()
        self._state.suspect(self._region)
        self._next(reason)

    def broke(self, reason: str, *, reused: bool) -> None:
        """Ask again, if that does no harm; else say that the outcome is not known."""
        cut = self not in self._state.upstreams[self._region].live
        self._connection = None
        self._leave()
        self._state.suspect(self._region)
        if self._begun:
            self._gone = True
            log.warning("answer_cut", region=self._region, reason=reason)
            self._client.abort()
        elif not self._request.is_read():
            log.warning(
                "outcome_unknown", method=self._method(), region=self._region, reason=reason
            )
            self._refuse(
                500, INTERNAL_SERVER_ERROR,
                f"region {self._region} did not answer ({reason}): whether it carried out the "
                "request is not known",
            )  # fmt: skip
        elif reused and not cut and not self._refreshed and not self._state.ended:
            self._refreshed = True
            self._go(fresh=True)
        else:
            self._next(reason)

    def head(self, status: int, reason: bytes, lines: Lines, framing: Framing) -> None:
        """Pass the head of the answer on."""
        self._begun = True
        self._close = self._close or self._state.stopping
        extra = b""
        if framing is Framing.OPEN:
            self._chunking = self._request.chunks
            self._close = self._close or not self._chunking
            extra = CHUNKED if self._chunking else b""
        if self._close:
            extra += CLOSE
        self._client.write(
            b"HTTP/1.1 %d %b\r\n%b%b: %b\r\n%b\r\n"
            % (status, reason, lines.passed(), _SERVED_BY, self._region.encode(), extra)
        )

    def body(self, piece: bytes) -> None:
        """Pass a piece of the body on."""
        if self._chunking:
            self._client.write(b"%x\r\n" % len(piece))
            self._client.write(piece)
            self._client.write(b"\r\n")
        else:
            self._client.write(piece)

    def flush(self) -> None:
        """Send what was passed on."""
        self._client.flush()

    def complete(self) -> None:
        """End: the answer has been passed on."""
        self._connection = None
        self._gone = True
        self._leave()
        if self._chunking:
            self._client.write(b"0\r\n\r\n")
        self._client.flush()
        self._client.finished(close=self._close)


_SERVED_BY = SERVED_BY_HEADER.encode()
