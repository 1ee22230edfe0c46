"""Runs the replica: one thread owns it and all writes to LMDB, the event loop owns the rest.

Requests queue up while a commit is on its way to the disk; the thread then takes what is there,
lets it happen in one transaction, commits once with fsync, and hands all outcomes to the loop in
one call. Entries of other regions wait in a queue of their own, of which each transaction takes one
part, so that catching up does not starve clients.
"""

import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import lmdb
import structlog

from antipodes import wall_clock
from antipodes.core.catalog import PendingChange
from antipodes.core.errors import (
    AntipodesError,
    InternalServerError,
    ServiceUnavailable,
)
from antipodes.core.replication import (
    Acknowledge,
    Effect,
    EntriesArrived,
    Event,
    Refuse,
    Replica,
    Write,
    WriteOutcome,
    WriteRequested,
)
from antipodes.core.tables import Table
from antipodes.core.versions import Origin, OriginId, Vector
from antipodes_node.storage.environment import Environment

log = structlog.get_logger()

GROUP_EVENTS_MAX = 256
"""Events of one transaction."""
GROUP_SECONDS_MAX = 0.002
"""How long a transaction keeps taking events that are already waiting."""
REMOTE_ENTRIES_MAX = 256
"""Replicated entries of one transaction; about as much work as a full group of local writes."""

Done = Callable[[Effect], None]


@dataclass(frozen=True, slots=True)
class View:
    """What the event loop knows of the replica: a copy, published after each commit."""

    origin: Origin
    head_lsn: int = 0
    hlc: int = 0
    watermarks: Vector = field(default_factory=dict)
    names: dict[OriginId, Origin] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    tables_by_id: dict[bytes, Table] = field(default_factory=dict)
    pending: dict[str, PendingChange] = field(default_factory=dict)
    commits: int = 0
    writes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    drift_rejected: int = 0
    purge_due: bool = False


class Driver:
    """The writer thread and what it tells the loop.

    Args:
        region: Name of this region.
        environment: Opened; closed by the caller after `stop`.
        loop: Where outcomes are delivered.
        on_commit: Called on the loop after each commit, with the view renewed.

    Attributes:
        view: The newest published state.
        writes_refused: Why writes fail at the moment; empty when they do not.
        failed: The environment is beyond use.
    """

    def __init__(
        self,
        region: str,
        environment: Environment,
        loop: AbstractEventLoop,
        on_commit: Callable[[View], None],
    ) -> None:
        self._region = region
        self._environment = environment
        self._loop = loop
        self._on_commit = on_commit
        self._queue: SimpleQueue[tuple[Event, Done, float] | None] = SimpleQueue()
        self._remote: deque[tuple[Event, Done, float]] = deque()
        self._commits = 0
        self._writes = 0
        self._stopping = False
        self.writes_refused = ""
        self.failed = False
        self._replica = self._recover()
        self._published: tuple[Replica, int] | None = None
        self._newest = View(self._replica.origin)  # by the writer; `view` lags behind it
        self.view = self._newest = self._make_view()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then end the thread."""
        self._stopping = True
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    # --- called on the event loop

    def submit(self, event: Event, done: Done, deadline: float = float("inf")) -> None:
        """Let an event happen.

        Args:
            event: What happened.
            done: Called on the loop once the outcome is durable, or refused.
            deadline: By `time.monotonic`; a client's writes are not begun after it.
        """
        if isinstance(event, EntriesArrived):
            self._remote.append((event, done, deadline))
            self._queue.put(None)
        else:
            self._queue.put((event, done, deadline))

    def happen(self, event: Event) -> "Future[Effect]":
        """Let an event happen; the future gives its effect, or raises why it was refused."""
        future: Future[Effect] = self._loop.create_future()

        def done(effect: Effect) -> None:
            if future.done():
                return
            if isinstance(effect, Refuse):
                future.set_exception(effect.error)
            else:
                future.set_result(effect)

        self.submit(event, done)
        return future

    async def write(self, writes: tuple[Write, ...]) -> tuple[WriteOutcome, ...]:
        """Make writes durable, all or none.

        Raises:
            AntipodesError: They were refused; nothing was changed.
        """
        effect = await self.happen(WriteRequested(writes))
        assert isinstance(effect, Acknowledge)
        return effect.outcomes

    # --- the writer thread

    def _run(self) -> None:
        while True:
            entry = self._queue.get()
            group = [] if entry is None else [entry]
            until = time.monotonic() + GROUP_SECONDS_MAX
            while len(group) < GROUP_EVENTS_MAX:
                try:
                    entry = self._queue.get_nowait()
                except Empty:
                    break
                if entry is not None:
                    group.append(entry)
                if time.monotonic() > until:
                    break
            if self._remote:
                group.append(self._remote.popleft())
                if self._remote:
                    self._queue.put(None)
            if group:
                self._carry_out(group)
            elif self._stopping:
                return

    def _carry_out(self, group: list[tuple[Event, Done, float]]) -> None:
        """Let a group happen; when it fails as a whole, let each event happen by itself."""
        effects, retry = self._attempt(group)
        if retry and len(group) > 1:
            effects = []
            for entry in group:
                effects += self._attempt([entry])[0]
        pairs = [(done, effect) for (_, done, _), effect in zip(group, effects, strict=True)]
        view = self._newest = self._make_view()
        self._call_loop(lambda: self._deliver(pairs, view))

    def _attempt(self, group: list[tuple[Event, Done, float]]) -> tuple[list[Effect], bool]:
        """Let a group happen in one transaction.

        Returns:
            An effect for each event; and whether the group should be tried one by one.
        """
        while True:
            try:
                return self._commit(group), False
            except lmdb.MapFullError:
                self._start_over()
                if self._environment.can_grow:
                    self._grow()
                    continue
                problem = (
                    f"the database of region {self._region} is full"
                    f" ({self._environment.map_bytes >> 20} MiB); nothing was changed;"
                    " raise --map-bytes-max and restart"
                )
                return self._refuse_all(group, ServiceUnavailable(problem)), False
            except lmdb.PanicError as error:
                self.failed = True
                return self._refuse_all(group, _broken(self._region, error)), False
            except lmdb.Error as error:
                problem = (
                    f"the disk of region {self._region} refuses writes ({error}); nothing was"
                    f" changed; free space under {self._environment.path}"
                )
                effects = self._refuse_all(group, ServiceUnavailable(problem))
                try:
                    self._start_over()
                except lmdb.Error:
                    self.failed = True
                return effects, False
            except AntipodesError as error:
                self._start_over()
                log.error("transaction_aborted", problem=str(error), events=len(group))
                return [Refuse(None, error)] * len(group), True
            except Exception as error:  # one bad event must not end the process
                self._start_over()
                log.error("transaction_aborted", exc_info=error, events=len(group))
                internal = InternalServerError(f"internal error: {type(error).__name__}: {error}")
                return [Refuse(None, internal)] * len(group), True

    def _commit(self, group: list[tuple[Event, Done, float]]) -> list[Effect]:
        now_ms = wall_clock.now_ms()
        now = time.monotonic()
        replica = self._replica
        head = replica.head_lsn
        txn = self._environment.write()
        try:
            effects = [
                replica.step(txn, event, now_ms) if now <= deadline else _TOO_LATE
                for event, _, deadline in group
            ]
            replica.seal(txn)
            txn.commit()
        except BaseException:
            txn.abort()
            raise
        self._commits += 1
        self._writes += replica.head_lsn - head
        if self.writes_refused:
            log.info("writes_accepted_again", region=self._region)
            self.writes_refused = ""
        return effects

    def _refuse_all(
        self, group: list[tuple[Event, Done, float]], error: ServiceUnavailable
    ) -> list[Effect]:
        if not self.writes_refused:
            log.error("writes_refused", problem=str(error))
        self.writes_refused = str(error)
        return [Refuse(None, error)] * len(group)

    def _recover(self) -> Replica:
        with self._environment.write() as txn:
            return Replica.recover(self._region, self._environment.dbs, txn, wall_clock.now_ms())

    def _start_over(self) -> None:
        """Forget what the aborted transaction changed in memory; keep what only counts."""
        before = self._replica
        self._replica = self._recover()
        self._replica.counts = before.counts
        self._replica.clock.drift_rejected = before.clock.drift_rejected

    def _grow(self) -> None:
        """Enlarge the map on the loop, where all reads happen, so that none is under way."""
        before = self._environment.map_bytes
        if self._loop.is_closed() or self._stopping:
            self._environment.grow()
        else:
            grown: ThreadFuture[None] = ThreadFuture()

            def grow() -> None:
                try:
                    self._environment.grow()
                    grown.set_result(None)
                except lmdb.Error as error:
                    grown.set_exception(error)

            self._loop.call_soon_threadsafe(grow)
            grown.result()
        log.info("map_grown", bytes_before=before, bytes_now=self._environment.map_bytes)

    def _make_view(self) -> View:
        replica, before = self._replica, self._newest
        catalog = (replica, replica.catalog.generation)
        tables, by_id, pending = before.tables, before.tables_by_id, before.pending
        if self._published != catalog:
            by_id = dict(replica.catalog.by_id)
            tables = {table.name: table for table in by_id.values()}
            pending = dict(replica.catalog.pending)
            self._published = catalog
        return View(
            origin=replica.origin,
            head_lsn=replica.head_lsn,
            hlc=replica.clock.value,
            watermarks=dict(replica.watermarks),
            names=dict(replica.names),
            tables=tables,
            tables_by_id=by_id,
            pending=pending,
            commits=self._commits,
            writes=self._writes,
            counts=dict(replica.counts),
            drift_rejected=replica.clock.drift_rejected,
            purge_due=replica.catalog.purge_due,
        )

    def _call_loop(self, function: Callable[[], Any]) -> None:
        # The loop may be gone during shutdown: nobody waits any more.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _deliver(self, pairs: list[tuple[Done, Effect]], view: View) -> None:
        self.view = view
        for done, effect in pairs:
            done(effect)
        self._on_commit(view)


_TOO_LATE = Refuse(None, ServiceUnavailable("the deadline passed before the write began"))


def _broken(region: str, error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(f"the database of region {region} failed ({error}); restart the node")
