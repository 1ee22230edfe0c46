"""The bytes of item records and log entries.

Both begin with a version byte and a CRC-32C over what follows it. A log entry has two parts: the
body is the same in every region and travels unchanged; the local part in front of it, and the old
image behind it, belong to one region. Integers are big-endian. Golden files in ``tests/unit`` hold
one example of each version; a reader is never removed.
"""

import enum
from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

import google_crc32c

from antipodes.core.errors import Corrupt
from antipodes.core.keys import ItemKey
from antipodes.core.versions import Dot, OriginId, Vector, decode_vector

ITEM_FORMAT = 1
BODY_FORMAT = 1
LOG_FORMAT = 1

NO_TRANSACTION = bytes(16)

LSN = Struct(">Q")
"""A log position as a key: byte order is numeric order."""

_CRC_END = 5  # format byte and checksum
_HEAD = Struct(">BI")


_untyped: Any = google_crc32c
crc32c: Callable[[bytes], int] = _untyped.value
"""Computes the checksum that guards stored and sent bytes."""
crc32c_extend: Callable[[int, bytes], int] = _untyped.extend
"""Computes the checksum of what came before and of more bytes."""


class Kind(enum.IntEnum):
    """What an entry does.

    COUNTER and CONTROL are reserved; a reader that meets one must not skip it silently.
    """

    PUT = 1
    DELETE = 2
    NOOP = 3
    """A version that changed nothing where it was written, but may elsewhere."""
    COUNTER = 4
    CONTROL = 5


class Cause(enum.IntEnum):
    """Who asked for a write."""

    USER = 1
    TTL = 2
    REPAIR = 3
    RESTORE = 4


class ItemRecord(NamedTuple):
    """What a replica holds for a key: the winning version and all that was merged into it."""

    hlc: int
    dot: Dot
    context: bytes
    """Encoded vector: the join of the contexts of all versions merged here."""
    local_lsn: int
    """Position of the winner's entry in this replica's own log."""
    key: ItemKey
    payload: bytes | None
    """The item as printed; None when deleted."""
    size: int
    """As DynamoDB counts; 0 when deleted."""

    @property
    def vector(self) -> Vector:
        """The context, decoded."""
        return decode_vector(self.context)


_ITEM = Struct(">BQ8sQQIHHH")
_ITEM_LIVE = 1


def encode_item(record: ItemRecord) -> bytes:
    """Print an item record."""
    hlc, (origin, lsn), context, local_lsn, (partition, sort), payload, size = record
    rest = b"".join(
        (
            _ITEM.pack(
                0 if payload is None else _ITEM_LIVE, hlc, origin, lsn, local_lsn, size,
                len(context), len(partition), len(sort),
            ),
            context, partition, sort, payload or b"",
        )
    )  # fmt: skip
    return _HEAD.pack(ITEM_FORMAT, crc32c(rest)) + rest


def decode_item(stored: bytes) -> ItemRecord:
    """Read an item record.

    Raises:
        Corrupt: The checksum does not match, or the format is unknown.
    """
    _check(stored, ITEM_FORMAT, "item record")
    flags, hlc, origin, lsn, local_lsn, size, n_context, n_partition, n_sort = _ITEM.unpack_from(
        stored, _CRC_END
    )
    at = _CRC_END + _ITEM.size
    context = stored[at : (at := at + n_context)]
    partition = stored[at : (at := at + n_partition)]
    sort = stored[at : (at := at + n_sort)]
    return ItemRecord(
        hlc, Dot(origin, lsn), context, local_lsn, ItemKey(partition, sort),
        stored[at:] if flags & _ITEM_LIVE else None, size,
    )  # fmt: skip


class EntryBody(NamedTuple):
    """One write, as every region knows it."""

    kind: Kind
    cause: Cause
    cfg_epoch: int
    hlc: int
    dot: Dot
    wall_ms: int
    """The origin's wall clock at the commit."""
    table_id: bytes
    transaction_id: bytes
    """Sixteen bytes; zeros outside a transaction. Entries of one transaction are adjacent."""
    transaction_index: int
    transaction_count: int
    context: bytes
    """Encoded vector: what the write had seen, itself included; always complete."""
    key: ItemKey
    payload: bytes | None
    size: int


_BODY = Struct(">BBBIQ8sQQ16s16sHHHHHI")
_BODY_HAS_PAYLOAD = 1
_TABLE_ID_AT = _CRC_END + Struct(">BBBIQ8sQQ").size
_DOT_AT = _CRC_END + Struct(">BBBIQ").size
_DOT = Struct(">8sQ")


def encode_body(body: EntryBody) -> bytes:
    """Print the part of a log entry that travels."""
    (kind, cause, cfg_epoch, hlc, (origin, lsn), wall_ms, table_id, transaction_id, index, count,
     context, (partition, sort), payload, size) = body  # fmt: skip
    rest = b"".join(
        (
            _BODY.pack(
                kind, cause, 0 if payload is None else _BODY_HAS_PAYLOAD, cfg_epoch, hlc, origin,
                lsn, wall_ms, table_id, transaction_id, index, count, len(context),
                len(partition), len(sort), size,
            ),
            context, partition, sort, payload or b"",
        )
    )  # fmt: skip
    return _HEAD.pack(BODY_FORMAT, crc32c(rest)) + rest


def decode_body(sent: bytes) -> EntryBody:
    """Read the part of a log entry that travels.

    Raises:
        Corrupt: The checksum does not match, or the format or the kind is unknown.
    """
    _check(sent, BODY_FORMAT, "log entry")
    (kind, cause, flags, cfg_epoch, hlc, origin, lsn, wall_ms, table_id, transaction_id, index,
     count, n_context, n_partition, n_sort, size) = _BODY.unpack_from(sent, _CRC_END)  # fmt: skip
    at = _CRC_END + _BODY.size
    context = sent[at : (at := at + n_context)]
    partition = sent[at : (at := at + n_partition)]
    sort = sent[at : (at := at + n_sort)]
    try:
        kind, cause = _KINDS[kind], _CAUSES[cause]
    except KeyError as error:
        raise Corrupt(f"log entry {lsn} has unknown kind {kind} or cause {cause}") from error
    return EntryBody(
        kind, cause, cfg_epoch, hlc, Dot(origin, lsn), wall_ms, table_id, transaction_id, index,
        count, context, ItemKey(partition, sort), sent[at:] if flags & _BODY_HAS_PAYLOAD else None,
        size,
    )  # fmt: skip


_KINDS = {int(kind): kind for kind in Kind}
_CAUSES = {int(cause): cause for cause in Cause}


def peek_table_id(body: bytes) -> bytes:
    """Read the table of a body without decoding the rest."""
    return body[_TABLE_ID_AT : _TABLE_ID_AT + 16]


def peek_transaction(body: bytes) -> tuple[int, int]:
    """Read index and count within the transaction; (0, 0) outside one."""
    index, count = _TRANSACTION.unpack_from(body, _TRANSACTION_AT)
    return index, count


_TRANSACTION = Struct(">HH")
_TRANSACTION_AT = _TABLE_ID_AT + 32


def peek_dot(body: bytes) -> tuple[OriginId, int]:
    """Read the name of the write without decoding the rest."""
    origin, lsn = _DOT.unpack_from(body, _DOT_AT)
    return origin, lsn


class LogEntry(NamedTuple):
    """A body as one replica logged it."""

    visible: bool
    """The item changed here: the entry is a stream record."""
    commit_ms: int
    """This replica's wall clock at the commit, never below the entry before."""
    old_payload: bytes | None
    """The item before, where the table's stream shows it."""
    old_size: int
    body: bytes
    existed: bool
    """There was an item before."""


_LOG = Struct(">BQII")
_LOG_VISIBLE = 1
_LOG_HAS_OLD = 2
_LOG_EXISTED = 4


def encode_log(entry: LogEntry) -> bytes:
    """Print a log entry."""
    visible, commit_ms, old_payload, old_size, body, existed = entry
    flags = (visible and _LOG_VISIBLE) | (existed and _LOG_EXISTED)
    local = _LOG.pack(
        flags if old_payload is None else flags | _LOG_HAS_OLD, commit_ms, old_size, len(body)
    )
    old = old_payload or b""
    # The body carries its own checksum.
    return b"".join((_HEAD.pack(LOG_FORMAT, crc32c(local + old)), local, body, old))


def decode_log(stored: bytes) -> LogEntry:
    """Read a log entry; its body is left as bytes.

    Raises:
        Corrupt: The checksum does not match, or the format is unknown.
    """
    _check_format(stored, LOG_FORMAT, "log entry")
    body_at = _CRC_END + _LOG.size
    if len(stored) < body_at:
        raise Corrupt("log entry is cut short")
    flags, commit_ms, old_size, n_body = _LOG.unpack_from(stored, _CRC_END)
    old = stored[body_at + n_body :]
    if crc32c(stored[_CRC_END:body_at] + old) != _HEAD.unpack_from(stored)[1]:
        raise Corrupt("log entry fails its checksum")
    return LogEntry(
        bool(flags & _LOG_VISIBLE), commit_ms, old if flags & _LOG_HAS_OLD else None, old_size,
        stored[body_at : body_at + n_body], bool(flags & _LOG_EXISTED),
    )  # fmt: skip


def log_body(stored: bytes) -> bytes:
    """Cut the body out of a stored log entry, unchecked: the body guards itself."""
    body_at = _CRC_END + _LOG.size
    n_body: int = _LOG.unpack_from(stored, _CRC_END)[3]
    return stored[body_at : body_at + n_body]


def _check_format(data: bytes, known: int, what: str) -> None:
    if len(data) < _CRC_END or data[0] != known:
        raise Corrupt(
            f"{what} has format {data[0] if data else 'none'}, this version reads format {known}"
        )


def _check(data: bytes, known: int, what: str) -> None:
    _check_format(data, known, what)
    if crc32c(data[_CRC_END:]) != _HEAD.unpack_from(data)[1]:
        raise Corrupt(f"{what} fails its checksum")
