"""The synchronous client: the asynchronous one, driven on a thread of its own.

Every method does what the method of the same name in `antipodes.aio` does; only what differs is
said here. All handles may be used from any thread.
"""

import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from antipodes.client import aio, requests
from antipodes.client.background import Background
from antipodes.client.retry import ATTEMPTS_MAX
from antipodes.client.sync_table import Table
from antipodes.client.types import Region, TableDescription


def connect(
    endpoint: str,
    *,
    region: str | None = None,
    near: tuple[float, float] | None = None,
    timeout_s: float = 10.0,
    attempts_max: int = ATTEMPTS_MAX,
    failover: bool = True,
) -> "Client":
    """Make a synchronous client; it connects with the first call.

    Args:
        endpoint: host:port of a router or, for one region alone, of a node.
        region: Region to prefer, by name.
        near: Prefer the region nearest to this latitude and longitude, in degrees.
        timeout_s: For one call, its repetitions included.
        attempts_max: For one call, the first included.
        failover: Another region may serve when the preferred one cannot.

    Raises:
        ValueError: An argument makes no sense.
    """
    client = aio.connect(
        endpoint, region=region, near=near, timeout_s=timeout_s, attempts_max=attempts_max,
        failover=failover,
    )  # fmt: skip
    return Client(client, Background())


class Client:
    """A handle on all tables, with a preference for a region.

    Args:
        client: Does the work.
        background: Drives it.
        root: The handle that `connect` returned; None for that one itself. While a handle lives
            its root lives, and when the root goes the connection is closed.
    """

    def __init__(
        self, client: aio.AsyncClient, background: Background, root: "Client | None" = None
    ) -> None:
        self._client = client
        self._background = background
        self._root = root
        self._tables: dict[str, Table] = {}
        self._handles: weakref.WeakValueDictionary[str, Client] = weakref.WeakValueDictionary()
        if root is None:
            self._finalizer = weakref.finalize(self, _close, client, background)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; calls without an answer fail."""
        (self._root or self)._finalizer()

    @property
    def served_by(self) -> str | None:
        """The region that serves this handle now; None before the first answer or at a node."""
        return self._client.served_by

    def table(self, name: str) -> Table:
        """Give a handle on a table; whether it exists shows with the first call."""
        found = self._tables.get(name)
        if found is None:
            found = self._tables[name] = Table(self._client.table(name), self._background, self)
        return found

    @property
    def region(self) -> str | None:
        """The region that this handle prefers; None when it was not told one by name."""
        return self._client.region

    def in_region(self, name: str) -> "Client":
        """Give a handle that prefers a region."""
        return self._wrap(self._client.in_region(name))

    def near(self, latitude: float, longitude: float) -> "Client":
        """Give a handle that prefers the nearest region that gets traffic now.

        The first time it waits until the regions are known; later it costs no round trip.

        Args:
            latitude: Degrees north.
            longitude: Degrees east.

        Raises:
            ValueError: Off the globe.
            ServiceUnavailable: Nothing answers.
        """
        if self._client.session.topology is None:
            requests.place((latitude, longitude))
            self._background.run(self._wait_for_topology())
        return self._wrap(self._client.near(latitude, longitude))

    def regions(self) -> list[Region]:
        """Order the regions for this handle, best first; empty straight at a node."""
        return self._background.run(self._client.regions())

    def create_table(
        self,
        name: str,
        partition_key: requests.KeySpecification,
        sort_key: requests.KeySpecification | None = None,
        *,
        replicas: Iterable[str] = (),
        stream: str | None = None,
    ) -> TableDescription:
        """Create a table; arguments and errors as in `antipodes.aio`."""
        return self._background.run(
            self._client.create_table(
                name, partition_key, sort_key, replicas=replicas, stream=stream
            )
        )

    def describe_table(self, name: str) -> TableDescription:
        """Describe a table."""
        return self._background.run(self._client.describe_table(name))

    def list_tables(self) -> Iterator[str]:
        """Iterate over the names of all tables."""
        last: str | None = None
        while True:
            names, last = self._background.run(self._client.table_names(last))
            yield from names
            if last is None:
                return

    def delete_table(self, name: str, *, all_replicas: bool = False) -> TableDescription:
        """Delete a table with all its items; arguments and errors as in `antipodes.aio`."""
        return self._background.run(self._client.delete_table(name, all_replicas=all_replicas))

    def add_replica(self, table: str, region: str) -> TableDescription:
        """Have another region hold a table too."""
        return self._background.run(self._client.add_replica(table, region))

    async def _wait_for_topology(self) -> None:
        await self._client.session.wait_for_topology()

    def _wrap(self, client: aio.AsyncClient) -> "Client":
        if client is self._client:
            return self
        root = self._root or self
        found = None if client.region is None else root._handles.get(client.region)
        if found is None:
            found = Client(client, self._background, root)
            if client.region is not None:
                root._handles[client.region] = found
        return found


def _close(client: aio.AsyncClient, background: Background) -> None:
    background.stop(client.close())
