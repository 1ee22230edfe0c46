"""Streams: the visible part of a replica's log, cut into shards by key hash."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from antipodes.core import limits
from antipodes.core.attributes import key_size
from antipodes.core.errors import ValidationException
from antipodes.core.formats import Cause, LogEntry, decode_body
from antipodes.core.keys import KeySchema, partition_hash, print_key
from antipodes.core.versions import Origin

SEQUENCE_BASE = 10**24
"""Sequence numbers are ``SEQUENCE_BASE * (1 + incarnation) + lsn``: 25 digits or more, growing
through restarts and restores."""

INDEX_PREFIX_BYTES = 8
"""Table number and shard index in front of the log position."""


@dataclass(frozen=True, slots=True)
class Shard:
    """An ordered part of a stream.

    Attributes:
        index: Its number within the table, as the index of stream records uses it.
        id: Its name; names sort as shards were opened.
        starting_lsn: The first record lies at or after this log position.
    """

    index: int
    id: str
    starting_lsn: int


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream of a table in one region.

    Attributes:
        label: When it was enabled, as text; unique within the table.
        view_type: What records show of the item.
        shards: The open ones; a key belongs to the shard that the top bits of its hash number.
    """

    label: str
    view_type: str
    shards: tuple[Shard, ...]

    @property
    def shows_old(self) -> bool:
        """Records carry the item as it was before."""
        return self.view_type in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")

    @property
    def shows_new(self) -> bool:
        """Records carry the item as it is afterwards."""
        return self.view_type in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")

    def arn(self, table_arn: str) -> str:
        """Give the stream's name for all the world."""
        return f"{table_arn}/stream/{self.label}"

    def shard_of(self, physical_key: bytes) -> Shard:
        """Find the shard that an item's changes go to."""
        return self.shards[partition_hash(physical_key) * len(self.shards) >> 128]

    def to_dict(self) -> dict[str, Any]:
        """Print for storage."""
        return {
            "label": self.label,
            "view_type": self.view_type,
            "shards": [[s.index, s.id, s.starting_lsn] for s in self.shards],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Stream":
        """Read what `to_dict` printed."""
        return cls(data["label"], data["view_type"], tuple(Shard(*s) for s in data["shards"]))


def open_stream(table_id: bytes, view_type: str, starting_lsn: int, now_ms: int) -> Stream:
    """Start a stream with its first shards.

    Args:
        table_id: Of the table.
        view_type: What records show.
        starting_lsn: The position that the next log entry takes.
        now_ms: Wall clock; becomes the label.
    """
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)
    label = when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03d}"
    shards = tuple(
        Shard(
            index,
            f"shardId-{now_ms:020d}-"
            + blake2b(table_id + label.encode() + bytes([index]), digest_size=4).hexdigest(),
            starting_lsn,
        )
        for index in range(limits.STREAM_SHARDS)
    )
    return Stream(label, view_type, shards)


def index_prefix(table_number: bytes, shard_index: int) -> bytes:
    """Give the bytes with which the index entries of one shard begin."""
    return table_number + shard_index.to_bytes(4)


def sequence_number(incarnation: int, lsn: int) -> str:
    """Give the sequence number of a log position."""
    return str(SEQUENCE_BASE * (1 + incarnation) + lsn)


def lsn_of_sequence_number(text: str) -> int:
    """Give the log position of a sequence number.

    Raises:
        ValidationException: Not a sequence number of this system.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 40:
        raise ValidationException(f"Invalid SequenceNumber: {text}")
    incarnation, lsn = divmod(int(text), SEQUENCE_BASE)
    if incarnation < 1:
        raise ValidationException(f"Invalid SequenceNumber: {text}")
    return lsn


class RecordPrinter:
    """Prints the records of one stream as DynamoDB's GetRecords shows them.

    Images are copied from the log, not parsed.

    Args:
        schema: The table's primary key.
        stream: The stream.
        stream_arn: Its ARN.
        region: The region that serves the records.
        incarnation: Of this region.
    """

    def __init__(
        self, schema: KeySchema, stream: Stream, stream_arn: str, region: str, incarnation: int
    ) -> None:
        self._schema = schema
        self._kinds = [a.kind for a in schema if a is not None]
        self._stream = stream
        self._arn = stream_arn.encode()
        self._region = orjson.dumps(region)
        self._view_type = orjson.dumps(stream.view_type)
        self._incarnation = incarnation
        self._origin = Origin(region, incarnation).id

    def print(self, lsn: int, entry: LogEntry) -> tuple[bytes, str, bytes]:
        """Print one record.

        Args:
            lsn: Position of the entry.
            entry: A visible entry of the table.

        Returns:
            The record in JSON, its sequence number, and the id of the origin.
        """
        body = decode_body(entry.body)
        number = sequence_number(self._incarnation, lsn)
        event_id = blake2b(self._arn + b"\0" + number.encode(), digest_size=16).hexdigest()
        written = b"MODIFY" if entry.existed else b"INSERT"
        name = b"REMOVE" if body.payload is None else written
        size = key_size(self._schema.names, body.key[: len(self._kinds)], self._kinds)
        parts = [
            b'{"eventID":"', event_id.encode(), b'","eventName":"', name,
            b'","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":', self._region,
        ]  # fmt: skip
        if body.cause is Cause.TTL and body.dot.origin == self._origin:
            parts.append(
                b',"userIdentity":{"Type":"Service","PrincipalId":"dynamodb.amazonaws.com"}'
            )
        parts += [
            b',"dynamodb":{"ApproximateCreationDateTime":', b"%d" % (entry.commit_ms // 1000),
            b',"Keys":', print_key(self._schema, body.key),
        ]  # fmt: skip
        if self._stream.shows_new and body.payload is not None:
            parts += [b',"NewImage":', body.payload]
            size += body.size
        if self._stream.shows_old and entry.old_payload is not None:
            parts += [b',"OldImage":', entry.old_payload]
            size += entry.old_size
        parts += [
            b',"SequenceNumber":"', number.encode(), b'","SizeBytes":%d' % size,
            b',"StreamViewType":', self._view_type, b"}}",
        ]  # fmt: skip
        return b"".join(parts), number, body.dot.origin
