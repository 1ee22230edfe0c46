"""The listening side of the HTTP port: opens, looks after what takes too long, drains, closes."""

import asyncio
import time

from antipodes_router.http.choice import HttpState
from antipodes_router.http.exchange import Exchange
from antipodes_router.http.proxy import ClientConnection

DRAIN_LOOK_SECONDS = 0.01


class HttpDoor:
    """The HTTP port of one router.

    Args:
        state: Its parts.
    """

    def __init__(self, state: HttpState) -> None:
        self._state = state
        self._connections: set[ClientConnection] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; gives the port.

        Raises:
            OSError: The address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientConnection(self._state, self._connections),
            host, port, backlog=1024, reuse_address=True,
        )  # fmt: skip
        return int(self._server.sockets[0].getsockname()[1])

    async def look_after(self) -> None:
        """End what is idle or slow, until cancelled."""
        while True:
            await asyncio.sleep(self._state.limits.care_seconds)
            self._look()

    async def close(self, drain_seconds: float) -> None:
        """Take no further requests, answer those that were read, then break what is left."""
        if self._server is None:
            return
        self._state.stopping = True
        self._server.close()
        until = time.monotonic() + drain_seconds
        self._look()
        while self._connections and time.monotonic() < until:
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
            self._look()
        self._state.ended = True
        for region in self._state.pools:
            # The gRPC calls have a drain of their own; only what is ours ends here.
            for call in list(self._state.upstreams[region].live):
                if isinstance(call, Exchange):
                    call.cancel()
        await asyncio.sleep(0)  # Lets the last answers leave.
        for connection in list(self._connections):
            connection.abort()
        for pool in self._state.pools.values():
            await pool.close()

    def _look(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.look_after(now)
        for pool in self._state.pools.values():
            pool.look_after(now)
