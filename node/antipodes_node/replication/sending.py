"""The origin's end of the tails: sending this region's log to whoever follows it."""

import asyncio
import contextlib
import functools
import time
from typing import Any

import grpc.aio
import structlog

from antipodes import wall_clock
from antipodes.core.tables import Table
from antipodes.core.tailing import (
    HEARTBEAT_MS,
    Heartbeat,
    Hello,
    Progress,
    TailSender,
    check_hello,
    log_head,
    origin_head,
)
from antipodes.wire.replication import request_from_wire, response_to_wire
from antipodes_node.driver import Driver
from antipodes_node.replication.peers import Peers
from antipodes_node.signals import HeadSignal
from antipodes_node.storage.environment import Environment

log = structlog.get_logger()


class TailSending:
    """Serves tails; each has a loop of its own, woken by commits."""

    def __init__(
        self,
        cluster_id: str,
        environment: Environment,
        driver: Driver,
        signal: HeadSignal,
        peers: Peers,
    ) -> None:
        self._cluster_id = cluster_id
        self._environment = environment
        self._driver = driver
        self._signal = signal
        self._peers = peers

    async def serve(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serve one tail until the receiver goes away."""
        first = await context.read()
        hello = request_from_wire(first) if first is not grpc.aio.EOF else None
        if not isinstance(hello, Hello):
            return
        view = self._driver.view
        members = self._peers.regions | {view.origin.region}
        reject = check_hello(hello, self._cluster_id, view.origin, members, view.head_lsn)
        if reject is not None:
            log.warning(
                "tail_rejected", receiver=hello.receiver.region, reason=reject.reason.name,
                problem=reject.message,
            )  # fmt: skip
            await context.write(response_to_wire(reject, self._cluster_id, view.origin))
            return
        log.info("tail_opened", receiver=hello.receiver.region, after_lsn=hello.after_lsn)
        sender = TailSender(hello, view.origin)
        room = asyncio.Event()
        reader = asyncio.create_task(self._read_progress(context, sender, room))
        try:
            await self._send(context, sender, room, reader)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            log.info(
                "tail_closed", receiver=hello.receiver.region, sent_through=sender.sent_through
            )

    async def _send(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        sender: TailSender,
        room: asyncio.Event,
        reader: "asyncio.Task[None]",
    ) -> None:
        origin = self._driver.view.origin
        names = self._driver.view.names

        async def say(message: Any) -> None:
            await context.write(response_to_wire(message, self._cluster_id, origin))

        await say(sender.welcome(origin, names))
        heartbeat_due = time.monotonic()
        idle_announced = False
        while not reader.done() and not self._signal.closed:
            now = time.monotonic()
            due = now >= heartbeat_due
            head_lsn = self._signal.head_lsn  # what comes while sending must not be waited for
            room.clear()
            batch = self._next_batch(sender, even_empty=due)
            if batch is not None:
                idle_announced = False
                await say(batch)
                if not due:
                    continue
            if due or not idle_announced:
                # Behind the batches in the same stream: what it says is true once it arrives.
                await say(self._heartbeat())
                idle_announced = True
                if due:
                    heartbeat_due = now + HEARTBEAT_MS / 1000
            seconds = max(0.0, heartbeat_due - time.monotonic())
            if not sender.has_room:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await room.wait()
            elif batch is None:
                await self._signal.wait_beyond(head_lsn, seconds)

    def _next_batch(self, sender: TailSender, *, even_empty: bool) -> Any:
        dbs = self._environment.dbs
        with self._environment.read() as txn:
            # The tables as of this transaction: the view may be older than the entries, and an
            # entry that seems to concern nobody would be skipped for ever.
            @functools.cache
            def concerns(table_id: bytes) -> bool:
                stored = txn.get(table_id, db=dbs.tables)
                table = None if stored is None else Table.from_json(stored)
                return (
                    table is not None
                    and table.status != "DELETED"
                    and sender.receiver in table.regions
                )

            return sender.next_batch(
                txn, dbs, concerns, self._driver.view.names, even_empty=even_empty
            )

    def _heartbeat(self) -> Heartbeat:
        view = self._driver.view
        with self._environment.read() as txn:
            # Not the view's head: batches are read from the log, which may be ahead of it.
            head = log_head(txn, self._environment.dbs)
            newest_own = origin_head(txn, self._environment.dbs, view.origin.id)
        return Heartbeat(
            head,
            newest_own,
            view.hlc,
            wall_clock.now_ms(),
            tuple((view.names[o], lsn) for o, lsn in view.watermarks.items() if o in view.names),
        )

    @staticmethod
    async def _read_progress(
        context: grpc.aio.ServicerContext[Any, Any], sender: TailSender, room: asyncio.Event
    ) -> None:
        while True:
            request = await context.read()
            if request is grpc.aio.EOF:
                return
            message = request_from_wire(request)
            if isinstance(message, Progress):
                sender.progressed(message)
                room.set()
