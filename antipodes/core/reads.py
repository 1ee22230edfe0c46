"""Reading items: by key, by partition in order of the sort key, and all of a table."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from antipodes.core import limits
from antipodes.core.errors import Corrupt
from antipodes.core.formats import ItemRecord, decode_item
from antipodes.core.keys import (
    HASH_BYTES,
    SORT_PREFIX_BYTES_MAX,
    SORT_PREFIX_START,
    ItemKey,
    encode_bytes,
    encode_number,
    partition_prefix,
    physical_key,
)
from antipodes.core.store import Cursor, Databases, Transaction
from antipodes.core.tables import Table

_ABOVE_ALL = b"\xff" * 511
_HASHES = 1 << (8 * HASH_BYTES)
_CUT_KEY_BYTES = SORT_PREFIX_START + SORT_PREFIX_BYTES_MAX + HASH_BYTES


class Page(NamedTuple):
    """One answer of a Query or a Scan."""

    records: list[ItemRecord]
    last_key: ItemKey | None
    """Where to go on; None when the end was reached."""


@dataclass(frozen=True, slots=True)
class SortRange:
    """Which sort keys are asked for, in raw bytes; None leaves an end open.

    Attributes:
        low: The least.
        low_included: The least itself is asked for.
        high: The greatest.
        high_included: The greatest itself is asked for.
        begins_with: Only those that begin with these bytes.
    """

    low: bytes | None = None
    low_included: bool = True
    high: bytes | None = None
    high_included: bool = True
    begins_with: bytes | None = None


def get_item(
    txn: Transaction, dbs: Databases, table: Table, key: ItemKey, *, deleted: bool = False
) -> ItemRecord | None:
    """Read one item.

    Args:
        txn: A read transaction.
        dbs: The databases.
        table: The table.
        key: The primary key.
        deleted: Give a tombstone too, instead of None.

    Raises:
        Corrupt: The record is damaged.
    """
    physical = physical_key(table.schema, table.number, key)
    stored = txn.get(physical, db=dbs.items)
    if stored is None and deleted:
        stored = txn.get(physical, db=dbs.tombstones)
    if stored is None:
        return None
    record = decode_item(stored)
    if record.key != key:
        raise Corrupt(f"two keys share the storage key {physical.hex()}")
    return record


def query(
    txn: Transaction,
    dbs: Databases,
    table: Table,
    partition: bytes,
    asked: SortRange,
    *,
    forward: bool = True,
    start_after: bytes | None = None,
    limit: int | None = None,
) -> Page:
    """Read a page of the items of one partition key, in order of the sort key.

    Args:
        txn: A read transaction.
        dbs: The databases.
        table: A table with a sort key.
        partition: The partition key, raw.
        asked: Which sort keys.
        forward: From the least to the greatest.
        start_after: Sort key of the last item of the page before.
        limit: At most so many items; the page also ends at 1 MiB.
    """
    assert table.schema.sort is not None, "the table has no sort key"
    bounds = _Bounds(table.schema.sort.kind, asked, forward, start_after)
    prefix = partition_prefix(table.number, partition)
    cursor = txn.cursor(dbs.items)
    found = (
        _walk_forward(cursor, prefix, bounds) if forward else _walk_backward(cursor, prefix, bounds)
    )
    return fill_page(found, limit)


def scan(
    txn: Transaction,
    dbs: Databases,
    table: Table,
    *,
    start_after: ItemKey | None = None,
    limit: int | None = None,
    segment: tuple[int, int] | None = None,
) -> Page:
    """Read a page of a whole table, in the order of storage.

    Args:
        txn: A read transaction.
        dbs: The databases.
        table: The table.
        start_after: Key of the last item of the page before.
        limit: At most so many items; the page also ends at 1 MiB.
        segment: Only this part, of so many; parts are ranges of the partition key's hash.
    """
    number, of = segment or (0, 1)
    start = table.number + (number * _HASHES // of).to_bytes(HASH_BYTES)
    end = None if number + 1 == of else ((number + 1) * _HASHES // of).to_bytes(HASH_BYTES)
    if start_after is not None:
        start = max(start, physical_key(table.schema, table.number, start_after) + b"\0")
    found = _walk(txn.cursor(dbs.items), table.number, start, end and table.number + end)
    return fill_page(found, limit)


def digest_items(records: list[ItemRecord]) -> int:
    """Sum the hashes of items with their versions, modulo 2^128: the order does not matter."""
    total = 0
    for record in records:
        origin, lsn = record.dot
        digest = blake2b(digest_size=16)
        for part in (record.key.partition, record.key.sort, record.payload or b""):
            digest.update(len(part).to_bytes(4) + part)
        digest.update(origin + lsn.to_bytes(8) + record.hlc.to_bytes(8))
        total += int.from_bytes(digest.digest())
    return total % (1 << 128)


class _Bounds:
    """A sort range in the order of storage."""

    def __init__(
        self, kind: str, asked: SortRange, forward: bool, start_after: bytes | None
    ) -> None:
        self._number = kind == "N"
        low, self._low_included = asked.low, asked.low_included
        high, self._high_included = asked.high, asked.high_included
        self._low = None if low is None else self.order(low)
        self._high = None if high is None else self.order(high)
        self._begins_with = asked.begins_with
        if start_after is not None:
            start = self.order(start_after)
            if forward and (self._low is None or start >= self._low):
                self._low, self._low_included = start, False
            elif not forward and (self._high is None or start <= self._high):
                self._high, self._high_included = start, False

    def order(self, sort: bytes) -> bytes:
        """Give bytes that compare as the sort keys do."""
        return encode_number(sort.decode()) if self._number else sort

    def first(self) -> bytes:
        """Give a stored sort prefix at or below the first that is asked for."""
        if self._low is not None:
            if self._begins_with is not None and self._begins_with > self._low:
                return self._stem(self._begins_with)
            return (self._low if self._number else encode_bytes(self._low))[:SORT_PREFIX_BYTES_MAX]
        return b"" if self._begins_with is None else self._stem(self._begins_with)

    def last(self) -> bytes:
        """Give bytes at or above every stored key that is asked for."""
        if self._high is not None:
            end = self._high if self._number else encode_bytes(self._high)
            return end[:SORT_PREFIX_BYTES_MAX] + _ABOVE_ALL
        return (b"" if self._begins_with is None else self._stem(self._begins_with)) + _ABOVE_ALL

    @staticmethod
    def _stem(begins_with: bytes) -> bytes:
        return encode_bytes(begins_with)[:-2][:SORT_PREFIX_BYTES_MAX]

    def below(self, order: bytes) -> bool:
        """Tell whether a sort key lies before the range."""
        if self._low is not None and (
            order < self._low or (order == self._low and not self._low_included)
        ):
            return True
        return self._begins_with is not None and order < self._begins_with

    def above(self, order: bytes) -> bool:
        """Tell whether a sort key lies behind the range."""
        if self._high is not None and (
            order > self._high or (order == self._high and not self._high_included)
        ):
            return True
        stem = self._begins_with
        return stem is not None and order > stem and not order.startswith(stem)


def _walk(cursor: Cursor, prefix: bytes, start: bytes, end: bytes | None) -> Iterator[ItemRecord]:
    found = cursor.set_range(start)
    while found:
        key, stored = cursor.item()
        if not key.startswith(prefix) or (end is not None and key >= end):
            return
        yield decode_item(stored)
        found = cursor.next()


def _walk_forward(cursor: Cursor, prefix: bytes, bounds: _Bounds) -> Iterator[ItemRecord]:
    found = cursor.set_range(prefix + bounds.first())
    while found:
        key = cursor.key()
        if not key.startswith(prefix):
            return
        run, found = _read_run(cursor, key, cursor.next)
        for record in sorted(run, key=lambda r: bounds.order(r.key.sort)) if run[1:] else run:
            order = bounds.order(record.key.sort)
            if bounds.above(order):
                return
            if not bounds.below(order):
                yield record


def _walk_backward(cursor: Cursor, prefix: bytes, bounds: _Bounds) -> Iterator[ItemRecord]:
    found = cursor.set_range((prefix + bounds.last())[:511])
    found = cursor.prev() if found else cursor.last()
    while found:
        key = cursor.key()
        if not key.startswith(prefix):
            return
        run, found = _read_run(cursor, key, cursor.prev)
        run.sort(key=lambda r: bounds.order(r.key.sort), reverse=True)
        for record in run:
            order = bounds.order(record.key.sort)
            if bounds.below(order):
                return
            if not bounds.above(order):
                yield record


def _read_run(
    cursor: Cursor, key: bytes, move: Callable[[], bool]
) -> tuple[list[ItemRecord], bool]:
    """Read the items whose sort prefix was cut and is the same; most often a single item."""
    run = [decode_item(cursor.value())]
    found = move()
    if len(key) == _CUT_KEY_BYTES:
        stem = key[:-HASH_BYTES]
        while found and cursor.key().startswith(stem):
            run.append(decode_item(cursor.value()))
            found = move()
    return run, found


def fill_page(found: Iterable[ItemRecord], limit: int | None) -> Page:
    """Take items until there are enough; says where to go on even if nothing is left there."""
    records: list[ItemRecord] = []
    size = 0
    for record in found:
        records.append(record)
        size += record.size
        if size >= limits.PAGE_BYTES_MAX or len(records) == limit:
            return Page(records, record.key)
    return Page(records, None)
