"""A region without a process around it: for tests that say themselves what happens when."""

import orjson

from antipodes.core.catalog import CREATE, Change
from antipodes.core.formats import LSN, EntryBody, LogEntry, decode_body, decode_item, decode_log
from antipodes.core.keys import ItemKey, KeyAttribute, KeySchema, physical_key
from antipodes.core.replication import (
    Acknowledge,
    ChangeDecided,
    ChangeProposed,
    Effect,
    EntriesArrived,
    Event,
    OriginsNamed,
    Replica,
    Write,
    WriteOutcome,
    WriteRequested,
)
from antipodes.core.tables import GLOBAL_VIEW_TYPE, Table
from antipodes.core.tailing import Batch, read_batch
from antipodes.core.versions import Dot, Vector
from tests.sim.store import MemoryStore

SCHEMA = KeySchema(KeyAttribute("pk", "S"), None)
TABLE_ID = bytes(range(16))
REGIONS = ("africa", "america", "asia")

State = dict[bytes, tuple[int, Dot, bytes | None, Vector]]
"""Per key: clock value, name and payload of the winner, and the joined context."""


class Region:
    """A replica over memory with one table; every event is a transaction.

    Attributes:
        now_ms: Its wall clock; set it.
    """

    def __init__(
        self,
        name: str = REGIONS[0],
        *,
        regions: tuple[str, ...] = REGIONS,
        view_type: str | None = GLOBAL_VIEW_TYPE,
        now_ms: int = 0,
    ) -> None:
        self.name = name
        self.now_ms = now_ms
        self.store = MemoryStore()
        self.dbs = self.store.databases()
        self.restart()
        change = Change(
            "create", CREATE, name, (name,), "orders", TABLE_ID, SCHEMA, regions, 0, view_type
        )
        self.step(ChangeProposed(change))
        self.step(ChangeDecided("create", commit=True))

    @property
    def table(self) -> Table:
        """The table as it is now."""
        return self.replica.catalog.by_id[TABLE_ID]

    def restart(self) -> None:
        """Forget what is in memory."""
        txn = self.store.write()
        self.replica = Replica.recover(self.name, self.dbs, txn, self.now_ms)
        txn.commit()

    def step(self, *events: Event) -> Effect:
        """Let events happen in one transaction; give the last effect."""
        txn = self.store.write()
        effects = [self.replica.step(txn, event, self.now_ms) for event in events]
        self.replica.seal(txn)
        txn.commit()
        return effects[-1]

    def wish(self, key: str, value: str | None) -> Write:
        """Describe a write; None deletes."""
        item_key = ItemKey(key.encode(), b"")
        payload = None
        if value is not None:
            payload = orjson.dumps({"pk": {"S": key}, "v": {"S": value}})
        physical = physical_key(SCHEMA, self.table.number, item_key)
        return Write(self.table, item_key, physical, payload, len(payload or b""))

    def put(self, key: str, value: str | None) -> WriteOutcome:
        """Write one item; None deletes."""
        effect = self.step(WriteRequested((self.wish(key, value),)))
        assert isinstance(effect, Acknowledge)
        return effect.outcomes[0]

    def batch(self, after_lsn: int = 0, *, entries_max: int = 1000) -> Batch:
        """Read what a peer would be sent."""
        return read_batch(
            self.store.read(), self.dbs, self.replica.origin_id, after_lsn, lambda _: True,
            entries_max=entries_max,
        )  # fmt: skip

    def arrival(self, after_lsn: int = 0, *, entries_max: int = 1000) -> EntriesArrived:
        """Read what arrives at a peer."""
        batch = self.batch(after_lsn, entries_max=entries_max)
        return EntriesArrived(
            self.replica.origin_id, batch.prev_lsn, batch.through_lsn, batch.entries
        )

    def meet(self, other: "Region") -> None:
        """Learn the name of another region, as from its welcome."""
        self.step(OriginsNamed((other.replica.origin,)))

    def follow(self, other: "Region") -> Effect:
        """Apply all that another region has written and this one does not have yet."""
        after_lsn = self.replica.watermarks.get(other.replica.origin_id, 0)
        self.meet(other)
        return self.step(other.arrival(after_lsn))

    def state(self) -> State:
        """Give all items, deleted ones included."""
        records = [
            decode_item(stored)
            for db in (self.dbs.items, self.dbs.tombstones)
            for stored in db.values()
        ]
        return {r.key.partition: (r.hlc, r.dot, r.payload, r.vector) for r in records}

    def value(self, key: str) -> str | None:
        """Give what a client reads."""
        found = self.state().get(key.encode())
        if found is None or found[2] is None:
            return None
        value: str = orjson.loads(found[2])["v"]["S"]
        return value

    def log(self) -> list[LogEntry]:
        """Give all log entries."""
        return [decode_log(stored) for stored in self.dbs.log.values()]

    def bodies(self) -> list[EntryBody]:
        """Give what all log entries say."""
        return [decode_body(entry.body) for entry in self.log()]

    def streamed(self) -> list[int]:
        """Give the positions of the stream records."""
        return sorted(LSN.unpack(row[8:])[0] for row in self.dbs.stream_index)
