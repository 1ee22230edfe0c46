"""Which of two concurrent versions wins, and the record that is kept of the other."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from antipodes.core.keys import ItemKey
from antipodes.core.versions import Dot, Stamp


@dataclass(frozen=True, slots=True)
class Contender:
    """One of two concurrent versions."""

    stamp: Stamp
    dot: Dot
    payload: bytes | None

    def to_dict(self) -> dict[str, Any]:
        """Print for storage."""
        return {
            "hlc": self.stamp.hlc,
            "region": self.stamp.region,
            "incarnation": self.stamp.incarnation,
            "lsn": self.stamp.lsn,
            "image": None if self.payload is None else orjson.Fragment(self.payload),
        }


def pick_winner(a: Contender, b: Contender) -> tuple[Contender, Contender]:
    """Order two versions: the winner that every region must keep, then the loser.

    The greatest stamp wins. Commutative, associative and idempotent over any set of versions, so
    the order of arrival does not matter. What the versions have seen of each other only says
    whether this was a conflict: "vector first, then clock" would not be associative.
    """
    return (a, b) if a.stamp > b.stamp else (b, a)


def conflict_id(a: Dot, b: Dot) -> str:
    """Name a pair of versions: the same at every replica, whichever came first."""
    first, second = sorted((a, b))
    return blake2b(
        first.origin + first.lsn.to_bytes(8) + second.origin + second.lsn.to_bytes(8),
        digest_size=16,
    ).hexdigest()


def print_conflict(
    table_id: bytes, key: ItemKey, winner: Contender, loser: Contender, detected_ms: int
) -> bytes:
    """Print a conflict record for storage."""
    return orjson.dumps(
        {
            "format": 1,
            "id": conflict_id(winner.dot, loser.dot),
            "table_id": table_id.hex(),
            "key": [key.partition.hex(), key.sort.hex()],
            "winner": winner.to_dict(),
            "loser": loser.to_dict(),
            "detected_ms": detected_ms,
            "equal": winner.payload == loser.payload,
        }
    )


def parse_conflict(stored: bytes) -> dict[str, Any]:
    """Read a conflict record; the key comes back as an `ItemKey`."""
    record: dict[str, Any] = orjson.loads(stored)
    partition, sort = record["key"]
    record["key"] = ItemKey(bytes.fromhex(partition), bytes.fromhex(sort))
    return record
