"""The asynchronous client."""

from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

import orjson

from antipodes.client import requests
from antipodes.client.retry import ATTEMPTS_MAX, Repeat
from antipodes.client.session import CONTROL_TIMEOUT_S, Session, Wish
from antipodes.client.table import AsyncTable
from antipodes.client.types import Region, TableDescription


def connect(
    endpoint: str,
    *,
    region: str | None = None,
    near: tuple[float, float] | None = None,
    timeout_s: float = 10.0,
    attempts_max: int = ATTEMPTS_MAX,
    failover: bool = True,
) -> "AsyncClient":
    """Make an asynchronous client; it connects with the first call.

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
    if region is not None and near is not None:
        raise ValueError("region and near exclude each other")
    if timeout_s <= 0 or attempts_max < 1:
        raise ValueError("timeout_s must be more than 0, attempts_max at least 1")
    wish = Wish(region, None if near is None else requests.place(near))
    return AsyncClient(Session(endpoint, timeout_s, attempts_max, failover=failover), wish)


class AsyncClient:
    """A handle on all tables, with a preference for a region.

    Handles that come from one `connect` share one connection; closing one closes all.

    Args:
        session: What handles share.
        wish: Which region is preferred.
        handles: By the region they prefer; shared by all handles of the session.
        resolve: The wish is a place; choose the nearest region with the first call.
    """

    def __init__(
        self,
        session: Session,
        wish: Wish,
        handles: "dict[str, AsyncClient] | None" = None,
        *,
        resolve: bool = False,
    ) -> None:
        self.session = session
        self._handles = {} if handles is None else handles
        self._wish = wish
        self._resolve = resolve
        self._tables: dict[str, AsyncTable] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls without an answer fail. A second time nothing happens."""
        await self.session.close()

    @property
    def served_by(self) -> str | None:
        """The region that serves this handle now; None before the first answer or at a node."""
        return self.session.served_by(self._wish)

    @property
    def region(self) -> str | None:
        """The region that this handle prefers; None when it was not told one by name."""
        return self._wish.region

    async def wish(self) -> Wish:
        """Give which region is preferred, chosen by now."""
        if self._resolve:
            assert self._wish.near is not None
            name = (await self.session.wait_for_topology()).nearest(self._wish.near)
            self._wish = Wish() if name is None else Wish(name)
            self._resolve = False
        return self._wish

    async def call(
        self, operation: str, body: bytes, repeat: Repeat, least_s: float = 0.0
    ) -> bytes:
        """Make one call of DynamoDB's API; everything else here is made of this.

        Args:
            operation: For example "GetItem".
            body: The request in DynamoDB's JSON.
            repeat: What may be repeated when its outcome is unknown.
            least_s: Least time to wait, when the client's own is shorter.

        Returns:
            The response in DynamoDB's JSON.
        """
        wish = await self.wish() if self._resolve else self._wish
        return await self.session.call(wish, operation, body, repeat, least_s)

    def table(self, name: str) -> "AsyncTable":
        """Give a handle on a table; whether it exists shows with the first call."""
        found = self._tables.get(name)
        if found is None:
            found = self._tables[name] = AsyncTable(self, name)
        return found

    def in_region(self, name: str) -> "AsyncClient":
        """Give a handle that prefers a region; the same one each time."""
        found = self._handles.get(name)
        if found is None:
            found = self._handles[name] = AsyncClient(self.session, Wish(name), self._handles)
        return found

    def near(self, latitude: float, longitude: float) -> "AsyncClient":
        """Give a handle that prefers the nearest region that gets traffic now.

        Costs no round trip: the client follows the state of the regions in the background. Straight
        at a node there is nothing to choose.

        Args:
            latitude: Degrees north.
            longitude: Degrees east.

        Raises:
            ValueError: Off the globe.
        """
        here = requests.place((latitude, longitude))
        topology = self.session.topology
        if topology is not None:
            if topology.absent:
                return self
            if (name := topology.nearest(here)) is not None:
                return self.in_region(name)
        return AsyncClient(self.session, Wish(near=here), self._handles, resolve=True)

    async def regions(self) -> list[Region]:
        """Order the regions for this handle, best first; empty straight at a node."""
        return await self.session.locate(self._wish)

    async def create_table(
        self,
        name: str,
        partition_key: requests.KeySpecification,
        sort_key: requests.KeySpecification | None = None,
        *,
        replicas: Iterable[str] = (),
        stream: str | None = None,
    ) -> TableDescription:
        """Create a table.

        Args:
            name: Of the table.
            partition_key: Name of the attribute (a text), or name and type: S, N or B.
            sort_key: The same for the sort key; None for a table without one.
            replicas: The other regions that shall hold it.
            stream: What stream records show: KEYS_ONLY, NEW_IMAGE, OLD_IMAGE or NEW_AND_OLD_IMAGES;
                None for no stream. A table with replicas always has one, with both images.

        Raises:
            ResourceInUseException: The table exists.
            InternalServerError: The connection broke; whether the table was created is unknown.
        """
        body = requests.create_table(name, partition_key, sort_key, replicas, stream)
        return await self._change_table("CreateTable", body)

    async def describe_table(self, name: str) -> TableDescription:
        """Describe a table.

        Raises:
            ResourceNotFoundException: No such table.
        """
        answer = await self.call("DescribeTable", orjson.dumps({"TableName": name}), Repeat.READ)
        description = TableDescription.from_json(orjson.loads(answer)["Table"])
        self.session.key_names[name] = description.key
        return description

    async def list_tables(self) -> AsyncIterator[str]:
        """Iterate over the names of all tables."""
        last: str | None = None
        while True:
            names, last = await self.table_names(last)
            for name in names:
                yield name
            if last is None:
                return

    async def table_names(self, after: str | None = None) -> tuple[list[str], str | None]:
        """Give a page of table names.

        Args:
            after: Begin after this name.

        Returns:
            The names, and what the next page begins after; None when this is the last.
        """
        request = {} if after is None else {"ExclusiveStartTableName": after}
        answer = orjson.loads(await self.call("ListTables", orjson.dumps(request), Repeat.READ))
        return answer["TableNames"], answer.get("LastEvaluatedTableName")

    async def delete_table(self, name: str, *, all_replicas: bool = False) -> TableDescription:
        """Delete a table with all its items.

        Args:
            name: Of the table.
            all_replicas: In every region; without it a table with other replicas is kept.

        Raises:
            ResourceNotFoundException: No such table.
            InternalServerError: The connection broke; whether the table was deleted is unknown.
        """
        request: dict[str, Any] = {"TableName": name}
        if all_replicas:
            request["AllReplicas"] = True
        self.session.key_names.pop(name, None)
        return await self._change_table("DeleteTable", orjson.dumps(request))

    async def add_replica(self, table: str, region: str) -> TableDescription:
        """Have another region hold a table too.

        Raises:
            ResourceNotFoundException: No such table.
            InternalServerError: The connection broke; whether the replica was added is unknown.
        """
        update = {"Create": {"RegionName": region}}
        request = {"TableName": table, "ReplicaUpdates": [update]}
        return await self._change_table("UpdateTable", orjson.dumps(request))

    async def _change_table(self, operation: str, body: bytes) -> TableDescription:
        answer = await self.call(operation, body, Repeat.ONCE, CONTROL_TIMEOUT_S)
        return TableDescription.from_json(orjson.loads(answer)["TableDescription"])
