"""The connections to one region's node: kept open, bounded, handed out one request at a time."""

import asyncio
import contextlib
import time
from collections import deque
from typing import cast

from antipodes_router.http.connection import Connection, Taker
from antipodes_router.http.limits import Limits


class Pool:
    """All connections to one region's node.

    Args:
        host: Of the node.
        port: Where it answers HTTP.
        limits: How many, and for how long.
    """

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        self.limits = limits
        self.connections: set[Connection] = set()
        self._host, self._port = host, port
        self._idle: list[Connection] = []
        self._connecting: dict[asyncio.Task[None], Taker | None] = {}
        self._waiting: deque[tuple[Taker, float]] = deque()
        self._closed = False

    def acquire(self, taker: Taker, *, fresh: bool = False) -> None:
        """Give a connection to a taker, now or later.

        Args:
            taker: Is told of it.
            fresh: Rather not one that has been idle.
        """
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable():
                taker.connected(connection)
                return
            connection.close()
        if self._count() >= self.limits.upstream_connections_max and self._idle:
            self._idle[0].close()
        if self._count() < self.limits.upstream_connections_max:
            self._connect(taker)
        else:
            self._waiting.append((taker, time.monotonic()))

    def give_up(self, taker: Taker) -> None:
        """Forget a taker that waits; a connection made for it serves the next one."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not taker)
        for task, waiting in self._connecting.items():
            if waiting is taker:
                self._connecting[task] = None

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """Take a connection back on which nothing is in flight."""
        if not reusable or self._closed:
            connection.close()
            return
        connection.pause(False)
        if self._waiting:
            self._waiting.popleft()[0].connected(connection)
        else:
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is gone."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        if self._waiting and not self._closed:
            self._connect(self._waiting.popleft()[0])

    def look_after(self, now: float) -> None:
        """Close what has been idle, and end what has waited, for too long."""
        for connection in [
            idle
            for idle in self._idle
            if now - idle.active_at > self.limits.upstream_idle_seconds_max
        ]:
            connection.close()
        while self._waiting and now - self._waiting[0][1] > self.limits.wait_seconds_max:
            self._waiting.popleft()[0].refused("too many requests wait for it")
        for connection in [busy for busy in self.connections if busy.overdue(now)]:
            connection.fail(f"no answer within {self.limits.answer_seconds_max:g} s")

    async def close(self) -> None:
        """Close everything; takers must be gone."""
        self._closed = True
        tasks = list(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.fail("this router is stopping")

    def _count(self) -> int:
        return len(self.connections) + len(self._connecting)

    def _connect(self, taker: Taker) -> None:
        self._connecting[asyncio.create_task(self._open())] = taker

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        reason = ""
        connection = None
        try:
            async with asyncio.timeout(self.limits.connect_seconds_max):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, self.limits), self._host, self._port
                )
        except TimeoutError:
            reason = f"no connection within {self.limits.connect_seconds_max:g} s"
        except OSError as error:
            reason = f"cannot connect to its HTTP port: {error.strerror or error}"
        finally:
            taker = self._connecting.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)
        if connection is not None and connection.usable():
            self.connections.add(connection)
            if taker is None:
                self.release(connection, reusable=True)
            else:
                taker.connected(connection)
            return
        if connection is not None:
            connection.close()
        if taker is not None:
            taker.refused(reason or "its node closed the connection at once")
        if self._waiting and not self._closed:
            self._connect(self._waiting.popleft()[0])
