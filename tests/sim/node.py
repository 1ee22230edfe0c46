"""One region's process: drives the core as a node does, on virtual time and a simulated disk."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from antipodes.core.errors import Corrupt
from antipodes.core.replication import (
    Acknowledge,
    Effect,
    EntriesArrived,
    Event,
    PurgeDue,
    Refuse,
    Replica,
    ReportProgress,
    WriteRequested,
)
from antipodes.core.tailing import (
    HEARTBEAT_MS,
    SILENCE_MS_MAX,
    Apply,
    Batch,
    Disconnect,
    Heartbeat,
    Hello,
    Learn,
    Progress,
    Reject,
    Stop,
    TailReceiver,
    TailSender,
    Welcome,
    check_hello,
    log_head,
    origin_head,
    split,
)
from antipodes.core.versions import Origin
from tests.sim.changes import TableChanges
from tests.sim.faults import Faults
from tests.sim.history import History, Violation
from tests.sim.network import Connection
from tests.sim.store import DiskFull, MemoryStore, MemoryTransaction

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

CLUSTER_ID = "simulated"
REMINDER_MS = 400

Done = list[tuple[Event, Effect]]


@dataclass(slots=True)
class SimClock:
    """A wall clock that may be wrong."""

    true_ms: Callable[[], int]
    offset_ms: int = 0
    frozen_ms: int | None = None

    def now_ms(self) -> int:
        """Read it."""
        return self.true_ms() + self.offset_ms if self.frozen_ms is None else self.frozen_ms


class Sender(TailSender):
    """The core's sender with a window small enough to be filled."""

    window_bytes = 0

    @property
    def has_room(self) -> bool:
        return self._sent_bytes - self._acknowledged_bytes < self.window_bytes


class Node:
    """One region: its disk and clock last, the rest lives from one crash to the next.

    Attributes:
        up: The process runs.
        replica: The core's state.
        receivers: The tails of the other regions' logs.
        queue: Events that wait for a transaction.
    """

    replica_class: type[Replica] = Replica
    changes_class: type[TableChanges] = TableChanges

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.name = name
        self.cluster = cluster
        self.rng: Random = cluster.rng
        self.history: History = cluster.history
        self.clock = SimClock(cluster.wall_ms)
        self.store = MemoryStore()
        self.dbs = self.store.databases()
        self.up = False
        self.queue: deque[Event] = deque()
        self.receivers: dict[str, TailReceiver] = {}
        self._life = 0
        self._commit_is_due = False
        self._dialled: dict[str, Connection] = {}
        self._senders: dict[Connection, Sender] = {}
        self._unreported: set[Connection] = set()
        self._group_max = self.rng.choice([1, 3, 20])
        self._chunk_max = self.rng.choice([1, 2, 1000])
        self._batch_max = self.rng.choice([1, 2, 5, 1000])
        self._window_bytes = self.rng.choice([1, 1_000, 8_000_000])

    @property
    def faults(self) -> Faults:
        return self.cluster.net.faults

    @property
    def peers(self) -> list[str]:
        return [name for name in self.cluster.names if name != self.name]

    # --- process

    def start(self) -> None:
        """Start the process: read the disk, go on with what was under way, dial all others."""
        self.up = True
        self._life += 1
        self.queue.clear()
        self._commit_is_due = False
        self._dialled.clear()
        self._senders.clear()
        self._unreported.clear()
        self._recover()
        self.changes = self.changes_class(self)
        self.receivers = {
            peer: TailReceiver(CLUSTER_ID, self.replica.origin, peer) for peer in self.peers
        }
        for peer in self.peers:
            self.later(self.rng.choice([0, 0, 50]), partial(self._dial, peer))
        self._remind()

    def crash(self) -> None:
        """Stop without a word; what is not durable is gone."""
        self.note("crashed")
        self.cluster.crashes += 1
        self.up = False
        self._life += 1
        self.store.crash()
        for connection in [*self._dialled.values(), *self._senders]:
            connection.open_ends.discard(self.name)
        self.cluster.later(self.rng.choice([0, 10, 1_000, 4_000]), self.start)

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Schedule a call that is forgotten when the process ends."""
        life = self._life

        def call_if_alive() -> None:
            if self._life == life:
                call()

        self.cluster.later(delay_ms, call_if_alive)

    def note(self, what: str, *details: object) -> None:
        self.cluster.note(self.name, what, *details)

    def _recover(self) -> None:
        txn = self.store.write()
        self.replica = self.replica_class.recover(self.name, self.dbs, txn, self.clock.now_ms())
        txn.commit()
        self.note("recovered", self.replica.head_lsn, self.replica.clock.value)
        self.history.recovered(self.replica)

    def _remind(self) -> None:
        self.changes.remind()
        if self.replica.catalog.purge_due and self.rng.random() < 0.3:
            self.submit(PurgeDue())
        self.later(REMINDER_MS, self._remind)

    # --- transactions

    def submit(self, event: Event) -> None:
        """Queue an event for one of the next transactions; its token is called with the effect."""
        self.queue.append(event)
        if not self._commit_is_due:
            self._commit_is_due = True
            self.later(self.rng.choice([0, 0, 1, 5, 40]), self._transact)

    def _transact(self) -> None:
        self._commit_is_due = False
        size = min(len(self.queue), self.rng.randint(1, self._group_max))
        group = [self.queue.popleft() for _ in range(size)]
        if self.queue:
            self._commit_is_due = True
            self.later(self.rng.choice([0, 0, 1]), self._transact)
        if not group:
            return
        txn = self.store.write()
        if self.rng.random() < self.faults.disk_full:
            self.store.puts_left = self.rng.randint(0, 10)
        try:
            done = [(event, self.replica.step(txn, event, self.clock.now_ms())) for event in group]
            self.replica.seal(txn)
        except DiskFull:
            txn.abort()
            self._start_over()
        except Corrupt as error:
            raise Violation(f"{self.name}: {error}") from error
        else:
            self.commit(txn, done)

    def commit(self, txn: MemoryTransaction, done: Done) -> None:
        """Make a transaction durable, then, and only then, tell everybody."""
        if self.cluster.crash_is_due(self, committed=False):
            self.crash()
            return
        txn.commit()
        self.note("committed", self.replica.head_lsn, self.replica.clock.value, len(done))
        self.history.committed(self.replica, self.store.read(), self.dbs, done)
        if self.cluster.crash_is_due(self, committed=True):
            self.crash()
            return
        self.carry_out(done)

    def carry_out(self, done: Done) -> None:
        """Do what the transaction's effects say, and wake the tails."""
        for event, effect in done:
            if isinstance(event, WriteRequested):
                match effect:
                    case Acknowledge():
                        self.history.acknowledge(self.replica, event, effect)
                    case Refuse():
                        self.history.refused += 1
                    case _:
                        raise Violation(f"{effect} answers a write")
            if event.token is not None:
                event.token(effect)
        for connection in list(self._senders):
            self.pump(connection)

    def _start_over(self) -> None:
        """Go on after a failed transaction: memory is read again, and so are the tails."""
        self.note("disk_full")
        self.cluster.full_disks += 1
        self.changes = self.changes_class(self)
        self._recover()
        for connection in list(self._dialled.values()):
            self._hang_up(connection, "the transaction failed")

    # --- following others

    def _dial(self, peer: str) -> None:
        receiver = self.receivers[peer]
        met = [origin for origin in self.replica.names.values() if origin.region == peer]
        origin = max(met, key=lambda origin: origin.incarnation, default=None)
        applied_lsn = self.replica.watermarks.get(origin.id, 0) if origin else 0
        hello = receiver.connected(applied_lsn, origin)
        if self.rng.random() < self.faults.stale_hello:
            hello = replace(hello, after_lsn=self.rng.randint(0, applied_lsn))
        connection = self.cluster.net.dial(self.name, peer)
        self._dialled[peer] = connection
        self.send(connection, hello)
        self._watch(connection, self.cluster.time_ms)

    def _watch(self, connection: Connection, dialled_ms: int) -> None:
        if connection is self._dialled.get(connection.origin):
            heard_ms = self.receivers[connection.origin].last_heard_ms or 0
            if self.cluster.time_ms - max(heard_ms, dialled_ms) > SILENCE_MS_MAX:
                self._hang_up(connection, "silence")
            else:
                self.later(HEARTBEAT_MS, partial(self._watch, connection, dialled_ms))

    def _hang_up(self, connection: Connection, problem: str) -> None:
        peer = connection.origin
        connection.open_ends.discard(self.name)
        if self._dialled.get(peer) is connection:
            del self._dialled[peer]
            self.note("hung_up", peer, problem)
            if self.rng.random() >= self.faults.late_apply:
                self.queue = deque(e for e in self.queue if not self._came_from(peer, e))
            wait_ms = int(self.receivers[peer].lost(problem, self.rng))
            self.later(wait_ms, partial(self._dial, peer))

    def _came_from(self, peer: str, event: Event) -> bool:
        return isinstance(event, EntriesArrived) and event.origin == Origin(peer, 1).id

    def _from_origin(
        self, connection: Connection, message: Welcome | Batch | Heartbeat | Reject
    ) -> None:
        if self._dialled.get(connection.origin) is not connection:
            return
        receiver = self.receivers[connection.origin]
        effects = receiver.arrived(message, self.cluster.time_ms)
        if isinstance(message, Batch) and not effects:
            self._report(connection)  # A repeat counts against the window too.
        for effect in effects:
            match effect:
                case Learn(event):
                    self.submit(event)
                case Apply(event, size_bytes):
                    chunks = list(split(event, self.rng.randint(1, self._chunk_max)))
                    for chunk in chunks:
                        size = size_bytes if chunk is chunks[-1] else 0
                        token = partial(self._applied, connection, size)
                        self.submit(replace(chunk, token=token))
                case Disconnect(problem):
                    self._hang_up(connection, problem)
                case Stop(problem):
                    raise Violation(f"{self.name} stopped following {connection.origin}: {problem}")

    def _applied(self, connection: Connection, size_bytes: int, effect: Effect) -> None:
        if isinstance(effect, Refuse):
            self._hang_up(connection, effect.error.message)
            return
        assert isinstance(effect, ReportProgress)
        current = self._dialled.get(connection.origin) is connection
        self.receivers[connection.origin].applied(
            effect.applied_lsn,
            effect.applied_count,
            size_bytes if current else 0,
            effect.newest_wall_ms,
            self.clock.now_ms(),
        )
        if current:
            self._report(connection)

    def _report(self, connection: Connection) -> None:
        if connection not in self._unreported:
            self._unreported.add(connection)
            self.later(self.rng.choice([0, 200]), partial(self._report_now, connection))

    def _report_now(self, connection: Connection) -> None:
        self._unreported.discard(connection)
        if self._dialled.get(connection.origin) is connection:
            self.send(connection, self.receivers[connection.origin].progress(self._watermarks()))

    def _watermarks(self) -> tuple[tuple[Origin, int], ...]:
        replica = self.replica
        return tuple((replica.names[id], lsn) for id, lsn in sorted(replica.watermarks.items()))

    # --- being followed

    def _from_receiver(self, connection: Connection, message: Hello | Progress) -> None:
        match message:
            case Hello():
                self._greet(connection, message)
            case Progress():
                self._senders[connection].progressed(message)
                self.pump(connection)

    def _greet(self, connection: Connection, hello: Hello) -> None:
        origin = self.replica.origin
        members = frozenset(self.cluster.names)
        head_lsn = log_head(self.store.read(), self.dbs)
        reject = check_hello(hello, CLUSTER_ID, origin, members, head_lsn)
        if reject is not None:
            raise Violation(f"{self.name} rejects {connection.receiver}: {reject.message}")
        sender = self._senders[connection] = Sender(hello, origin)
        sender.window_bytes = self._window_bytes
        self.send(connection, sender.welcome(origin, dict(self.replica.names)))
        self._beat(connection)

    def _beat(self, connection: Connection) -> None:
        if self.name not in connection.open_ends or self.name in connection.broken:
            connection.open_ends.discard(self.name)
            del self._senders[connection]
            return
        self.pump(connection, even_empty=True)
        txn = self.store.read()
        heartbeat = Heartbeat(
            log_head(txn, self.dbs),
            origin_head(txn, self.dbs, self.replica.origin_id),
            self.replica.clock.value,
            self.clock.now_ms(),
            self._watermarks(),
        )
        self.send(connection, heartbeat)
        self.later(HEARTBEAT_MS, partial(self._beat, connection))

    def pump(self, connection: Connection, *, even_empty: bool = False) -> None:
        """Send what there is, as far as the receiver has room."""
        sender = self._senders[connection]

        def concerns(table_id: bytes) -> bool:
            table = self.replica.catalog.by_id.get(table_id)
            return table is not None and connection.receiver in table.regions

        while batch := sender.next_batch(
            self.store.read(),
            self.dbs,
            concerns,
            self.replica.names,
            even_empty=even_empty,
            entries_max=self.rng.randint(1, self._batch_max),
        ):
            if batch.entries and self.rng.random() < self.faults.flip:
                batch = replace(batch, entries=flip_bit(batch.entries, self.rng))
                self.cluster.flipped += 1
            self.send(connection, batch)

    # --- network

    def disconnected(self, connection: Connection) -> None:
        """Learn that a connection is gone."""
        if connection.receiver == self.name:
            self._hang_up(connection, "the connection is gone")
        else:
            connection.open_ends.discard(self.name)

    def send(self, connection: Connection, message: Any) -> None:
        """Send on a connection."""
        peer = self.cluster.nodes[connection.peer_of(self.name)]
        self.cluster.net.send(connection, self.name, partial(peer.arrived, connection), message)

    def arrived(self, connection: Connection, message: Any) -> None:
        """Take a message of a connection."""
        if not self.up:
            connection.open_ends.discard(self.name)
            return
        self.note("arrived", connection.number, type(message).__name__)
        if connection.receiver == self.name:
            self._from_origin(connection, message)
        elif isinstance(message, Hello) or connection in self._senders:
            self._from_receiver(connection, message)

    def post(self, region: str, message: Any) -> None:
        """Send a message of a table change."""
        self.cluster.net.post(self.name, region, self.cluster.nodes[region].posted, message)

    def posted(self, message: Any) -> None:
        """Take a message of a table change."""
        if self.up:
            self.note("posted", type(message).__name__)
            self.changes.arrived(message)

    def gives_up(self) -> bool:
        """Tell whether a table change takes too long."""
        return self.rng.random() < self.faults.change_times_out


def flip_bit(entries: tuple[bytes, ...], rng: Random) -> tuple[bytes, ...]:
    """Damage one bit."""
    index = rng.randrange(len(entries))
    damaged = bytearray(entries[index])
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return (*entries[:index], bytes(damaged), *entries[index + 1 :])
