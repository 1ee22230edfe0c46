"""The storage that the core runs on: ordered maps of bytes, changed in transactions.

The interface is the part of py-lmdb's that the core needs, with its names, so that under LMDB no
layer lies between; the simulator brings its own.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol


class Cursor(Protocol):
    """A position in an ordered map."""

    def set_range(self, key: bytes, /) -> bool:
        """Go to the first key that is not below the given one; False when there is none."""
        ...

    def first(self) -> bool:
        """Go to the first key; False when the map is empty."""
        ...

    def last(self) -> bool:
        """Go to the last key; False when the map is empty."""
        ...

    def next(self) -> bool:
        """Go to the next key; False at the end."""
        ...

    def prev(self) -> bool:
        """Go to the previous key; False at the beginning."""
        ...

    def key(self) -> bytes:
        """The key here."""
        ...

    def value(self) -> bytes:
        """The value here."""
        ...

    def item(self) -> tuple[bytes, bytes]:
        """Key and value here."""
        ...


class Transaction(Protocol):
    """A consistent view; in a write transaction, all changes or none become durable."""

    def get(self, key: bytes, /, *, db: Any) -> bytes | None:
        """Read a value."""
        ...

    def put(self, key: bytes, value: bytes, /, *, append: bool = False, db: Any) -> bool:
        """Store a value; ``append`` promises that the key is above all others."""
        ...

    def delete(self, key: bytes, /, *, db: Any) -> bool:
        """Remove a key; False when it was not there."""
        ...

    def cursor(self, db: Any, /) -> Cursor:
        """Open a cursor."""
        ...


class Databases(NamedTuple):
    """Handles of the ordered maps of one environment."""

    meta: Any
    """Small facts about the node, by name."""
    tables: Any
    """Table definitions, by table id."""
    changes: Any
    """Table changes in several regions that are under way, by change id."""
    items: Any
    """Item records, by physical key."""
    tombstones: Any
    """Records of deleted items, by physical key; apart, so that scans do not walk over them."""
    log: Any
    """Log entries, by position."""
    log_by_origin: Any
    """Own log position, by origin id and the origin's position."""
    stream_index: Any
    """Nothing, by table number, shard index and log position: where the stream records are."""
    watermarks: Any
    """Position, by origin id: everything up to it is applied."""
    conflicts: Any
    """Conflict records, by table number and log position."""
    tokens: Any
    """Transactions done of late, by token and by time."""

    @classmethod
    def open(cls, open_one: Callable[[str], Any]) -> "Databases":
        """Open all, each under its own name."""
        return cls(*(open_one(name) for name in cls._fields))


def keys_from(cursor: Cursor, prefix: bytes, start: bytes | None = None) -> Iterator[bytes]:
    """Walk over the keys that begin with a prefix, leaving the cursor on each.

    Args:
        cursor: Moved as the walk goes on.
        prefix: What the keys begin with.
        start: Where to begin instead of at the prefix.
    """
    found = cursor.set_range(start or prefix)
    while found:
        key = cursor.key()
        if not key.startswith(prefix):
            return
        yield key
        found = cursor.next()
