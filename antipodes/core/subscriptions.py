"""Reading a table's stream: all its shards together, in the order of the log."""

from collections.abc import Iterator
from heapq import merge
from typing import NamedTuple

from antipodes.core import limits
from antipodes.core.formats import LSN, decode_log
from antipodes.core.store import Databases, Transaction, keys_from
from antipodes.core.streams import INDEX_PREFIX_BYTES, RecordPrinter, Stream, index_prefix
from antipodes.core.tables import Table
from antipodes.core.versions import OriginId

RECORDS_MAX = 1000
"""Of one page. Source: GetRecords' own limit."""


class PrintedRecord(NamedTuple):
    """A stream record, ready to be sent."""

    json: bytes
    sequence_number: str
    shard_id: str
    origin: OriginId


class RecordPage(NamedTuple):
    """Consecutive records of a table."""

    records: list[PrintedRecord]
    through_lsn: int
    """Every record up to here is in this page or before it."""


def read_records(
    txn: Transaction,
    dbs: Databases,
    table: Table,
    stream: Stream,
    printer: RecordPrinter,
    after_lsn: int,
    head_lsn: int,
    *,
    records_max: int = RECORDS_MAX,
    bytes_max: int = limits.MIB,
) -> RecordPage:
    """Read the next records of all shards.

    Args:
        txn: A read transaction.
        dbs: The databases.
        table: The table.
        stream: Its stream.
        printer: For that stream.
        after_lsn: Position of the last record that was read.
        head_lsn: Read no further than this, even if the log does.
        records_max: At most so many.
        bytes_max: The page ends when it is so large.
    """
    records: list[PrintedRecord] = []
    size = 0
    shards = {shard.index: shard.id for shard in stream.shards}
    found = merge(*(_positions(txn, dbs, table.number, index, after_lsn) for index in shards))
    for lsn, index in found:
        if lsn > head_lsn:
            break
        stored = txn.get(LSN.pack(lsn), db=dbs.log)
        assert stored is not None, "the index names an entry that the log does not hold"
        json, number, origin = printer.print(lsn, decode_log(stored))
        records.append(PrintedRecord(json, number, shards[index], origin))
        size += len(json)
        if len(records) >= records_max or size >= bytes_max:
            return RecordPage(records, lsn)
    return RecordPage(records, max(after_lsn, head_lsn))


def _positions(
    txn: Transaction, dbs: Databases, number: bytes, shard_index: int, after_lsn: int
) -> Iterator[tuple[int, int]]:
    prefix = index_prefix(number, shard_index)
    cursor = txn.cursor(dbs.stream_index)
    for key in keys_from(cursor, prefix, prefix + LSN.pack(after_lsn + 1)):
        yield LSN.unpack(key[INDEX_PREFIX_BYTES:])[0], shard_index
