"""Planted bugs: each switches one rule off. A simulator that does not find them is broken."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from struct import Struct
from unittest.mock import patch

from antipodes.core import tailing
from antipodes.core.catalog import Change
from antipodes.core.formats import ItemRecord, decode_body
from antipodes.core.replication import Replica, Write, WriteOutcome
from antipodes.core.store import Databases, Transaction
from antipodes.core.tables import Table
from antipodes.core.versions import OriginId, Relation, Vector
from tests.sim.changes import Decision, TableChanges
from tests.sim.node import Done, Node
from tests.sim.store import MemoryTransaction

_pack_dot = Struct(">8sQ").pack


class NoItemBump(Replica):
    """A write that has seen a version with a fast clock does not beat it."""

    def _issue_hlc(self, stored_hlc: int, now_ms: int) -> int:
        return self.clock.tick(now_ms)


class WatermarkInMemory(Replica):
    """What was applied and how far are not in one transaction."""

    def _persist_watermark(self, txn: Transaction, origin: OriginId, lsn: int) -> None:
        pass


class ContextWithoutStored(Replica):
    """A write knows what its region has applied, not what was merged into the item."""

    def _context(self, stored: ItemRecord | None, lsn: int) -> bytes:
        return self._seen + _pack_dot(self.origin_id, lsn)


class ContextWithoutWatermarks(Replica):
    """A write knows the item it replaces, not what its region has applied besides."""

    def _context(self, stored: ItemRecord | None, lsn: int) -> bytes:
        before = b"" if stored is None else stored.context.replace(self.origin_id, b"outdated")
        return before + _pack_dot(self.origin_id, lsn)


class ContextNotJoined(Replica):
    """A merge keeps the winner's context and forgets the loser's."""

    _incoming_context = b""

    def _apply_entry(self, txn: Transaction, sent: bytes, now_ms: int) -> int:
        self._incoming_context = decode_body(sent).context
        try:
            return super()._apply_entry(txn, sent, now_ms)
        finally:
            self._incoming_context = b""

    def _store(
        self,
        txn: Transaction,
        table: Table,
        physical: bytes,
        before: ItemRecord | None,
        after: ItemRecord,
    ) -> None:
        if self._incoming_context:
            stays = before is not None and before.dot == after.dot
            context = before.context if before and stays else self._incoming_context
            after = after._replace(context=context)
        super()._store(txn, table, physical, before, after)


class VectorFirst(NoItemBump):
    """What has seen the other wins; only between concurrent versions the raw wall clock decides."""

    def _issue_hlc(self, stored_hlc: int, now_ms: int) -> int:
        self.clock.tick(now_ms)
        return now_ms << 16

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
        wins = super()._beats(txn, table, relation, stored, incoming, lsn, now_ms)
        self.counts["violation"] = 0
        return wins if relation is Relation.CONCURRENT else relation is Relation.SUPERSEDES


class NoVersionForNoChange(Replica):
    """A write that leaves the item as it is makes no version."""

    def _write_item(
        self,
        txn: Transaction,
        write: Write,
        table: Table,
        now_ms: int,
        member: tuple[bytes, int, int],
    ) -> WriteOutcome:
        stored = self._stored(txn, write.physical, write.key)
        if stored is not None and stored.payload == write.payload:
            return WriteOutcome(stored.payload, 0, 0)
        return super()._write_item(txn, write, table, now_ms, member)


class ClockForgetsItself(Replica):
    """After a restart the clock is the wall clock, which may have gone back."""

    @classmethod
    def recover(cls, region: str, dbs: Databases, txn: Transaction, now_ms: int) -> "Replica":
        replica = super().recover(region, dbs, txn, now_ms)
        replica.clock.value = now_ms << 16
        return replica


class EagerNode(Node):
    """Tells clients and peers before the commit."""

    def commit(self, txn: MemoryTransaction, done: Done) -> None:
        self.store.dirty_reads = True
        self.carry_out(done)
        super().commit(txn, [(event, effect) for event, effect in done if not event.token])


class AcknowledgingNode(Node):
    """Tells clients before the commit, peers after it."""

    def commit(self, txn: MemoryTransaction, done: Done) -> None:
        acknowledge = self.history.acknowledge
        with patch.object(self.history, "acknowledge", lambda *_: None):
            for event, effect in done:
                self._acknowledge_early(acknowledge, event, effect)
            super().commit(txn, done)

    def _acknowledge_early(self, acknowledge: Callable[..., None], *pair: object) -> None:
        if type(pair[1]).__name__ == "Acknowledge":
            acknowledge(self.replica, *pair)


class HastyChanges(TableChanges):
    """The coordinator announces a decision that is not yet durable."""

    def _decide(self, change: Change, *, commit: bool) -> None:
        for region in self._others(change):
            self._send(region, Decision(change.id, change.coordinator, commit))
        super()._decide(change, commit=commit)


def with_replica(replica_class: type[Replica]) -> type[Node]:
    """Give a node that runs another replica."""
    return type(replica_class.__name__, (Node,), {"replica_class": replica_class})


@dataclass(frozen=True, slots=True)
class Bug:
    """A planted bug."""

    name: str
    node_class: type[Node] = Node
    patched: Callable[[], AbstractContextManager[object]] = nullcontext


def _interval_to_head() -> AbstractContextManager[object]:
    """Every batch claims to reach the head of the log, also the one that was cut short."""
    honest = tailing.read_batch

    def read_batch(txn: Transaction, dbs: Databases, *args: object, **kwargs: object) -> object:
        batch = honest(txn, dbs, *args, **kwargs)  # type: ignore[arg-type]
        through = max(batch.through_lsn, tailing.log_head(txn, dbs))
        return tailing.Batch(batch.prev_lsn, through, batch.entries, batch.crc32c)

    return patch.object(tailing, "read_batch", read_batch)


def _split_anywhere() -> AbstractContextManager[object]:
    """Transactions of another region are applied entry by entry."""
    return patch.object(tailing, "peek_transaction", lambda _: (0, 0))


def _vector_keeps_first() -> AbstractContextManager[object]:
    """Two vectors are joined by keeping the first."""

    def join(a: Vector, b: Vector) -> Vector:
        return {**b, **a}

    return patch("antipodes.core.replication.join", join)


BUGS = (
    Bug("no item bump", with_replica(NoItemBump)),
    Bug("watermark outside the transaction", with_replica(WatermarkInMemory)),
    Bug("context without the stored one", with_replica(ContextWithoutStored)),
    Bug("context without the watermarks", with_replica(ContextWithoutWatermarks)),
    Bug("contexts not joined in a merge", with_replica(ContextNotJoined)),
    Bug("vector first, then raw wall clock", with_replica(VectorFirst)),
    Bug("no version when nothing changes", with_replica(NoVersionForNoChange)),
    Bug("clock not persisted", with_replica(ClockForgetsItself)),
    Bug("client told before the commit", AcknowledgingNode),
    Bug("everybody told before the commit", EagerNode),
    Bug(
        "decision announced before it is durable",
        type("HastyNode", (Node,), {"changes_class": HastyChanges}),
    ),
    Bug("interval reaches further than its entries", patched=_interval_to_head),
    Bug("transactions cut by a split", patched=_split_anywhere),
    Bug("join keeps the first", patched=_vector_keeps_first),
    Bug("checksum ignored", patched=partial(patch.object, tailing, "checksum", lambda *_: 0)),
)
