"""Storage in memory that crashes like a disk.

Three images of the same maps: pending (what the open write transaction sees), committed (what new
readers see) and durable (what a crash leaves). Only the newest is held; the others follow from it
by undoing what was done since.
"""

from typing import Any

from sortedcontainers import SortedDict

from antipodes.core.store import Databases

KEY_BYTES_MAX = 511
"""LMDB refuses longer keys."""


class DiskFull(Exception):
    """There is no room for another page: what LMDB reports as MapFullError."""


class MemoryStore:
    """The ordered maps of one node.

    Attributes:
        puts_left: Fail the open transaction with `DiskFull` after so many more; None for never.
        dirty_reads: Let readers see the pending image. Wrong; for planted bugs only.
    """

    def __init__(self) -> None:
        self.puts_left: int | None = None
        self.dirty_reads = False
        self._maps: dict[str, Any] = {}
        self._writing = False
        self._undo_pending: list[tuple[Any, bytes, bytes | None]] = []
        self._undo_committed: list[tuple[Any, bytes, bytes | None]] = []

    def databases(self) -> Databases:
        """Open all maps; the handle of a map is the map."""
        return Databases.open(lambda name: self._maps.setdefault(name, SortedDict()))

    def read(self) -> "MemoryTransaction":
        """Begin a read transaction; a simulated reader ends before the next writer begins."""
        assert not self._writing or self.dirty_reads, "a reader would see what is not committed"
        return MemoryTransaction(self, writes=False)

    def write(self) -> "MemoryTransaction":
        """Begin the write transaction; there is one at a time."""
        assert not self._writing, "a second writer"
        self._writing = True
        self.puts_left = None
        return MemoryTransaction(self, writes=True)

    def abort(self) -> None:
        """Forget the pending image."""
        self._writing = False
        self._roll_back(self._undo_pending)

    def commit(self) -> None:
        """Make the pending image the committed one; `sync` makes it durable."""
        assert self._writing, "nothing to commit"
        self._writing = False
        self._undo_committed += self._undo_pending
        self._undo_pending.clear()

    def sync(self) -> None:
        """Make the committed image durable."""
        self._undo_committed.clear()

    def crash(self) -> None:
        """Leave only the durable image."""
        self.abort()
        self._roll_back(self._undo_committed)

    def before_change(self, where: Any, key: bytes) -> None:
        """Note what a key held, so that it can be held again."""
        assert self._writing, "a change outside a write transaction"
        if self.puts_left is not None:
            if self.puts_left == 0:
                raise DiskFull
            self.puts_left -= 1
        self._undo_pending.append((where, key, where.get(key)))

    @staticmethod
    def _roll_back(undo: list[tuple[Any, bytes, bytes | None]]) -> None:
        for where, key, before in reversed(undo):
            if before is None:
                where.pop(key, None)
            else:
                where[key] = before
        undo.clear()


class MemoryTransaction:
    """The core's `Transaction` over a `MemoryStore`."""

    __slots__ = ("_store", "_writes")

    def __init__(self, store: MemoryStore, *, writes: bool) -> None:
        self._store = store
        self._writes = writes

    def get(self, key: bytes, /, *, db: Any) -> bytes | None:
        value: bytes | None = db.get(key)
        return value

    def put(self, key: bytes, value: bytes, /, *, append: bool = False, db: Any) -> bool:
        assert self._writes, "a change in a read transaction"
        assert 0 < len(key) <= KEY_BYTES_MAX, f"LMDB refuses a key of {len(key)} bytes"
        assert not append or not db or key > db.peekitem()[0], "append below the last key"
        self._store.before_change(db, key)
        db[key] = value
        return True

    def delete(self, key: bytes, /, *, db: Any) -> bool:
        assert self._writes, "a change in a read transaction"
        if key not in db:
            return False
        self._store.before_change(db, key)
        del db[key]
        return True

    def cursor(self, db: Any, /) -> "MemoryCursor":
        return MemoryCursor(db)

    def commit(self) -> None:
        """Commit and sync, as LMDB does with its default flags."""
        self._store.commit()
        self._store.sync()

    def abort(self) -> None:
        """Leave everything as it was."""
        self._store.abort()


class MemoryCursor:
    """The core's `Cursor` over one map; like LMDB's it survives changes around it."""

    __slots__ = ("_key", "_map")

    def __init__(self, where: Any) -> None:
        self._map = where
        self._key: bytes | None = None

    def set_range(self, key: bytes, /) -> bool:
        return self._go(self._map.bisect_left(key))

    def first(self) -> bool:
        return self._go(0)

    def last(self) -> bool:
        return self._go(len(self._map) - 1)

    def next(self) -> bool:
        return self.first() if self._key is None else self._go(self._map.bisect_right(self._key))

    def prev(self) -> bool:
        return self.last() if self._key is None else self._go(self._map.bisect_left(self._key) - 1)

    def key(self) -> bytes:
        return b"" if self._key is None else self._key

    def value(self) -> bytes:
        return self.item()[1]

    def item(self) -> tuple[bytes, bytes]:
        return (b"", b"") if self._key is None else (self._key, self._map[self._key])

    def _go(self, index: int) -> bool:
        if not 0 <= index < len(self._map):
            self._key = None
            return False
        self._key = self._map.peekitem(index)[0]
        return True
