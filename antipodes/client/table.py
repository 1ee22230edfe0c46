"""A handle on one table, asynchronous."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import orjson

from antipodes.client import requests
from antipodes.client.batches import read_batch, write_batch
from antipodes.client.pages import AsyncItems, Pager, key_conditions
from antipodes.client.retry import Repeat
from antipodes.client.session import Session, Wish
from antipodes.client.stream import AsyncRecords, Start
from antipodes.client.types import KeyNames
from antipodes.client.values import Item, decode_attributes, encode_attributes, print_attributes
from antipodes.core.errors import ResourceNotFoundException, ValidationException


class Caller(Protocol):
    """What a table needs of a client."""

    session: Session

    async def wish(self) -> Wish:
        """Give which region is preferred, chosen by now."""
        ...

    async def call(
        self, operation: str, body: bytes, repeat: Repeat, least_s: float = 0.0
    ) -> bytes:
        """Make one call of DynamoDB's API."""
        ...


class AsyncTable:
    """A handle on one table.

    Args:
        client: Makes the calls.
        name: Of the table.
    """

    def __init__(self, client: Caller, name: str) -> None:
        self.name = name
        self._client = client
        self._names = client.session.key_names
        self._head = b'{"TableName":' + orjson.dumps(name)

    async def put(self, item: Mapping[str, Any], *, return_old: bool = False) -> Item | None:
        """Store an item in place of the one with the same key.

        Args:
            item: All its attributes.
            return_old: Return what was replaced. Such a call is not repeated when the connection
                breaks: the second attempt would find what the first one wrote.

        Returns:
            The item before, when asked for and there was one.

        Raises:
            ResourceNotFoundException: No such table.
            ValidationException: The item breaks a rule of the data model.
            InternalServerError: Whether the item was stored is unknown.
        """
        head = self._head + b',"Item":' + print_attributes(item)
        return await self._write("PutItem", head, return_old)

    async def get(self, key: requests.Key, sort: Any = None) -> Item | None:
        """Read an item; None when there is none.

        Args:
            key: The whole key as a mapping, or the value of the partition key.
            sort: The value of the sort key, when the key is given by value.

        Raises:
            ResourceNotFoundException: No such table.
            ValidationException: That is not this table's key.
        """
        body = self._head + b',"Key":' + await self._key(key, sort) + b"}"
        answer = orjson.loads(await self.call("GetItem", body, Repeat.READ))
        item = answer.get("Item")
        return None if item is None else decode_attributes(item)

    async def delete(
        self, key: requests.Key, sort: Any = None, *, return_old: bool = False
    ) -> Item | None:
        """Delete an item; that there is none is no error.

        Args:
            key: The whole key as a mapping, or the value of the partition key.
            sort: The value of the sort key, when the key is given by value.
            return_old: Return what was deleted; as for `put`, such a call is not repeated.

        Returns:
            The item before, when asked for and there was one.

        Raises:
            ResourceNotFoundException: No such table.
            ValidationException: That is not this table's key.
            InternalServerError: Whether the item was deleted is unknown.
        """
        head = self._head + b',"Key":' + await self._key(key, sort)
        return await self._write("DeleteItem", head, return_old)

    async def batch_write(
        self, puts: Iterable[Mapping[str, Any]] = (), deletes: Iterable[requests.Key] = ()
    ) -> None:
        """Store and delete any number of items.

        Each write takes effect by itself, in no particular order: name a key only once.

        Args:
            puts: Items to store.
            deletes: Keys to delete, as for `get`; a pair is partition and sort key.

        Raises:
            ValidationException: An item breaks a rule; others may have been written.
            ServiceUnavailable: Some writes were still not processed after all attempts.
        """
        keys = [await self._native_key(key) for key in deletes]
        await write_batch(self, requests.write_requests(puts, keys))

    async def batch_get(self, keys: Iterable[requests.Key]) -> list[Item]:
        """Read any number of items.

        Args:
            keys: As for `get`; a pair is partition and sort key. Each only once.

        Returns:
            Those that exist, in no particular order.

        Raises:
            ServiceUnavailable: Some keys were still not processed after all attempts.
        """
        return await read_batch(
            self, [encode_attributes(await self._native_key(key)) for key in keys]
        )

    def query(
        self,
        partition: Any,
        *,
        sort_eq: Any = None,
        sort_lt: Any = None,
        sort_le: Any = None,
        sort_gt: Any = None,
        sort_ge: Any = None,
        sort_begins_with: Any = None,
        sort_between: tuple[Any, Any] | None = None,
        forward: bool = True,
        limit: int | None = None,
        page_size: int | None = None,
        start_key: Mapping[str, Any] | None = None,
    ) -> AsyncItems:
        """Find the items of one partition key, in the order of the sort key.

        Args:
            partition: Value of the partition key, or a mapping from its name to the value.
            sort_eq: Only this sort key; of the conditions at most one.
            sort_lt: Only smaller ones.
            sort_le: Only smaller ones and this.
            sort_gt: Only greater ones.
            sort_ge: Only greater ones and this.
            sort_begins_with: Only those that begin so.
            sort_between: Only those from the first to the second, both included.
            forward: Smallest first.
            limit: Items in all.
            page_size: Items that one request asks for; None means what fits into 1 MiB.
            start_key: Begin after this key, for example a page's ``last_evaluated_key``.

        Raises:
            ValueError: More than one condition, or a limit below 1.
        """
        conditions = {
            "sort_eq": sort_eq, "sort_lt": sort_lt, "sort_le": sort_le, "sort_gt": sort_gt,
            "sort_ge": sort_ge, "sort_begins_with": sort_begins_with, "sort_between": sort_between,
        }  # fmt: skip
        given = sum(value is not None for value in conditions.values())
        if given > 1:
            raise ValueError("a query takes one condition on the sort key")

        async def prepare() -> dict[str, Any]:
            by_name = isinstance(partition, Mapping) and not given
            names = None if by_name else await self.key_names()
            return {
                "TableName": self.name,
                "KeyConditions": key_conditions(partition, names, conditions),
                "ScanIndexForward": forward,
            }

        return AsyncItems(
            lambda: Pager(lambda b: self._read("Query", b), prepare, limit, page_size, start_key)
        )

    def scan(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        start_key: Mapping[str, Any] | None = None,
    ) -> AsyncItems:
        """Find all items of the table.

        Args:
            limit: Items in all.
            page_size: Items that one request asks for; None means what fits into 1 MiB.
            start_key: Begin after this key.
        """

        async def prepare() -> dict[str, Any]:
            return {"TableName": self.name}

        return AsyncItems(
            lambda: Pager(lambda b: self._read("Scan", b), prepare, limit, page_size, start_key)
        )

    def stream(
        self,
        start: Start = "now",
        *,
        region: str | None = None,
        patience_s: float | None = None,
    ) -> AsyncRecords:
        """Follow the changes of the table, in the order in which a region makes them.

        Args:
            start: "beginning" for all that is still kept, "now" for what is written from now on, or
                a sequence number for what follows it. The latter is only valid in the region that
                it came from: give the region too, unless the client is connected to its node.
            region: Whose stream; None means that of the region which answers first.
            patience_s: How long to wait when that region goes away; None means for ever.
        """
        return AsyncRecords(self._client, region, self.name, start, patience_s)

    async def key_names(self) -> KeyNames:
        """Give the names of the key attributes; asks the node once.

        Raises:
            ResourceNotFoundException: No such table.
        """
        found = self._names.get(self.name)
        if found is None:
            wish = await self._client.wish()
            found = await self._client.session.keys_of(wish, self.name)
        return found

    async def call(self, operation: str, body: bytes, repeat: Repeat) -> bytes:
        """Make one call that concerns this table."""
        try:
            return await self._client.call(operation, body, repeat)
        except (ResourceNotFoundException, ValidationException):
            # The table may be gone, or there may be another one of that name.
            self._names.pop(self.name, None)
            raise

    async def _read(self, operation: str, body: bytes) -> bytes:
        return await self.call(operation, body, Repeat.READ)

    async def _write(self, operation: str, head: bytes, return_old: bool) -> Item | None:
        if not return_old:
            await self.call(operation, head + b"}", Repeat.WRITE)
            return None
        body = head + b',"ReturnValues":"ALL_OLD"}'
        old = orjson.loads(await self.call(operation, body, Repeat.ONCE)).get("Attributes")
        return decode_attributes(old) if old else None

    async def _key(self, key: requests.Key, sort: Any) -> bytes:
        return print_attributes(await self._native_key(key, sort))

    async def _native_key(self, key: requests.Key, sort: Any = None) -> Mapping[str, Any]:
        if isinstance(key, Mapping):
            return key
        return requests.full_key(key, sort, await self.key_names())
