"""What really happened in a run: the truth that the checks hold the replicas against.

The simulator sees every commit of every region, so it knows for each version which versions of the
item its region had applied before, directly or through others. Nothing here uses the core's vectors
or its merge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from antipodes.core.catalog import Change
from antipodes.core.formats import LSN, NO_TRANSACTION, EntryBody, decode_body, decode_log
from antipodes.core.keys import ItemKey
from antipodes.core.replication import (
    Acknowledge,
    Effect,
    EntriesArrived,
    Event,
    Replica,
    ReportProgress,
    WriteOutcome,
    WriteRequested,
)
from antipodes.core.store import Databases, Transaction
from antipodes.core.versions import Dot, OriginId, Stamp

ItemName = tuple[bytes, ItemKey]
"""Table id and key."""


class Violation(AssertionError):
    """The system broke a promise."""


@dataclass(eq=False, slots=True)
class Version:
    """A version that its region has committed.

    Attributes:
        bit: Its place in the sets that `past` and `History.seen` encode as integers.
        past: Versions of the item that its region had seen, itself excluded.
    """

    body: EntryBody
    stamp: Stamp
    bit: int
    past: int

    @property
    def item(self) -> ItemName:
        return self.body.table_id, self.body.key


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write that a client was told is durable."""

    region: str
    dot: Dot
    hlc: int
    item: ItemName
    payload: bytes | None
    changed: bool


@dataclass(slots=True)
class Durable:
    """What a region's disk must say after a crash."""

    head_lsn: int = 0
    hlc: int = 0
    watermarks: dict[OriginId, int] = field(default_factory=dict[OriginId, int])


class History:
    """The truth about one run.

    Attributes:
        versions: Everything committed anywhere, by name.
        acknowledged: Everything promised to clients.
        seen: Per region and item, the versions applied there and their pasts.
        best: Per region and item, the applied version with the greatest stamp.
        durable: Per region, what its last commit left.
        changes_done: Table changes whose success was told to the client.
        changes_proposed: All that were asked for.
        refused: Client requests that were answered with an error.
    """

    def __init__(self, regions: Sequence[str]) -> None:
        self.versions: dict[Dot, Version] = {}
        self.acknowledged: list[Acknowledged] = []
        self.seen: dict[tuple[str, ItemName], int] = {}
        self.best: dict[tuple[str, ItemName], Version] = {}
        self.durable = {region: Durable() for region in regions}
        self.changes_done: list[Change] = []
        self.changes_proposed: list[Change] = []
        self.refused = 0
        self._together: dict[bytes, list[Version]] = {}
        """Per transaction, its versions."""
        self._just_seen: list[Version] = []

    def committed(
        self,
        replica: Replica,
        txn: Transaction,
        dbs: Databases,
        done: Sequence[tuple[Event, Effect]],
    ) -> None:
        """Take note of a transaction that is durable."""
        for event, effect in done:
            match event, effect:
                case WriteRequested(), Acknowledge():
                    for write, outcome in zip(event.writes, effect.outcomes, strict=True):
                        item = write.table.id, write.key
                        self._written(replica, txn, dbs, item, write.payload, outcome)
                case EntriesArrived(), ReportProgress():
                    self._applied(replica, txn, dbs, event)
                case _:
                    pass
        self._check_transactions(replica)
        durable = self.durable[replica.origin.region]
        if replica.head_lsn < durable.head_lsn or replica.clock.value < durable.hlc:
            raise Violation(f"{replica.origin}: the log or the clock went back")
        for origin, lsn in durable.watermarks.items():
            if replica.watermarks.get(origin, 0) < lsn:
                raise Violation(f"I5: {replica.origin}: a watermark went back")
        durable.head_lsn = replica.head_lsn
        durable.hlc = replica.clock.value
        durable.watermarks = dict(replica.watermarks)

    def recovered(self, replica: Replica) -> None:
        """Compare what a region read from its disk with what it had committed."""
        durable = self.durable[replica.origin.region]
        if replica.watermarks != durable.watermarks:
            raise Violation(f"{replica.origin}: disk and memory differ in watermarks")
        if replica.head_lsn != durable.head_lsn:
            raise Violation(f"{replica.origin}: disk and memory differ in the head of the log")
        if replica.clock.value < durable.hlc:
            raise Violation(f"{replica.origin}: the clock went back over a restart")

    def acknowledge(self, replica: Replica, event: WriteRequested, effect: Acknowledge) -> None:
        """Take note that a client was told of success."""
        for write, outcome in zip(event.writes, effect.outcomes, strict=True):
            if outcome.lsn:
                self.acknowledged.append(
                    Acknowledged(
                        replica.origin.region,
                        Dot(replica.origin_id, outcome.lsn),
                        outcome.hlc,
                        (write.table.id, write.key),
                        write.payload,
                        write.payload != outcome.old_payload,
                    )
                )

    def _written(
        self,
        replica: Replica,
        txn: Transaction,
        dbs: Databases,
        item: ItemName,
        payload: bytes | None,
        outcome: WriteOutcome,
    ) -> None:
        region = replica.origin.region
        best = self.best.get((region, item))
        old = best.body.payload if best else None
        if outcome.old_payload != old:
            raise Violation(f"I12: {region} showed a client {outcome.old_payload!r}, not {old!r}")
        if not outcome.lsn:
            table = replica.catalog.by_id.get(item[0])
            if payload != old or (table is not None and table.replicated):
                raise Violation(f"{region}: a write that needs a version got none")
            return
        stored = txn.get(LSN.pack(outcome.lsn), db=dbs.log)
        if stored is None:
            raise Violation(f"I3: {region}: no log entry at {outcome.lsn}")
        body = decode_body(decode_log(stored).body)
        dot = Dot(replica.origin_id, outcome.lsn)
        if (body.dot, body.table_id, body.key, body.payload) != (dot, *item, payload):
            raise Violation(f"I3: {region}: the log entry at {outcome.lsn} is of another write")
        if dot in self.versions:
            raise Violation(f"I15: {region}: position {outcome.lsn} was used twice")
        origin = replica.origin
        stamp = Stamp(body.hlc, origin.region, origin.incarnation, outcome.lsn)
        version = Version(body, stamp, 1 << len(self.versions), self.seen.get((region, item), 0))
        self.versions[dot] = version
        if body.transaction_id != NO_TRANSACTION:
            self._together.setdefault(body.transaction_id, []).append(version)
        self._note_seen(region, version)

    def _applied(
        self, replica: Replica, txn: Transaction, dbs: Databases, event: EntriesArrived
    ) -> None:
        region = replica.origin.region
        before = self.durable[region].watermarks.get(event.origin, 0)
        for sent in event.entries:
            body = decode_body(sent)
            if body.dot.lsn <= before:
                continue
            version = self.versions.get(body.dot)
            if version is None or version.body != body:
                raise Violation(f"{region} applied an entry that its origin has not: {body.dot}")
            if txn.get(body.dot.origin + LSN.pack(body.dot.lsn), db=dbs.log_by_origin) is not None:
                self._note_seen(region, version)
            elif body.table_id not in replica.catalog.dead:
                raise Violation(f"I5: {region} skipped {body.dot}")

    def _check_transactions(self, replica: Replica) -> None:
        """I11: one commit of a region has all of a transaction that concerns it, or nothing."""
        region, tables = replica.origin.region, replica.catalog.by_id
        for transaction in {version.body.transaction_id: None for version in self._just_seen}:
            for version in self._together.get(transaction, ()):
                table = tables.get(version.body.table_id)
                seen = self.seen.get((region, version.item), 0) & version.bit
                if table is not None and table.status == "ACTIVE" and not seen:
                    raise Violation(f"I11: {region} has only a part of a transaction")
        self._just_seen.clear()

    def _note_seen(self, region: str, version: Version) -> None:
        self._just_seen.append(version)
        name = region, version.item
        self.seen[name] = self.seen.get(name, 0) | version.past | version.bit
        best = self.best.get(name)
        if best is None or version.stamp > best.stamp:
            self.best[name] = version
