"""One region's copy of its tables: accepts writes, applies those of other regions.

`Replica.step` takes an event (what happened) and a write transaction, changes storage through the
transaction, and returns effects (what to do once the transaction is durable). It reads no clock and
does no input or output of its own, so the same class runs in a node over LMDB and in the simulator.

When a transaction fails, drop the replica and `recover` another: there is one path for a crash, a
restart and a first start. What was changed in memory by the failed transaction is gone with it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from struct import Struct
from typing import Any, NamedTuple, assert_never

from antipodes.core.catalog import Catalog, Change, writable
from antipodes.core.clock import HybridClock
from antipodes.core.conflicts import Contender, pick_winner, print_conflict
from antipodes.core.errors import (
    AntipodesError,
    Corrupt,
    Rejected,
    ServiceUnavailable,
    TransactionCanceledException,
)
from antipodes.core.formats import (
    LSN,
    NO_TRANSACTION,
    Cause,
    EntryBody,
    ItemRecord,
    Kind,
    LogEntry,
    decode_body,
    decode_item,
    encode_body,
    encode_item,
    encode_log,
    peek_dot,
)
from antipodes.core.idempotency import remember, was_done
from antipodes.core.keys import ItemKey, physical_key
from antipodes.core.store import Databases, Transaction
from antipodes.core.streams import index_prefix
from antipodes.core.tables import Table
from antipodes.core.versions import (
    Dot,
    Origin,
    OriginId,
    OriginNames,
    Relation,
    Vector,
    classify,
    decode_vector,
    encode_vector,
    join,
)

_POSITION = b"position"
_HLC_HEAD_COMMIT = Struct(">QQQ")
_INCARNATION = b"incarnation"
_ORIGIN = b"origin/"


class Decision(NamedTuple):
    """What becomes of an item."""

    payload: bytes | None
    """The whole item as printed; None to delete it."""
    size: int
    """As DynamoDB counts; 0 when deleted."""


KEEP = Decision(None, -1)
"""The item is left as it is, without a new version."""


@dataclass(frozen=True, slots=True)
class Write:
    """A client's wish for one item; everything about it that needs no storage is done.

    Attributes:
        table: As the service saw it; looked up again in the transaction.
        key: The primary key.
        physical: Where the item is stored.
        payload: The whole item as printed; None to delete it.
        size: Of the item, as DynamoDB counts.
        cause: Who asked.
        decide: Takes the item as it is stored and gives what becomes of it, in place of payload
            and size; raises an `AntipodesError` when a condition does not hold.
    """

    table: Table
    key: ItemKey
    physical: bytes
    payload: bytes | None
    size: int
    cause: Cause = Cause.USER
    decide: Callable[[bytes | None], Decision] | None = None


@dataclass(frozen=True, slots=True)
class WriteRequested:
    """A client asked for writes; all happen or none."""

    writes: tuple[Write, ...]
    token: Any = None
    """Given back with the effect."""
    transaction: bool = False
    """They belong together everywhere, and are refused with a reason for each."""
    once: tuple[str, bytes] | None = None
    """Token and fingerprint of a request that must have effect only once."""


@dataclass(frozen=True, slots=True)
class EntriesArrived:
    """Part of another region's log arrived; it may repeat what was seen before."""

    origin: OriginId
    prev_lsn: int
    through_lsn: int
    entries: tuple[bytes, ...]
    token: Any = None


@dataclass(frozen=True, slots=True)
class OriginsNamed:
    """Another region told the names of origins."""

    origins: tuple[Origin, ...]
    token: Any = None


@dataclass(frozen=True, slots=True)
class ChangeProposed:
    """A change of a table is to be prepared here."""

    change: Change
    token: Any = None


@dataclass(frozen=True, slots=True)
class ChangeDecided:
    """The coordinator decided about a prepared change."""

    change_id: str
    commit: bool
    token: Any = None


@dataclass(frozen=True, slots=True)
class ChangeConfirmed:
    """A participant has carried out what this region decided."""

    change_id: str
    region: str
    token: Any = None


@dataclass(frozen=True, slots=True)
class PurgeDue:
    """It is time to remove what deleted tables left behind."""

    token: Any = None


Event = (
    WriteRequested
    | EntriesArrived
    | OriginsNamed
    | ChangeProposed
    | ChangeDecided
    | ChangeConfirmed
    | PurgeDue
)


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of one write."""

    old_payload: bytes | None
    """The item before; None when there was none."""
    hlc: int
    """Of the version made; 0 when none was needed."""
    lsn: int
    """Position of its entry; 0 when none was needed."""
    old_size: int = 0
    """Of the item before, as DynamoDB counts."""
    size: int = 0
    """Of the item now."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Tell the client that its writes are durable."""

    token: Any
    outcomes: tuple[WriteOutcome, ...]
    """One for each write; none when the same request was done before."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the asker that nothing was done, and why."""

    token: Any
    error: AntipodesError


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """Tell the tail, and through it the origin, how far this replica is."""

    token: Any
    origin: OriginId
    applied_lsn: int
    applied_count: int
    newest_wall_ms: int
    """Wall clock of the origin at the newest entry applied; 0 when there was none."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Tell the asker that it is done."""

    token: Any
    more: bool = False
    """For PurgeDue: there may be more to remove."""


Effect = Acknowledge | Refuse | ReportProgress | Confirm


class Replica:
    """The state of one region. Owned by one thread; everything durable is in the transaction.

    Attributes:
        origin: Who this region is.
        clock: Its hybrid logical clock.
        head_lsn: Position of the newest log entry.
        watermarks: Per other origin, the position up to which everything is applied here.
        names: The origins known so far.
        catalog: The tables.
        counts: How incoming versions were classified, since this object was made.
    """

    def __init__(self, region: str, dbs: Databases) -> None:
        self.origin = Origin(region, 1)
        self.origin_id = self.origin.id
        self.clock = HybridClock()
        self.head_lsn = 0
        self.watermarks: Vector = {}
        self.names = OriginNames()
        self.catalog = Catalog(region, dbs)
        self.counts: Counter[str] = Counter()
        self._dbs = dbs
        self._commit_ms = 0
        self._seen = b""
        self._statistics: dict[bytes, list[int]] = {}

    @classmethod
    def recover(cls, region: str, dbs: Databases, txn: Transaction, now_ms: int) -> "Replica":
        """Read the state that storage holds; an empty storage gives a new region.

        Args:
            region: The name of this region.
            dbs: Its databases.
            txn: A write transaction; commit it.
            now_ms: Wall clock.
        """
        replica = cls(region, dbs)
        if (stored := txn.get(_INCARNATION, db=dbs.meta)) is not None:
            replica.origin = Origin(region, int.from_bytes(stored))
        else:
            txn.put(_INCARNATION, replica.origin.incarnation.to_bytes(4), db=dbs.meta)
        replica.origin_id = replica.origin.id
        if (stored := txn.get(_POSITION, db=dbs.meta)) is not None:
            hlc, replica.head_lsn, replica._commit_ms = _HLC_HEAD_COMMIT.unpack(stored)
            replica.clock = HybridClock(hlc)
        replica.clock.value = max(replica.clock.value, now_ms << 16)
        cursor = txn.cursor(dbs.watermarks)
        found = cursor.first()
        while found:
            origin, lsn = cursor.item()
            replica.watermarks[origin] = LSN.unpack(lsn)[0]
            found = cursor.next()
        replica._seen = encode_vector(replica.watermarks)
        cursor = txn.cursor(dbs.meta)
        found = cursor.set_range(_ORIGIN)
        while found and cursor.key().startswith(_ORIGIN):
            name, _, incarnation = cursor.value().decode().rpartition("#")
            replica.names[cursor.key()[len(_ORIGIN) :]] = Origin(name, int(incarnation))
            found = cursor.next()
        replica._learn(txn, replica.origin)
        replica.catalog.load(txn)
        return replica

    def step(self, txn: Transaction, event: Event, now_ms: int) -> Effect:
        """Let an event happen.

        Args:
            txn: A write transaction.
            event: What happened.
            now_ms: Wall clock.

        Returns:
            What to do once the transaction is durable. Call `seal` before committing.

        Raises:
            Corrupt: Stored or received bytes are damaged, or an entry names an unknown table.
                Abort the transaction and recover.
        """
        match event:
            case WriteRequested():
                return self._write(txn, event, now_ms)
            case EntriesArrived():
                return self._apply(txn, event, now_ms)
            case OriginsNamed():
                for origin in event.origins:
                    self._learn(txn, origin)
                return Confirm(event.token)
            case ChangeProposed():
                try:
                    self.catalog.prepare(txn, event.change, self.head_lsn, now_ms)
                except AntipodesError as error:
                    return Refuse(event.token, error)
                return Confirm(event.token)
            case ChangeDecided():
                self.catalog.decide(txn, event.change_id, event.commit, self.head_lsn, now_ms)
                return Confirm(event.token)
            case ChangeConfirmed():
                self.catalog.confirm(txn, event.change_id, event.region)
                return Confirm(event.token)
            case PurgeDue():
                self._persist_statistics(txn)  # Not after their table's are removed.
                return Confirm(event.token, more=self.catalog.purge(txn))
            case _:
                assert_never(event)

    def seal(self, txn: Transaction) -> None:
        """Write what the events changed together; the last call before the commit."""
        txn.put(
            _POSITION,
            _HLC_HEAD_COMMIT.pack(self.clock.value, self.head_lsn, self._commit_ms),
            db=self._dbs.meta,
        )
        self._persist_statistics(txn)

    def _persist_statistics(self, txn: Transaction) -> None:
        for number, (items, size) in self._statistics.items():
            self.catalog.add_statistics(txn, number, items, size)
        self._statistics.clear()

    # --- local writes

    def _write(self, txn: Transaction, event: WriteRequested, now_ms: int) -> Effect:
        # Everything that can be refused is refused before the first change.
        try:
            tables = [
                writable(self.catalog.by_id.get(write.table.id), write.table.name)
                for write in event.writes
            ]
            if event.once is not None and was_done(txn, self._dbs.tokens, *event.once, now_ms):
                return Acknowledge(event.token, ())
            if event.transaction:
                writes, members = self._decide_together(txn, event.writes, tables)
            else:
                writes = [self._decide(txn, write) for write in event.writes]
                members = [_NOT_TOGETHER] * len(writes)
        except Corrupt:
            raise
        except AntipodesError as error:
            return Refuse(event.token, error)
        if event.once is not None:
            remember(txn, self._dbs.tokens, *event.once, now_ms)
        return Acknowledge(
            event.token,
            tuple(
                self._write_item(txn, write, table, now_ms, member)
                for write, table, member in zip(writes, tables, members, strict=True)
            ),
        )

    def _decide(self, txn: Transaction, write: Write) -> Write:
        """Let a write look at the item that is stored.

        Raises:
            AntipodesError: Its condition does not hold, or it cannot be applied.
        """
        if write.decide is None:
            return write
        stored = self._stored(txn, write.physical, write.key)
        payload, size = write.decide(stored and stored.payload)
        return replace(write, payload=payload, size=size)

    def _decide_together(
        self, txn: Transaction, wishes: tuple[Write, ...], tables: list[Table]
    ) -> tuple[list[Write], list["_Member"]]:
        """Let the writes of a transaction look at what is stored, and number their entries.

        Raises:
            TransactionCanceledException: One of them cannot be done; has a reason for each.
        """
        writes: list[Write] = []
        reasons: list[AntipodesError | None] = []
        for wish in wishes:
            try:
                writes.append(self._decide(txn, wish))
                reasons.append(None)
            except Rejected as error:
                reasons.append(error)
        if any(reasons):
            raise TransactionCanceledException.because(reasons)
        logged = [
            write.size >= 0 and (table.replicated or self._changes(txn, write))
            for write, table in zip(writes, tables, strict=True)
        ]
        name = _pack_dot(self.origin_id, self.head_lsn + 1)
        count = sum(logged)
        numbers = iter(range(count))
        return writes, [
            (name, next(numbers), count) if entry else _NOT_TOGETHER for entry in logged
        ]

    def _changes(self, txn: Transaction, write: Write) -> bool:
        stored = self._stored(txn, write.physical, write.key)
        return write.payload != (stored and stored.payload)

    def _write_item(
        self,
        txn: Transaction,
        write: Write,
        table: Table,
        now_ms: int,
        member: "_Member",
    ) -> WriteOutcome:
        stored = self._stored(txn, write.physical, write.key)
        old = stored and stored.payload
        payload = write.payload
        old_size = stored.size if stored else 0
        if write.size < 0:  # KEEP
            return WriteOutcome(old, 0, 0, old_size, old_size)
        changed = payload != old
        if not (changed or table.replicated):
            return WriteOutcome(old, 0, 0, old_size, write.size)
        lsn = self.head_lsn + 1
        hlc = self._issue_hlc(stored.hlc if stored else 0, now_ms)
        context = self._context(stored, lsn)
        dot = Dot(self.origin_id, lsn)
        kind = Kind.NOOP if not changed else Kind.DELETE if payload is None else Kind.PUT
        body = encode_body(
            EntryBody(
                kind, write.cause, 0, hlc, dot, now_ms, table.id, *member, context, write.key,
                payload, write.size,
            )
        )  # fmt: skip
        self._log(txn, table, write.physical, dot, body, stored, changed, now_ms)
        self._store(
            txn, table, write.physical, stored,
            ItemRecord(hlc, dot, context, lsn, write.key, payload, write.size),
        )  # fmt: skip
        return WriteOutcome(old, hlc, lsn, old_size, write.size)

    def _issue_hlc(self, stored_hlc: int, now_ms: int) -> int:
        return self.clock.issue_after(stored_hlc, now_ms)

    def _context(self, stored: ItemRecord | None, lsn: int) -> bytes:
        """What a new local version has seen: all applied here, and all that was merged into it."""
        if stored is None:
            return self._seen + _pack_dot(self.origin_id, lsn)
        vector = join(stored.vector, self.watermarks)
        vector[self.origin_id] = lsn
        return encode_vector(vector)

    # --- writes of other regions

    def _apply(self, txn: Transaction, event: EntriesArrived, now_ms: int) -> Effect:
        watermark = self.watermarks.get(event.origin, 0)
        if event.prev_lsn > watermark:
            # What came before was refused, by a full disk perhaps; the tail fetches it again.
            gap = f"entries after {event.prev_lsn} came, but only {watermark} is applied"
            return Refuse(event.token, ServiceUnavailable(gap))
        if event.origin not in self.names:
            # Likewise: stamps need the name, and what was named with these entries is lost.
            unnamed = f"entries of origin {event.origin.hex()} came, but not its name"
            return Refuse(event.token, ServiceUnavailable(unnamed))
        applied = 0
        newest_wall_ms = 0
        for sent in event.entries:
            origin, lsn = peek_dot(sent)
            if origin != event.origin or not event.prev_lsn < lsn <= event.through_lsn:
                raise Corrupt(f"entry {lsn} lies outside the interval it was sent in")
            if lsn <= watermark:
                self.counts["duplicate"] += 1
                continue
            newest_wall_ms = self._apply_entry(txn, sent, now_ms)
            applied += 1
        if event.through_lsn > watermark:
            watermark = event.through_lsn
            self.watermarks[event.origin] = watermark
            self._seen = encode_vector(self.watermarks)
            self._persist_watermark(txn, event.origin, watermark)
        self.counts["applied"] += applied
        return ReportProgress(event.token, event.origin, watermark, applied, newest_wall_ms)

    def _persist_watermark(self, txn: Transaction, origin: OriginId, lsn: int) -> None:
        txn.put(origin, LSN.pack(lsn), db=self._dbs.watermarks)

    def _apply_entry(self, txn: Transaction, sent: bytes, now_ms: int) -> int:
        body = decode_body(sent)
        if body.kind not in (Kind.PUT, Kind.DELETE, Kind.NOOP):
            raise Corrupt(f"entry {body.dot.lsn} is of kind {body.kind.name}, not understood yet")
        self.clock.observe(body.hlc, now_ms)
        table = self.catalog.by_id.get(body.table_id)
        if table is None:
            if body.table_id in self.catalog.dead:
                self.counts["dead_table"] += 1
                return body.wall_ms
            raise Corrupt(
                f"entry {body.dot.lsn} is for table {body.table_id.hex()}, unknown in this region"
            )
        physical = physical_key(table.schema, table.number, body.key)
        stored = self._stored(txn, physical, body.key)
        context = decode_vector(body.context)
        relation = classify(stored and (stored.dot, stored.vector), body.dot, context)
        self.counts[relation.value] += 1
        lsn = self.head_lsn + 1
        incoming = ItemRecord(
            body.hlc, body.dot, body.context, lsn, body.key, body.payload, body.size
        )
        if stored is None:
            wins = True
        else:
            wins = self._beats(txn, table, relation, stored, incoming, lsn, now_ms)
            joined = encode_vector(join(stored.vector, context))
            winner = incoming if wins else stored
            incoming = winner._replace(context=joined)
        old = stored and stored.payload
        changed = wins and body.payload != old
        self._log(txn, table, physical, body.dot, sent, stored, changed, now_ms)
        self._store(txn, table, physical, stored, incoming)
        return body.wall_ms

    def _beats(
        self,
        txn: Transaction,
        table: Table,
        relation: Relation,
        stored: ItemRecord,
        incoming: ItemRecord,
        lsn: int,
        now_ms: int,
    ) -> bool:
        """Decide by the total order alone; the relation says whether it was a conflict."""
        here, there = self._contender(stored), self._contender(incoming)
        winner, loser = pick_winner(there, here)
        wins = winner is there
        if relation is Relation.CONCURRENT:
            txn.put(
                table.number + LSN.pack(lsn),
                print_conflict(table.id, incoming.key, winner, loser, now_ms),
                db=self._dbs.conflicts,
            )
        elif wins is (relation is Relation.STALE):
            # What has seen a version always has the greater stamp; a bug or a lost disk otherwise.
            self.counts["violation"] += 1
        return wins

    def _contender(self, record: ItemRecord) -> Contender:
        return Contender(self.names.stamp(record.hlc, *record.dot), record.dot, record.payload)

    # --- storage

    def _stored(self, txn: Transaction, physical: bytes, key: ItemKey) -> ItemRecord | None:
        stored = txn.get(physical, db=self._dbs.items) or txn.get(physical, db=self._dbs.tombstones)
        if stored is None:
            return None
        record = decode_item(stored)
        if record.key != key:
            raise Corrupt(f"two keys share the storage key {physical.hex()}")
        return record

    def _store(
        self,
        txn: Transaction,
        table: Table,
        physical: bytes,
        before: ItemRecord | None,
        after: ItemRecord,
    ) -> None:
        dbs = self._dbs
        was_live = before is not None and before.payload is not None
        is_live = after.payload is not None
        txn.put(physical, encode_item(after), db=dbs.items if is_live else dbs.tombstones)
        if before is not None and was_live != is_live:
            txn.delete(physical, db=dbs.items if was_live else dbs.tombstones)
        statistics = self._statistics.get(table.number)
        if statistics is None:
            statistics = self._statistics[table.number] = [0, 0]
        statistics[0] += is_live - was_live
        statistics[1] += after.size - (before.size if before is not None else 0)

    def _log(
        self,
        txn: Transaction,
        table: Table,
        physical: bytes,
        dot: Dot,
        body: bytes,
        before: ItemRecord | None,
        visible: bool,
        now_ms: int,
    ) -> None:
        self.head_lsn += 1
        self._commit_ms = max(self._commit_ms, now_ms)
        position = LSN.pack(self.head_lsn)
        stream = table.stream
        old = before.payload if before is not None else None
        shows_old = visible and stream is not None and stream.shows_old
        entry = LogEntry(
            visible, self._commit_ms, old if shows_old else None,
            before.size if before is not None else 0, body, old is not None,
        )  # fmt: skip
        txn.put(position, encode_log(entry), append=True, db=self._dbs.log)
        txn.put(dot.origin + LSN.pack(dot.lsn), position, db=self._dbs.log_by_origin)
        if visible and stream is not None:
            shard = stream.shard_of(physical)
            txn.put(
                index_prefix(table.number, shard.index) + position, b"",
                db=self._dbs.stream_index,
            )  # fmt: skip

    def _learn(self, txn: Transaction, origin: Origin) -> None:
        known = self.names.get(origin.id)
        if known is None:
            self.names[origin.id] = origin
            txn.put(_ORIGIN + origin.id, str(origin).encode(), db=self._dbs.meta)
        elif known != origin:
            raise Corrupt(f"origins {known} and {origin} share an id")


_DOT = Struct(">8sQ")
_pack_dot = _DOT.pack

_Member = tuple[bytes, int, int]
"""Transaction id, index and count of an entry."""
_NOT_TOGETHER: _Member = (NO_TRANSACTION, 0, 0)
