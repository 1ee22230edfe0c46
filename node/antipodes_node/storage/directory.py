"""The data directory: whose it is, and that only one process uses it."""

import fcntl
import os
from pathlib import Path
from typing import IO

import orjson

from antipodes.cli.process import RefusedToStart

DIRECTORY_FORMAT = 1
IDENTITY = "identity.json"
LOCK = "lock"


class DataDirectory:
    """A claimed data directory; `close` gives it back.

    Layout: ``identity.json`` (cluster, region, format), ``lock`` (held while a process runs),
    ``lmdb/`` (the environment).

    Args:
        path: Made when it does not exist.
        cluster_id: Of the node; noted in a new directory.
        region: Likewise.

    Raises:
        RefusedToStart: The directory cannot be written, is in use, or belongs to another region,
            cluster or version. Nothing was changed in it.
    """

    def __init__(self, path: Path, cluster_id: str, region: str) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._claim()
            self._identify(cluster_id, region)
            self.environment_path.mkdir(exist_ok=True)
        except OSError as error:
            self.close()
            raise RefusedToStart(
                f"data directory {path} cannot be written: {error.strerror or error}",
                "make it a directory that this user may write to, or name another with --data-dir",
            ) from error
        except RefusedToStart:
            self.close()
            raise

    @property
    def environment_path(self) -> Path:
        """Where LMDB keeps its files."""
        return self.path / "lmdb"

    def _claim(self) -> None:
        self._lock = (self.path / LOCK).open("a+b")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read(20).decode(errors="replace").strip() or "unknown"
            raise RefusedToStart(
                f"data directory {self.path} is in use by process {holder}",
                "stop that process, or name another directory with --data-dir",
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()).encode())
        self._lock.flush()

    def _identify(self, cluster_id: str, region: str) -> None:
        file = self.path / IDENTITY
        if not file.exists():
            if self.environment_path.exists():
                raise RefusedToStart(
                    f"{file} is missing, but {self.environment_path} holds data",
                    "restore it from a backup; it names the format, cluster and region of the data",
                )
            identity = {"format": DIRECTORY_FORMAT, "cluster_id": cluster_id, "region": region}
            fresh = file.with_suffix(".new")
            with fresh.open("wb") as out:
                out.write(orjson.dumps(identity, option=orjson.OPT_INDENT_2))
                out.flush()
                os.fsync(out.fileno())
            fresh.rename(file)
            _sync_names(self.path)
            return
        try:
            identity = orjson.loads(file.read_bytes())
            found = identity["format"], identity["cluster_id"], identity["region"]
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedToStart(
                f"{file} is damaged: {error}",
                "restore it from a backup; it names the format, cluster and region of the data",
            ) from error
        if found[0] != DIRECTORY_FORMAT:
            raise RefusedToStart(
                f"data directory {self.path} has format {found[0]}, this version reads format"
                f" {DIRECTORY_FORMAT}",
                "run the version of antipodes that wrote it, or name another with --data-dir",
            )
        if found[2] != region:
            raise RefusedToStart(
                f"data directory {self.path} belongs to region {found[2]}, not to {region}",
                f"start it with --region {found[2]}, or name another with --data-dir",
            )
        if found[1] != cluster_id:
            raise RefusedToStart(
                f"data directory {self.path} belongs to cluster {found[1]!r}, not to"
                f" {cluster_id!r}",
                f"start it with --cluster-id {found[1]}, or name another with --data-dir",
            )

    def close(self) -> None:
        """Let another process use the directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _sync_names(path: Path) -> None:
    """Make durable which files a directory holds."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
