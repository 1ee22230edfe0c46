"""Following another region's log: what both ends of a tail say and decide.

The receiver dials the origin and says up to where it has everything. The origin sends intervals:
a batch (prev, through] holds every entry of the origin in it that concerns the receiver, so that a
repeat is recognised and a gap cannot pass. Both ends are state machines without input or output;
a node drives them over gRPC, the simulator over its own network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from antipodes.core import limits
from antipodes.core.formats import (
    LSN,
    crc32c,
    crc32c_extend,
    log_body,
    peek_dot,
    peek_table_id,
    peek_transaction,
)
from antipodes.core.replication import EntriesArrived, OriginsNamed
from antipodes.core.store import Databases, Transaction
from antipodes.core.versions import Origin, OriginId

PROTOCOL_VERSION = 1
HEARTBEAT_MS = 1_000
SILENCE_MS_MAX = 3 * HEARTBEAT_MS
RETRY_MS_MIN = 100
RETRY_MS_MAX = 10_000
APPLY_TRIES_MAX = 3
"""A batch that cannot be applied stops the tail after so many tries; it is never skipped."""


class Random(Protocol):
    """What is needed of `random.Random`."""

    def uniform(self, a: float, b: float) -> float:
        """Draw a number between two others."""
        ...


# --- messages, as in proto/antipodes/v1/replication.proto


@dataclass(frozen=True, slots=True)
class Hello:
    """Who calls, and where to go on."""

    protocol_version: int
    cluster_id: str
    receiver: Origin
    origin: Origin
    """Whom the receiver believes to dial; incarnation 0 when it never met it."""
    after_lsn: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The origin accepts the call."""

    origin: Origin
    known_origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Every entry of the origin in (prev_lsn, through_lsn] that concerns the receiver."""

    prev_lsn: int
    through_lsn: int
    entries: tuple[bytes, ...]
    crc32c: int
    known_origins: tuple[Origin, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What counts against the flow-control window."""
        return sum(map(len, self.entries)) + 64


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The origin lives, and this is how far it is."""

    head_lsn: int
    origin_head_lsn: int
    hlc: int
    wall_ms: int
    watermarks: tuple[tuple[Origin, int], ...] = ()


class RejectReason(Enum):
    """Why an origin ends a tail. Numbers as in the proto file."""

    CLUSTER_MISMATCH = 1
    PROTOCOL_VERSION = 2
    RESYNC_REQUIRED = 3
    EPOCH_MISMATCH = 4
    UNKNOWN_MEMBER = 5
    INCARNATION_UNKNOWN = 6
    AMNESIA_SUSPECTED = 7
    FENCED = 8
    PAUSED = 9
    WRONG_REGION = 10


@dataclass(frozen=True, slots=True)
class Reject:
    """The origin ends the tail."""

    reason: RejectReason
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What the receiver has durably applied."""

    watermarks: tuple[tuple[Origin, int], ...]
    acknowledged_bytes: int


def checksum(prev_lsn: int, through_lsn: int, entries: tuple[bytes, ...]) -> int:
    """Compute the checksum of a batch: over its interval and all entries in order."""
    crc = crc32c(LSN.pack(prev_lsn) + LSN.pack(through_lsn))
    for entry in entries:
        crc = crc32c_extend(crc, entry)
    return crc


# --- the origin's end


def log_head(txn: Transaction, dbs: Databases) -> int:
    """Read the position of the newest log entry; 0 when there is none."""
    cursor = txn.cursor(dbs.log)
    return int(LSN.unpack(cursor.key())[0]) if cursor.last() else 0


def origin_head(txn: Transaction, dbs: Databases, origin: OriginId) -> int:
    """Read the position of the newest entry that one origin accepted; 0 when there is none."""
    cursor = txn.cursor(dbs.log_by_origin)
    after = (int.from_bytes(origin) + 1).to_bytes(9)[1:]
    found = cursor.set_range(after) if after > origin else False
    found = cursor.prev() if found else cursor.last()
    if not found or not cursor.key().startswith(origin):
        return 0
    return int(LSN.unpack(cursor.key()[8:])[0])


def read_batch(
    txn: Transaction,
    dbs: Databases,
    origin: OriginId,
    after_lsn: int,
    concerns: Callable[[bytes], bool],
    *,
    bytes_max: int = limits.REPLICATION_BATCH_BYTES_MAX,
    entries_max: int = limits.REPLICATION_BATCH_ENTRIES_MAX,
) -> Batch:
    """Read the next interval of this region's own entries.

    Args:
        txn: A read transaction, which is a consistent view.
        dbs: The databases.
        origin: This region.
        after_lsn: Where the last interval ended.
        concerns: Tells for a table id whether the receiver holds the table.
        bytes_max: Stop after so many bytes, but never inside a transaction.
        entries_max: Stop after so many entries, likewise.

    Returns:
        An interval, possibly without entries; it then ends at the head of the log.
    """
    entries: list[bytes] = []
    size = 0
    through = after_lsn
    cursor = txn.cursor(dbs.log_by_origin)
    found = cursor.set_range(origin + LSN.pack(after_lsn + 1))
    while found:
        key, position = cursor.item()
        if not key.startswith(origin):
            found = False
            break
        stored = txn.get(position, db=dbs.log)
        assert stored is not None, "the index names an entry that the log does not hold"
        body = log_body(stored)
        through = LSN.unpack(key[8:])[0]
        if concerns(peek_table_id(body)):
            entries.append(body)
            size += len(body)
        index, count = peek_transaction(body)
        if index + 1 >= count and (size >= bytes_max or len(entries) >= entries_max):
            break
        found = cursor.next()
    if not found:
        through = max(through, log_head(txn, dbs))
    sent = tuple(entries)
    return Batch(after_lsn, through, sent, checksum(after_lsn, through, sent))


class TailSender:
    """The origin's end of one tail.

    Args:
        hello: What the receiver said; checked before by `check_hello`.
        origin: This region.
    """

    def __init__(self, hello: Hello, origin: Origin) -> None:
        self.receiver = hello.receiver.region
        self.sent_through = hello.after_lsn
        self._origin_id = origin.id
        self._sent_bytes = 0
        self._acknowledged_bytes = 0
        self._names_sent: set[OriginId] = set()

    def welcome(self, origin: Origin, known: dict[OriginId, Origin]) -> Welcome:
        """Accept the call."""
        self._names_sent.update(known)
        return Welcome(origin, tuple(known.values()))

    @property
    def has_room(self) -> bool:
        """The receiver has acknowledged enough for another batch."""
        in_flight = self._sent_bytes - self._acknowledged_bytes
        return in_flight < limits.REPLICATION_UNACKNOWLEDGED_BYTES_MAX

    def next_batch(
        self,
        txn: Transaction,
        dbs: Databases,
        concerns: Callable[[bytes], bool],
        known: dict[OriginId, Origin],
        *,
        even_empty: bool,
        entries_max: int = limits.REPLICATION_BATCH_ENTRIES_MAX,
    ) -> Batch | None:
        """Read what to send next; None when there is nothing or no room.

        Args:
            txn: A read transaction.
            dbs: The databases.
            concerns: As for `read_batch`.
            known: All origins this region knows.
            even_empty: Move the receiver's watermark over what does not concern it. Costs it a
                commit, hence done with heartbeats only.
            entries_max: As for `read_batch`.
        """
        if not self.has_room:
            return None
        batch = read_batch(
            txn, dbs, self._origin_id, self.sent_through, concerns, entries_max=entries_max
        )
        if not batch.entries and (not even_empty or batch.through_lsn == self.sent_through):
            return None
        if len(known) > len(self._names_sent):
            fresh = tuple(o for i, o in known.items() if i not in self._names_sent)
            self._names_sent.update(origin.id for origin in fresh)
            batch = Batch(batch.prev_lsn, batch.through_lsn, batch.entries, batch.crc32c, fresh)
        self.sent_through = batch.through_lsn
        self._sent_bytes += batch.size_bytes
        return batch

    def progressed(self, progress: Progress) -> None:
        """Note what the receiver has applied."""
        self._acknowledged_bytes = max(self._acknowledged_bytes, progress.acknowledged_bytes)


def check_hello(
    hello: Hello, cluster_id: str, origin: Origin, members: frozenset[str], head_lsn: int
) -> Reject | None:
    """Decide whether to serve a receiver.

    Args:
        hello: What it said.
        cluster_id: Of this region.
        origin: This region.
        members: Regions of the cluster, this one included.
        head_lsn: Of this region's log.
    """
    if hello.protocol_version != PROTOCOL_VERSION:
        return Reject(
            RejectReason.PROTOCOL_VERSION,
            f"region {hello.receiver.region} speaks replication protocol"
            f" {hello.protocol_version}, region {origin.region} speaks {PROTOCOL_VERSION};"
            " upgrade the older one",
        )
    if hello.cluster_id != cluster_id:
        return Reject(
            RejectReason.CLUSTER_MISMATCH,
            f"region {hello.receiver.region} belongs to cluster {hello.cluster_id!r}, region"
            f" {origin.region} to cluster {cluster_id!r}; check the peer addresses of both",
        )
    if hello.origin.region != origin.region:
        return Reject(
            RejectReason.WRONG_REGION,
            f"region {hello.receiver.region} dialled {hello.origin.region} but reached"
            f" {origin.region}; correct its peer address",
        )
    if hello.receiver.region not in members:
        return Reject(
            RejectReason.UNKNOWN_MEMBER,
            f"region {hello.receiver.region} is not a peer of region {origin.region};"
            f" add --peer {hello.receiver.region}=HOST:PORT there",
        )
    if hello.origin.incarnation not in (0, origin.incarnation):
        return Reject(
            RejectReason.INCARNATION_UNKNOWN,
            f"region {hello.receiver.region} follows {hello.origin},"
            f" this is {origin}: its data directory was replaced",
        )
    if hello.after_lsn > head_lsn:
        return Reject(
            RejectReason.AMNESIA_SUSPECTED,
            f"region {hello.receiver.region} has position {hello.after_lsn} of {origin},"
            f" whose log ends at {head_lsn}: the data directory of {origin.region} is older than"
            " what it has sent; restore the newest one",
        )
    return None


# --- the receiver's end


class LinkState(Enum):
    """Where a tail stands. Numbers as in the proto file."""

    CONNECTING = 1
    CATCHING_UP = 2
    TAILING = 3
    PAUSED = 4
    STOPPED = 5


@dataclass(frozen=True, slots=True)
class Apply:
    """Let the replica apply these entries; report the outcome with `applied` or `apply_failed`."""

    event: EntriesArrived
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Learn:
    """Let the replica learn these names before the entries that follow."""

    event: OriginsNamed


@dataclass(frozen=True, slots=True)
class Disconnect:
    """End the connection and try again later."""

    problem: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the connection for good: an operator must act."""

    problem: str


TailEffect = Apply | Learn | Disconnect | Stop


@dataclass(slots=True)
class TailReceiver:
    """The receiver's end of one tail; lives through reconnections.

    Attributes:
        cluster_id: Of this region.
        me: This region.
        peer: The region that is followed.
        applied_lsn: Durable here.
        received_lsn: Handed to the replica.
        peer_head_lsn: End of the peer's log, as of its last heartbeat.
        peer_origin_head_lsn: Its newest own entry, likewise.
        synced: Has once, since this object was made, applied all that the peer then had.
        last_heard_ms: When the last message came; None before the first.
        delay_ms: Between the commit there and the commit here of the newest entry, by wall clocks.
    """

    cluster_id: str
    me: Origin
    peer: str
    applied_lsn: int = 0
    origin: Origin | None = None
    state: LinkState = LinkState.CONNECTING
    received_lsn: int = 0
    peer_head_lsn: int = 0
    peer_origin_head_lsn: int = 0
    synced: bool = False
    last_heard_ms: int | None = None
    delay_ms: float = 0.0
    behind_since_ms: int | None = None
    last_error: str = ""
    entries_applied: int = 0
    bytes_received: int = 0
    _acknowledged_bytes: int = 0
    _failures: int = 0
    _apply_failures: int = 0
    _sync_goal: int | None = None

    def connected(self, applied_lsn: int, origin: Origin | None) -> Hello:
        """Begin a conversation.

        Args:
            applied_lsn: Up to where this replica has everything of the origin.
            origin: The peer as last met; None when never.
        """
        self.applied_lsn = self.received_lsn = applied_lsn
        self.origin = origin
        self._acknowledged_bytes = 0
        return Hello(
            PROTOCOL_VERSION, self.cluster_id, self.me,
            origin or Origin(self.peer, 0), applied_lsn,
        )  # fmt: skip

    def arrived(
        self, message: Welcome | Batch | Heartbeat | Reject, now_ms: int
    ) -> list[TailEffect]:
        """Take a message from the origin.

        Args:
            message: What it said.
            now_ms: Monotonic or wall clock, the same throughout.
        """
        self.last_heard_ms = now_ms
        match message:
            case Welcome():
                self._failures = 0
                self.last_error = ""
                self.origin = message.origin
                self.state = LinkState.CATCHING_UP
                return [Learn(OriginsNamed((message.origin, *message.known_origins)))]
            case Batch():
                return self._batch_arrived(message)
            case Heartbeat():
                return self._heartbeat_arrived(message, now_ms)
            case Reject():
                return self._rejected(message)

    def _batch_arrived(self, batch: Batch) -> list[TailEffect]:
        if checksum(batch.prev_lsn, batch.through_lsn, batch.entries) != batch.crc32c:
            return [Disconnect("a batch failed its checksum")]
        if batch.prev_lsn > self.received_lsn:
            return [
                Disconnect(f"gap: have {self.received_lsn}, got entries after {batch.prev_lsn}")
            ]
        size = batch.size_bytes
        self.bytes_received += size
        if batch.through_lsn <= self.received_lsn:
            self._acknowledged_bytes += size
            return []
        self.received_lsn = batch.through_lsn
        assert self.origin is not None, "a batch came before the welcome"
        effects: list[TailEffect] = []
        if batch.known_origins:
            effects.append(Learn(OriginsNamed(batch.known_origins)))
        event = EntriesArrived(self.origin.id, batch.prev_lsn, batch.through_lsn, batch.entries)
        effects.append(Apply(event, size))
        return effects

    def _heartbeat_arrived(self, heartbeat: Heartbeat, now_ms: int) -> list[TailEffect]:
        if heartbeat.head_lsn < self.applied_lsn:
            return [self._stop(
                f"{self.peer} has lost data: its log ends at {heartbeat.head_lsn}, this region"
                f" has applied up to {self.applied_lsn}"
            )]  # fmt: skip
        self.peer_head_lsn = heartbeat.head_lsn
        self.peer_origin_head_lsn = heartbeat.origin_head_lsn
        if self._sync_goal is None:
            self._sync_goal = heartbeat.origin_head_lsn
        self._judge(now_ms)
        return []

    def _rejected(self, reject: Reject) -> list[TailEffect]:
        if reject.reason in (RejectReason.PAUSED, RejectReason.FENCED):
            return [Disconnect(reject.message)]
        # A wrong address or an older peer is mended while this process runs: keep asking, slowly.
        self.last_error = reject.message
        if reject.reason is RejectReason.AMNESIA_SUSPECTED:
            return [self._stop(reject.message)]
        self._failures = max(self._failures, 6)
        return [Disconnect(reject.message)]

    def applied(
        self, lsn: int, count: int, size_bytes: int, newest_wall_ms: int, now_ms: int
    ) -> None:
        """Note that the replica has durably applied entries.

        Args:
            lsn: Up to which position of the origin.
            count: Entries.
            size_bytes: Of the batch, once its last entry is applied; else 0.
            newest_wall_ms: The origin's wall clock at the newest entry; 0 for none.
            now_ms: Wall clock.
        """
        self.applied_lsn = max(self.applied_lsn, lsn)
        self.entries_applied += count
        self._acknowledged_bytes += size_bytes
        self._apply_failures = 0
        if newest_wall_ms:
            self.delay_ms = max(0, now_ms - newest_wall_ms)
        self._judge(now_ms)

    def _judge(self, now_ms: int) -> None:
        if self._sync_goal is not None and self.applied_lsn >= self._sync_goal:
            self.synced = True
        if self.applied_lsn >= self.peer_origin_head_lsn:
            self.behind_since_ms = None
            if self.synced and self.state is LinkState.CATCHING_UP:
                self.state = LinkState.TAILING
        elif self.behind_since_ms is None:
            self.behind_since_ms = now_ms

    def apply_failed(self, problem: str) -> TailEffect:
        """Note that the replica could not apply entries."""
        self._apply_failures += 1
        if self._apply_failures >= APPLY_TRIES_MAX:
            return self._stop(f"entries of {self.peer} cannot be applied: {problem}")
        return Disconnect(problem)

    def _stop(self, problem: str) -> Stop:
        self.state = LinkState.STOPPED
        self.last_error = problem
        return Stop(problem)

    def progress(self, watermarks: tuple[tuple[Origin, int], ...]) -> Progress:
        """Say how far this replica is."""
        return Progress(watermarks, self._acknowledged_bytes)

    def lost(self, problem: str, random: Random) -> float:
        """Note that the connection ended.

        Returns:
            Milliseconds to wait before the next try: exponential, with full jitter.
        """
        if self.state not in (LinkState.PAUSED, LinkState.STOPPED):
            self.state = LinkState.CONNECTING
        self.last_error = problem or self.last_error
        self._sync_goal = None
        longest = min(RETRY_MS_MAX, RETRY_MS_MIN * 2**self._failures)
        self._failures += 1
        return random.uniform(RETRY_MS_MIN / 2, longest)

    @property
    def lag_records(self) -> int:
        """Positions of the peer's log that may hold entries not yet applied here."""
        return max(0, self.peer_origin_head_lsn - self.applied_lsn)

    def lag_ms(self, now_ms: int) -> float:
        """Age of the oldest unapplied entry while behind, else the last measured delay."""
        return self.delay_ms if self.behind_since_ms is None else now_ms - self.behind_since_ms


def split(event: EntriesArrived, entries_max: int) -> Iterator[EntriesArrived]:
    """Cut an arrival into parts that are applied in a transaction each.

    A transaction of the origin is never cut.
    """
    start, prev = 0, event.prev_lsn
    entries = event.entries
    while start < len(entries):
        end = min(start + entries_max, len(entries))
        while end < len(entries):
            index, _ = peek_transaction(entries[end])
            if index == 0:
                break
            end += 1
        last = end == len(entries)
        through = event.through_lsn if last else _lsn_of(entries[end - 1])
        yield EntriesArrived(event.origin, prev, through, entries[start:end], event.token)
        start, prev = end, through
    if not entries:
        yield event


def _lsn_of(body: bytes) -> int:
    return peek_dot(body)[1]
