"""Versions of items: what orders them, and what each has seen."""

import enum
from collections.abc import Mapping
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from antipodes.core.errors import Corrupt

OriginId = bytes
"""Eight bytes that stand for an origin in stored and sent records."""
Vector = dict[OriginId, int]
"""Per origin, the highest log position that is covered."""

_ENTRY = Struct(">8sQ")


class Origin(NamedTuple):
    """Who accepted a write: a region, and how often it has started over with an older disk."""

    region: str
    incarnation: int

    @property
    def id(self) -> OriginId:
        """A hash: needs no agreement, and two origins of one cluster never share it in practice."""
        return blake2b(f"{self.region}#{self.incarnation}".encode(), digest_size=8).digest()

    def __str__(self) -> str:
        return f"{self.region}#{self.incarnation}"


class Dot(NamedTuple):
    """The unique name of a write."""

    origin: OriginId
    lsn: int


class Stamp(NamedTuple):
    """Where a version stands in the total order: the greatest wins. No two versions share one."""

    hlc: int
    region: str
    incarnation: int
    lsn: int


class Relation(enum.Enum):
    """How an incoming version relates to the stored one."""

    NEW = "new"
    """Nothing was stored."""
    STALE = "stale"
    """Something merged here has seen it."""
    SUPERSEDES = "supersedes"
    """It has seen what is stored."""
    CONCURRENT = "concurrent"
    """Neither has seen the other: a conflict."""


class OriginNames(dict[OriginId, Origin]):
    """The origins known so far, by id."""

    def stamp(self, hlc: int, origin: OriginId, lsn: int) -> Stamp:
        """Give the place of a version in the total order.

        Raises:
            Corrupt: The origin is unknown; the handshake names all.
        """
        name = self.get(origin)
        if name is None:
            raise Corrupt(f"no region is known for origin id {origin.hex()}")
        return Stamp(hlc, name.region, name.incarnation, lsn)


def encode_vector(vector: Mapping[OriginId, int]) -> bytes:
    """Print a vector; 16 bytes an entry, in order of origin id."""
    return b"".join(_ENTRY.pack(origin, vector[origin]) for origin in sorted(vector))


def decode_vector(encoded: bytes) -> Vector:
    """Read a vector."""
    return dict(_ENTRY.iter_unpack(encoded))


def join(a: Mapping[OriginId, int], b: Mapping[OriginId, int]) -> Vector:
    """Take the greater position of each origin: commutative, associative, idempotent."""
    joined = dict(a)
    for origin, lsn in b.items():
        if joined.get(origin, 0) < lsn:
            joined[origin] = lsn
    return joined


def covers(vector: Mapping[OriginId, int], dot: Dot) -> bool:
    """Tell whether a vector includes a write."""
    return vector.get(dot.origin, 0) >= dot.lsn


def classify(
    stored: tuple[Dot, Vector] | None, incoming: Dot, incoming_context: Vector
) -> Relation:
    """Tell how an incoming version relates to the stored one.

    Args:
        stored: Winner and joined context of the item at this replica; None when never written.
        incoming: Name of the incoming version, not applied here before.
        incoming_context: What the incoming version has seen.
    """
    if stored is None:
        return Relation.NEW
    winner, context = stored
    if covers(context, incoming):
        return Relation.STALE
    if covers(incoming_context, winner):
        return Relation.SUPERSEDES
    return Relation.CONCURRENT
