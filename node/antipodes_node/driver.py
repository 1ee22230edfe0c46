"""Runs the replica: one thread owns it and all writes to LMDB, the event loop owns the rest.

Requests queue up while a commit is on its way to the disk; the thread then takes what is there,
lets it happen in one transaction, commits once with fsync, and hands all outcomes to the loop in
one call. While the thread changes the transaction the loop stands still: every call to LMDB lets go
of the interpreter, and beside a busy loop the thread would wait for it after each of them. Entries
of other regions wait in a queue of their own, of which each transaction takes one part, so that
catching up does not starve clients.
"""

import asyncio
import sys
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import lmdb
import structlog

from antipodes import wall_clock
from antipodes.core import limits
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
    OriginsNamed,
    Refuse,
    Replica,
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

SWITCH_SECONDS = 0.0005
"""How long other threads may keep the interpreter from the writer during a transaction. Outside of
one CPython's default holds: gRPC's own thread would otherwise interrupt the loop at every turn."""
GATHER_SECONDS_MAX = 0.002
"""How long a write waits for others to share its commit, when others were in flight of late."""
SIBLINGS_MAX = 16
"""A group of so many does not wait for more."""
STAND_STILL_SECONDS_MAX = 0.002
"""How long the loop waits for the thread to have changed the transaction."""

PROBE_SECONDS = 1.0
"""How often a node that ran out of room looks whether there is room again."""
PROBE_BYTES = 3 * limits.ITEM_SIZE_BYTES_MAX
"""What the largest write takes: the item, and its new and its old image in the log."""

Done = Callable[[Effect], None]
Entry = tuple[Event, Done, float]


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

    When the disk or the map is full, clients' writes and entries of other regions are refused
    until a probe finds room for the largest write. Whatever frees room goes on.

    Attributes:
        view: The newest published state.
        writes_refused: Why writes are refused at the moment; empty when they are not.
        failed: The environment is beyond use; nothing but a restart helps.
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
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._remote: deque[Entry] = deque()
        self._gathered: list[Entry] = []  # by the loop, while a group is under way
        self._handing_over = False
        self._siblings = 1
        self._patience: asyncio.TimerHandle | None = None
        self._local_under_way = 0
        self._remote_under_way = 0
        self._stepped: threading.Lock | None = None  # released once the loop may go on
        self._commits = 0
        self._writes = 0
        self._stopping = False
        self.writes_refused = ""
        self._probe_due = 0.0
        self.failed = False
        self._replica = self._recover()
        self._published: tuple[Replica, int] | None = None
        self._newest = View(self._replica.origin)  # by the writer; `view` lags behind it
        self.view = self._newest = self._make_view()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is queued, then end the thread. The loop goes on: the thread may need it."""
        self._hand_over()
        self._stopping = True
        self._queue.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    # --- called on the event loop

    def submit(self, event: Event, done: Done, deadline: float = float("inf")) -> None:
        """Let an event happen.

        Args:
            event: What happened.
            done: Called on the loop once the outcome is durable, or refused.
            deadline: By `time.monotonic`; a client's writes are not begun after it.
        """
        if isinstance(event, _FromPeers):  # names go before what uses them
            self._remote_under_way += 1
            self._remote.append((event, done, deadline))
            self._queue.put(None)
            return
        self._gathered.append((event, done, deadline))
        if len(self._gathered) >= GROUP_EVENTS_MAX:
            self._hand_over()
        else:
            self._plan_hand_over()

    def _plan_hand_over(self) -> None:
        """Hand over what has gathered once no group is out and enough has come.

        Enough is what was in flight of late, so that a lone client never waits for company; every
        commit costs the same whether it carries one write or many.
        """
        if not self._gathered or self._local_under_way or self._handing_over:
            return
        if len(self._gathered) >= self._siblings:
            self._handing_over = True
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
            self._loop.call_soon(self._hand_over)
        elif self._patience is None:
            self._patience = self._loop.call_later(GATHER_SECONDS_MAX, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        self._siblings = 1
        self._plan_hand_over()

    def _hand_over(self) -> None:
        """Give the thread what has gathered, and stand still until it has changed the transaction.

        The commit, which waits for the disk, goes on beside the loop. When the thread is busy
        already there is nothing to wait for.
        """
        self._handing_over = False
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        stand_still = not self._local_under_way and not self._remote_under_way
        self._local_under_way += len(gathered)
        stepped = threading.Lock()
        stepped.acquire()
        if stand_still:
            self._stepped = stepped
        for entry in gathered:
            self._queue.put(entry)
        if stand_still:
            stepped.acquire(timeout=STAND_STILL_SECONDS_MAX)

    def happen(self, event: Event, deadline: float = float("inf")) -> "Future[Effect]":
        """Let an event happen; the future gives its effect, or raises why it was refused."""
        future: Future[Effect] = self._loop.create_future()

        def done(effect: Effect) -> None:
            if future.done():
                return
            if isinstance(effect, Refuse):
                future.set_exception(effect.error)
            else:
                future.set_result(effect)

        self.submit(event, done, deadline)
        return future

    async def write(
        self, event: WriteRequested, deadline: float = float("inf")
    ) -> tuple[WriteOutcome, ...]:
        """Make writes durable, all or none.

        Args:
            event: What to write.
            deadline: As for `submit`.

        Raises:
            AntipodesError: They were refused; nothing was changed.
        """
        effect = await self.happen(event, deadline)
        assert isinstance(effect, Acknowledge)
        return effect.outcomes

    # --- the writer thread

    def _run(self) -> None:
        while True:
            if group := self._gather():
                self._carry_out(group)
            if self.writes_refused and time.monotonic() >= self._probe_due:
                self._probe()
            if self._stopping and self._queue.empty() and not self._remote:
                return

    def _gather(self) -> list[Entry]:
        """Take what waits, up to a full group; wait when there is nothing."""
        try:
            entry = self._queue.get(timeout=PROBE_SECONDS if self.writes_refused else None)
        except Empty:
            return []
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
        while self._remote:
            group.append(self._remote.popleft())
            if isinstance(group[-1][0], EntriesArrived):
                break
        if self._remote:
            self._queue.put(None)
        return group

    def _carry_out(self, group: list[Entry]) -> None:
        """Let a group happen; when it fails as a whole, let each event happen by itself."""
        if self.writes_refused:
            group = self._refuse_what_needs_room(group)
            if not group:
                return
        effects, retry = self._attempt(group)
        if retry and len(group) > 1:
            effects = []
            for entry in group:
                effects += self._attempt([entry])[0]
        if not self.failed:
            self._newest = self._make_view()
        self._answer(group, effects)

    def _refuse_what_needs_room(self, group: list[Entry]) -> list[Entry]:
        """Refuse writes and entries of other regions; gives what may be tried all the same."""
        held: list[Entry] = []
        rest: list[Entry] = []
        for entry in group:
            needs_room = isinstance(entry[0], WriteRequested | EntriesArrived)
            (held if needs_room or self.failed else rest).append(entry)
        refusal = Refuse(None, ServiceUnavailable(self.writes_refused))
        self._answer(held, [refusal] * len(held))
        return rest

    def _answer(self, group: list[Entry], effects: list[Effect]) -> None:
        self._let_loop_go()
        pairs = [(done, effect) for (_, done, _), effect in zip(group, effects, strict=True)]
        remote = sum(isinstance(event, _FromPeers) for event, _, _ in group)
        view = self._newest
        # The loop may be gone during shutdown: nobody waits any more.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, pairs, remote, view)

    def _attempt(self, group: list[Entry]) -> tuple[list[Effect], bool]:
        """Let a group happen in one transaction.

        Returns:
            An effect for each event; and whether the group should be tried one by one.
        """
        try:
            while True:
                try:
                    return self._commit(group), False
                except lmdb.MapFullError:
                    self._start_over()
                    if not self._environment.can_grow:
                        return self._refuse_all(group, self._describe_full_map()), False
                    self._grow()
                except lmdb.PanicError:
                    raise
                except lmdb.Error as error:
                    self._start_over()
                    problem = (
                        f"the disk of region {self._region} refuses writes ({error}); nothing was"
                        f" changed; free space under {self._environment.path}"
                    )
                    return self._refuse_all(group, problem), False
                except Exception as error:  # one bad event must not end the process
                    self._start_over()
                    log.error("transaction_aborted", exc_info=error, events=len(group))
                    if not isinstance(error, AntipodesError):
                        error = InternalServerError(
                            f"internal error: {type(error).__name__}: {error}"
                        )
                    return [Refuse(None, error)] * len(group), True
        except Exception as error:  # storage cannot even be read again
            log.critical("storage_failed", exc_info=error)
            self.failed = True
            problem = (
                f"the database of region {self._region} failed ({error}); restart the node,"
                f" and check the disk under {self._environment.path}"
            )
            return self._refuse_all(group, problem), False

    def _describe_full_map(self) -> str:
        return (
            f"the database of region {self._region} is full"
            f" ({self._environment.map_bytes >> 20} MiB); nothing was changed;"
            " raise --map-bytes-max and restart"
        )

    def _commit(self, group: list[Entry]) -> list[Effect]:
        now_ms = wall_clock.now_ms()
        now = time.monotonic()
        replica = self._replica
        head = replica.head_lsn
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        txn = self._environment.write()
        try:
            effects = [
                replica.step(txn, event, now_ms) if now <= deadline else _TOO_LATE
                for event, _, deadline in group
            ]
            replica.seal(txn)
            self._let_loop_go()
            txn.commit()
        except BaseException:
            txn.abort()
            raise
        finally:
            sys.setswitchinterval(usual)
        self._commits += 1
        self._writes += replica.head_lsn - head
        return effects

    def _let_loop_go(self) -> None:
        stepped, self._stepped = self._stepped, None
        if stepped is not None:
            stepped.release()

    def _refuse_all(self, group: list[Entry], problem: str) -> list[Effect]:
        if not self.writes_refused:
            log.error("writes_refused", problem=problem)
        self.writes_refused = problem
        self._probe_due = time.monotonic() + PROBE_SECONDS
        return [Refuse(None, ServiceUnavailable(problem))] * len(group)

    def _probe(self) -> None:
        """Take writes again if there is room for the largest."""
        self._probe_due = time.monotonic() + PROBE_SECONDS
        if self.failed:
            return
        keys = [b"probe/%d" % number for number in range(PROBE_BYTES // _PROBE_VALUE_BYTES)]
        meta = self._environment.dbs.meta
        try:
            with self._environment.write() as txn:
                for key in keys:
                    txn.put(key, bytes(_PROBE_VALUE_BYTES), db=meta)
            with self._environment.write() as txn:
                for key in keys:
                    txn.delete(key, db=meta)
        except lmdb.MapFullError:
            if self._environment.can_grow:
                self._grow()
                self._probe()
            return
        except lmdb.Error:
            return
        self.writes_refused = ""
        log.info("writes_accepted_again")

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

    def _deliver(self, pairs: list[tuple[Done, Effect]], remote: int, view: View) -> None:
        self.view = view
        self._remote_under_way -= remote
        self._siblings = min(SIBLINGS_MAX, self._local_under_way + len(self._gathered))
        self._local_under_way -= len(pairs) - remote
        for done, effect in pairs:
            try:
                done(effect)
            except Exception as error:  # the others wait for theirs
                log.error("outcome_not_delivered", exc_info=error)
        self._on_commit(view)
        self._plan_hand_over()


_FromPeers = EntriesArrived | OriginsNamed
_TOO_LATE = Refuse(None, ServiceUnavailable("the deadline passed before the write began"))
_PROBE_VALUE_BYTES = limits.ITEM_SIZE_BYTES_MAX
