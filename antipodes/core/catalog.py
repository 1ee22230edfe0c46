"""The tables of one region, and changes of tables that several regions make together.

A change is decided in two phases. The coordinator and every other participant first prepare: they
check, make the change durable and promise to carry it out. When all have, the coordinator commits,
which is the moment of decision, and tells the others until each has confirmed. What a coordinator
does not know was not decided, so a participant that hears nothing asks and may forget ("presumed
abort"; Mohan, Lindsay and Obermarck, 1986). Every step is durable before it is answered and may be
repeated, hence a crash at any point only delays.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from struct import Struct
from typing import Any

import orjson

from antipodes.core.errors import (
    ResourceInUseException,
    ResourceNotFoundException,
    ServiceUnavailable,
    ValidationException,
)
from antipodes.core.keys import TABLE_NUMBER_BYTES, KeyAttribute, KeySchema
from antipodes.core.store import Databases, Transaction, keys_from
from antipodes.core.streams import open_stream
from antipodes.core.tables import GLOBAL_VIEW_TYPE, Table

CREATE, ADD_REPLICAS, DELETE = "create", "add_replicas", "delete"
PREPARED, COMMITTED = "prepared", "committed"

_NEXT_NUMBER = b"next_table_number"
_PURGE = b"purge/"
_STATISTICS = b"statistics/"
_COUNTS = Struct(">qq")
PURGE_KEYS_MAX = 2000
"""Keys removed in one transaction after a table is deleted."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one table, as all participants know it.

    Attributes:
        id: Unique name of the change.
        kind: CREATE, ADD_REPLICAS or DELETE.
        coordinator: The region that decides.
        participants: All regions that take part, the coordinator included.
        name: Of the table.
        table_id: Of the table.
        schema: Its primary key.
        regions: Where the table lives after the change; for DELETE, before it.
        created_ms: When the table was created.
        view_type: Of its stream; None for no stream.
    """

    id: str
    kind: str
    coordinator: str
    participants: tuple[str, ...]
    name: str
    table_id: bytes
    schema: KeySchema
    regions: tuple[str, ...]
    created_ms: int
    view_type: str | None

    def to_dict(self) -> dict[str, Any]:
        """Print for storage and for the other regions."""
        return {
            "format": 1,
            "id": self.id,
            "kind": self.kind,
            "coordinator": self.coordinator,
            "participants": self.participants,
            "name": self.name,
            "table_id": self.table_id.hex(),
            "schema": [[a.name, a.kind] for a in self.schema if a is not None],
            "regions": self.regions,
            "created_ms": self.created_ms,
            "view_type": self.view_type,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Change":
        """Read what `to_dict` printed.

        Raises:
            ValidationException: Of another format: the region runs another version.
        """
        if data.get("format") != 1:
            raise ValidationException(
                f"table change has format {data.get('format')}, this region reads format 1;"
                " upgrade all regions to the same version"
            )
        key = [KeyAttribute(*pair) for pair in data["schema"]]
        return cls(
            id=data["id"],
            kind=data["kind"],
            coordinator=data["coordinator"],
            participants=tuple(data["participants"]),
            name=data["name"],
            table_id=bytes.fromhex(data["table_id"]),
            schema=KeySchema(key[0], key[1] if len(key) > 1 else None),
            regions=tuple(data["regions"]),
            created_ms=data["created_ms"],
            view_type=data["view_type"],
        )


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A change that this region has prepared, or decided and not yet told everybody.

    Attributes:
        change: The change.
        state: PREPARED or COMMITTED.
        unconfirmed: Participants that have not confirmed the decision; known to the coordinator.
    """

    change: Change
    state: str
    unconfirmed: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Print for storage."""
        return orjson.dumps(
            {
                "change": self.change.to_dict(),
                "state": self.state,
                "unconfirmed": self.unconfirmed,
            }
        )

    @classmethod
    def from_json(cls, stored: bytes) -> "PendingChange":
        """Read what `to_json` printed."""
        data = orjson.loads(stored)
        return cls(Change.from_dict(data["change"]), data["state"], tuple(data["unconfirmed"]))


class Catalog:
    """The tables of one region. Everything here can be read again from storage.

    Attributes:
        by_id: Tables that exist, those under change included.
        dead: Ids of deleted tables; entries that still arrive for them are skipped.
        pending: Changes under way, by change id.
        purge_due: Deleted tables have left something behind.
        generation: Grows with every change, so that readers know when to look again.
    """

    def __init__(self, region: str, dbs: Databases) -> None:
        self._region = region
        self._dbs = dbs
        self.by_id: dict[bytes, Table] = {}
        self.dead: set[bytes] = set()
        self.pending: dict[str, PendingChange] = {}
        self.generation = 0
        self.purge_due = False

    def load(self, txn: Transaction) -> None:
        """Read everything from storage."""
        self.by_id.clear()
        self.dead.clear()
        self.pending.clear()
        self.generation += 1
        cursor = txn.cursor(self._dbs.tables)
        for key in keys_from(cursor, b""):
            table = Table.from_json(cursor.value())
            if table.status == "DELETED":
                self.dead.add(key)
            else:
                self.by_id[key] = table
        self.purge_due = next(_prefixed(txn, self._dbs.meta, _PURGE), None) is not None
        cursor = txn.cursor(self._dbs.changes)
        for key in keys_from(cursor, b""):
            self.pending[key.decode()] = PendingChange.from_json(cursor.value())

    def named(self, name: str) -> Table | None:
        """Find a table by name."""
        return next((table for table in self.by_id.values() if table.name == name), None)

    def prepare(self, txn: Transaction, change: Change, head_lsn: int, now_ms: int) -> None:
        """Check a change, make it durable, and promise to carry it out.

        Raises:
            ResourceInUseException: The name is taken, or the table is under another change.
            ResourceNotFoundException: The table to change is not here.
            ValidationException: The table to extend holds data.
        """
        if change.id in self.pending:
            return
        table = self.by_id.get(change.table_id)
        if change.kind == CREATE or (change.kind == ADD_REPLICAS and table is None):
            self._check_absent(change)
            stream = change.view_type and open_stream(
                change.table_id, change.view_type, head_lsn + 1, now_ms
            )
            self._put_table(
                txn,
                Table(
                    change.name, change.table_id, self._next_number(txn), change.schema,
                    change.regions, "CREATING", change.created_ms, stream or None,
                ),
            )  # fmt: skip
        elif table is None:
            raise ResourceNotFoundException(
                f"Requested resource not found: Table: {change.name} not found"
                f" in region {self._region}"
            )
        elif table.status != "ACTIVE":
            raise ResourceInUseException(
                "Attempt to change a resource which is still in use: Table is being"
                f" {PARTICIPLE[table.status]}: {table.name}"
            )
        elif change.kind == ADD_REPLICAS:
            if self._has_data(txn, table):
                raise ValidationException(
                    f"Table {table.name} has data in region {self._region}: a replica can be added"
                    " only before the first write, because existing items are not copied to it"
                    " yet. Create the table with its replicas, or add them while it is empty."
                )
            self._put_table(txn, table.with_status("UPDATING"))
        else:
            self._put_table(txn, table.with_status("DELETING"))
        self._put_pending(txn, PendingChange(change, PREPARED))

    def decide(
        self, txn: Transaction, change_id: str, commit: bool, head_lsn: int, now_ms: int
    ) -> None:
        """Carry a prepared change out, or forget it. Repeating it does nothing."""
        pending = self.pending.get(change_id)
        if pending is None or pending.state != PREPARED:
            return
        change = pending.change
        table = self.by_id[change.table_id]
        if table.status == "CREATING":
            if commit:
                self._put_table(txn, table.with_status("ACTIVE"))
            else:
                self._remove_table(txn, table)
        elif change.kind == ADD_REPLICAS:
            if commit:
                stream = table.stream or open_stream(
                    table.id, GLOBAL_VIEW_TYPE, head_lsn + 1, now_ms
                )
                table = replace(table, regions=change.regions, stream=stream)
            self._put_table(txn, table.with_status("ACTIVE"))
        elif commit:
            self._remove_table(txn, table)
        else:
            self._put_table(txn, table.with_status("ACTIVE"))
        others = tuple(r for r in change.participants if r != self._region)
        if commit and change.coordinator == self._region and others:
            self._put_pending(txn, PendingChange(change, COMMITTED, others))
        else:
            self._drop_pending(txn, change_id)

    def confirm(self, txn: Transaction, change_id: str, region: str) -> None:
        """Note, as coordinator, that a participant has carried the decision out."""
        pending = self.pending.get(change_id)
        if pending is None or pending.state != COMMITTED:
            return
        left = tuple(r for r in pending.unconfirmed if r != region)
        if left:
            self._put_pending(txn, replace(pending, unconfirmed=left))
        else:
            self._drop_pending(txn, change_id)

    def purge(self, txn: Transaction) -> bool:
        """Remove some of what deleted tables have left behind.

        Returns:
            There may be more to remove.
        """
        cursor = txn.cursor(self._dbs.meta)
        row = next(keys_from(cursor, _PURGE), None)
        if row is None:
            self.purge_due = False
            return False
        number = row[len(_PURGE) :]
        left = PURGE_KEYS_MAX
        for db in (
            self._dbs.items, self._dbs.tombstones, self._dbs.stream_index, self._dbs.conflicts,
        ):  # fmt: skip
            keys = list(islice(keys_from(txn.cursor(db), number), left))
            for key in keys:
                txn.delete(key, db=db)
            left -= len(keys)
            if not left:
                return True
        txn.delete(row, db=self._dbs.meta)
        txn.delete(_STATISTICS + number, db=self._dbs.meta)
        return True

    def add_statistics(self, txn: Transaction, number: bytes, items: int, size: int) -> None:
        """Add to a table's counts."""
        before = read_statistics(txn, self._dbs, number)
        txn.put(
            _STATISTICS + number, _COUNTS.pack(before[0] + items, before[1] + size),
            db=self._dbs.meta,
        )  # fmt: skip

    def _check_absent(self, change: Change) -> None:
        if (present := self.named(change.name)) is not None:
            where = "" if self._region == change.coordinator else f" in region {self._region}"
            raise ResourceInUseException(
                f"Table already exists: {change.name}{where}"
                if present.status == "ACTIVE"
                else "Attempt to change a resource which is still in use: Table is being"
                f" {PARTICIPLE[present.status]}: {change.name}{where}"
            )
        if change.table_id in self.dead:
            raise ResourceInUseException(f"the id of table {change.name} was used before")

    def _has_data(self, txn: Transaction, table: Table) -> bool:
        return any(
            next(_prefixed(txn, db, table.number), None) is not None
            for db in (self._dbs.items, self._dbs.tombstones)
        )

    def _next_number(self, txn: Transaction) -> bytes:
        number = int.from_bytes(txn.get(_NEXT_NUMBER, db=self._dbs.meta) or b"\x01")
        txn.put(_NEXT_NUMBER, (number + 1).to_bytes(TABLE_NUMBER_BYTES), db=self._dbs.meta)
        return number.to_bytes(TABLE_NUMBER_BYTES)

    def _put_table(self, txn: Transaction, table: Table) -> None:
        txn.put(table.id, table.to_json(), db=self._dbs.tables)
        self.by_id[table.id] = table
        self.generation += 1

    def _remove_table(self, txn: Transaction, table: Table) -> None:
        txn.put(table.id, table.with_status("DELETED").to_json(), db=self._dbs.tables)
        txn.put(_PURGE + table.number, b"", db=self._dbs.meta)
        self.purge_due = True
        self.dead.add(table.id)
        del self.by_id[table.id]
        self.generation += 1

    def _put_pending(self, txn: Transaction, pending: PendingChange) -> None:
        txn.put(pending.change.id.encode(), pending.to_json(), db=self._dbs.changes)
        self.pending[pending.change.id] = pending
        self.generation += 1

    def _drop_pending(self, txn: Transaction, change_id: str) -> None:
        txn.delete(change_id.encode(), db=self._dbs.changes)
        del self.pending[change_id]
        self.generation += 1


def read_statistics(txn: Transaction, dbs: Databases, number: bytes) -> tuple[int, int]:
    """Read how many items a table holds, and how many bytes they count."""
    stored = txn.get(_STATISTICS + number, db=dbs.meta)
    if stored is None:
        return 0, 0
    items, size = _COUNTS.unpack(stored)
    return items, size


PARTICIPLE = {"CREATING": "created", "UPDATING": "updated", "DELETING": "deleted"}


def _prefixed(txn: Transaction, db: Any, prefix: bytes) -> Iterator[bytes]:
    return keys_from(txn.cursor(db), prefix)


def writable(table: Table | None, name: str) -> Table:
    """Give the table if clients may write to it.

    Raises:
        ResourceNotFoundException: It does not exist, not yet, or no longer.
        ServiceUnavailable: It is being extended to another region, which takes a moment.
    """
    if table is not None and table.status == "UPDATING":
        raise ServiceUnavailable(
            f"Table {name} is being extended to another region; writes are held back for a moment"
        )
    return readable(table)


def readable(table: Table | None) -> Table:
    """Give the table if clients may read it.

    Raises:
        ResourceNotFoundException: It does not exist, not yet, or no longer.
    """
    if table is None or table.status not in ("ACTIVE", "UPDATING"):
        raise ResourceNotFoundException("Requested resource not found")
    return table
