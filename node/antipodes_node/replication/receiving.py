"""The receiver's end of the tails: following every other region's log."""

import asyncio
import contextlib
import random
from functools import partial
from typing import Any

import grpc.aio
import structlog

from antipodes import wall_clock
from antipodes.core.errors import ServiceUnavailable
from antipodes.core.replication import Effect, Refuse, ReportProgress
from antipodes.core.tailing import (
    SILENCE_MS_MAX,
    Apply,
    Disconnect,
    Learn,
    LinkState,
    Stop,
    TailEffect,
    TailReceiver,
    split,
)
from antipodes.core.versions import Origin
from antipodes.wire.replication import request_to_wire, response_from_wire
from antipodes_node.driver import REMOTE_ENTRIES_MAX, Driver
from antipodes_node.replication.peers import Peers

log = structlog.get_logger()

PROGRESS_SECONDS = 0.2
PROGRESS_BYTES = 1 << 20
"""Progress is reported after so much time, or so many bytes, whichever comes first."""
REFUSED_SECONDS = 0.2
"""How often to look whether this node takes writes again."""


class Link:
    """Follows one peer for as long as the node runs.

    Args:
        cluster_id: Of this cluster.
        peer: The region to follow.
        driver: Applies what arrives.
        peers: How to reach it.
        rng: For the jitter of reconnections.

    Attributes:
        receiver: What is known of the link.
        paused: An operator stopped it.
    """

    def __init__(
        self, cluster_id: str, peer: str, driver: Driver, peers: Peers, rng: random.Random
    ) -> None:
        self._driver = driver
        self._peers = peers
        self._rng = rng
        self._peer = peer
        self.receiver = TailReceiver(cluster_id, driver.view.origin, peer)
        self.paused = False
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._call: Any = None
        self._task: asyncio.Task[None] | None = None
        self._progress_due = asyncio.Event()
        self._bytes_unreported = 0

    def start(self) -> None:
        """Start following."""
        self._task = asyncio.create_task(self._follow_forever(), name=f"link-{self._peer}")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def pause(self) -> None:
        """Take nothing more from the peer until `resume`."""
        self.paused = True
        self._resumed.clear()
        self.receiver.state = LinkState.PAUSED
        if self._call is not None:
            self._call.cancel()
        log.info("link_paused", peer=self._peer)

    def resume(self) -> None:
        """Follow again, from where it was left; a stopped link is tried once more."""
        stopped = self._task is not None and self._task.done()
        if not self.paused and not stopped:
            return
        self.paused = False
        self.receiver.state = LinkState.CONNECTING
        self._resumed.set()
        if stopped:
            self.start()
        log.info("link_resumed", peer=self._peer)

    async def _follow_forever(self) -> None:
        while True:
            await self._resumed.wait()
            if self._driver.writes_refused:
                self.receiver.last_error = self._driver.writes_refused
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            problem = ""
            try:
                problem = await self._follow()
            except grpc.aio.AioRpcError as error:
                problem = f"{error.code().name}: {error.details()}"
            except asyncio.CancelledError:
                # A pause cancels the call; only a stop cancels this task.
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise
            except Exception as error:  # a link outlives whatever a peer sends
                log.error("link_failed", peer=self._peer, exc_info=error)
                problem = f"{type(error).__name__}: {error}"
            if self.receiver.state is LinkState.STOPPED:
                log.error("link_stopped", peer=self._peer, problem=self.receiver.last_error)
                return
            delay_ms = self.receiver.lost(problem, self._rng)
            if not self.paused:
                log.info(
                    "link_lost", peer=self._peer, problem=self.receiver.last_error,
                    retry_ms=round(delay_ms),
                )  # fmt: skip
                await asyncio.sleep(delay_ms / 1000)

    async def _follow(self) -> str:
        """Follow until the connection ends; says why it did."""
        view = self._driver.view
        met = [o for o in view.names.values() if o.region == self._peer]
        origin = max(met, key=lambda o: o.incarnation, default=None)
        applied = view.watermarks.get(origin.id, 0) if origin else 0
        self._bytes_unreported = 0
        self._call = call = self._peers.replication(self._peer).Tail()
        reporter: asyncio.Task[None] | None = None
        try:
            await call.write(request_to_wire(self.receiver.connected(applied, origin)))
            reporter = asyncio.create_task(self._report(call))
            while True:
                async with asyncio.timeout(SILENCE_MS_MAX / 1000):
                    message = await call.read()
                if message is grpc.aio.EOF:
                    status = await call.code()
                    return f"{status.name}: {await call.details() or 'the peer ended the tail'}"
                if self.receiver.state is LinkState.CONNECTING:
                    log.info("link_connected", peer=self._peer, applied_lsn=applied)
                for effect in self._arrived(message):
                    if (problem := self._carry_out(effect, call)) is not None:
                        return problem
        except TimeoutError:
            return f"nothing heard for {SILENCE_MS_MAX} ms"
        finally:
            self._call = None
            call.cancel()
            if reporter is not None:
                reporter.cancel()
                await asyncio.gather(reporter, return_exceptions=True)

    def _arrived(self, message: Any) -> list[TailEffect]:
        known = response_from_wire(message)
        return [] if known is None else self.receiver.arrived(known, wall_clock.now_ms())

    def _carry_out(self, effect: TailEffect, call: Any) -> str | None:
        """Do what the receiver asks; says why the connection must end, if it must."""
        match effect:
            case Learn():
                self._driver.submit(effect.event, partial(self._applied, call, 0))
            case Apply():
                parts = list(split(effect.event, REMOTE_ENTRIES_MAX))
                for part in parts:
                    size = effect.size_bytes if part is parts[-1] else 0
                    self._driver.submit(part, partial(self._applied, call, size))
            case Disconnect() | Stop():
                return effect.problem
        return None

    def _applied(self, call: Any, size: int, effect: Effect) -> None:
        current = call is self._call
        if isinstance(effect, ReportProgress):
            size = size if current else 0  # an ended call owes its sender no acknowledgement
            self.receiver.applied(
                effect.applied_lsn, effect.applied_count, size, effect.newest_wall_ms,
                wall_clock.now_ms(),
            )  # fmt: skip
            self._bytes_unreported += size
            if self._bytes_unreported >= PROGRESS_BYTES:
                self._progress_due.set()
        elif isinstance(effect, Refuse) and current:
            # What else is queued of this call will be refused for the gap; this is the cause.
            self._call = None
            self.receiver.last_error = problem = str(effect.error)
            # A full disk empties again; what cannot be understood does not get better.
            if not isinstance(effect.error, ServiceUnavailable):
                self.receiver.apply_failed(problem)
            call.cancel()

    async def _report(self, call: Any) -> None:
        reported = -1
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await self._progress_due.wait()
            self._progress_due.clear()
            if self.receiver.applied_lsn == reported and not self._bytes_unreported:
                continue
            reported = self.receiver.applied_lsn
            self._bytes_unreported = 0
            await call.write(request_to_wire(self.receiver.progress(self._watermarks())))

    def _watermarks(self) -> tuple[tuple[Origin, int], ...]:
        view = self._driver.view
        return tuple((view.names[o], lsn) for o, lsn in view.watermarks.items() if o in view.names)

    @property
    def silent_ms(self) -> float:
        """Since the last message of the peer; negative before the first."""
        heard = self.receiver.last_heard_ms
        return -1.0 if heard is None else float(max(0, wall_clock.now_ms() - heard))
