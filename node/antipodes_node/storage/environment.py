"""The LMDB environment: opening and growing."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import lmdb

from antipodes.cli.process import RefusedToStart
from antipodes.core.store import Databases, Transaction

READERS_MAX = 512


class Environment:
    """An open LMDB environment and its databases.

    Commits are synchronous: what `commit` returned from survives a power cut.

    Args:
        path: An existing directory.
        map_bytes: Size of the memory map to begin with; it grows as needed.
        map_bytes_max: What it may grow to.

    Raises:
        RefusedToStart: The files are damaged or cannot be used.
    """

    def __init__(self, path: Path, map_bytes: int, map_bytes_max: int) -> None:
        self.path = path
        self.map_bytes_max = map_bytes_max
        file = path / "data.mdb"
        if file.exists():  # a map smaller than the file would be refused
            roomy = _rounded(file.stat().st_size * 5 // 4)
            map_bytes = max(map_bytes, min(roomy, map_bytes_max))
        try:
            self.env = lmdb.open(
                str(path), map_size=map_bytes, max_dbs=len(Databases._fields),
                max_readers=READERS_MAX, subdir=True,
            )  # fmt: skip
            try:
                self.dbs = Databases.open(lambda name: self.env.open_db(name.encode()))
            except lmdb.Error:
                self.env.close()
                raise
        except lmdb.Error as error:
            raise RefusedToStart(
                f"the database in {path} cannot be opened: {error}",
                "check that the disk is healthy and has space; restore the directory from a backup"
                " or remove it and let the region be filled anew",
            ) from error

    def read(self) -> AbstractContextManager[Transaction]:
        """Begin a read transaction; a consistent view. Keep it short, never across an await."""
        return cast("AbstractContextManager[Transaction]", self.env.begin())

    def write(self) -> "lmdb.Transaction[bytes]":
        """Begin a write transaction. It belongs to the thread that begins it; there is one."""
        return self.env.begin(write=True)

    @property
    def map_bytes(self) -> int:
        """Size of the memory map."""
        return int(self.env.info()["map_size"])

    @property
    def used_bytes(self) -> int:
        """Highest page in use; pages freed below it are used again."""
        return int((self.env.info()["last_pgno"] + 1) * self.env.stat()["psize"])

    @property
    def can_grow(self) -> bool:
        """The map may be enlarged."""
        return self.map_bytes < self.map_bytes_max

    def grow(self) -> None:
        """Double the map. No transaction may be open in this process."""
        self.env.set_mapsize(min(self.map_bytes * 2, self.map_bytes_max))

    def close(self) -> None:
        """Close the files."""
        self.env.close()


def _rounded(size: int) -> int:
    page = 1 << 20
    return (size + page - 1) // page * page
