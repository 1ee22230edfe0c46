"""A handle on one table, synchronous. Methods do what those of `AsyncTable` do."""

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from antipodes.client import requests
from antipodes.client.background import Background
from antipodes.client.pages import AsyncItems
from antipodes.client.stream import AsyncRecords, Start
from antipodes.client.table import AsyncTable
from antipodes.client.types import KeyNames, QueryPage, StreamRecord
from antipodes.client.values import Item


class Items:
    """The items that a query or scan finds; iterate over it, as often as you like.

    Args:
        items: Fetches them.
        background: Drives it.
        table: Kept alive while they are in use.
    """

    def __init__(self, items: AsyncItems, background: Background, table: object) -> None:
        self._items = items
        self._table = table
        self._background = background

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[QueryPage]:
        """Iterate over pages, each of which knows where the next one begins."""
        pager = self._items.pager()
        while (page := self._background.run(pager.next_page())) is not None:
            yield page


class Records:
    """The records of one table in one region; an endless iterator, as `AsyncRecords`.

    Args:
        records: Receives them.
        background: Drives it.
        table: Kept alive while they are in use.
    """

    def __init__(self, records: AsyncRecords, background: Background, table: object) -> None:
        self._records = records
        self._table = table
        self._background = background
        self._batch: list[StreamRecord] = []
        self._position = records.position

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamRecord:
        if not self._batch:
            self._batch = self._background.run(self._records.next_batch())
            self._batch.reverse()
            if not self._batch:
                raise StopIteration
        record = self._batch.pop()
        self._position = record.sequence_number
        return record

    def __enter__(self) -> Self:
        self.ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def position(self) -> str | None:
        """All records up to this sequence number have been handed out; None before the first."""
        return self._position if self._batch else self._records.position

    @property
    def region(self) -> str | None:
        """Whose stream it is; None until known, or straight at a node."""
        return self._records.region

    def ready(self) -> None:
        """Wait until the subscription stands: what is written from now on will come."""
        self._background.run(self._records.ready())

    def close(self) -> None:
        """End the subscription; the iterator then stops."""
        self._batch.clear()
        self._background.run(self._records.aclose())


class Table:
    """A handle on one table.

    Args:
        table: Does the work.
        background: Drives it.
        client: Kept alive while the table is in use.
    """

    def __init__(self, table: AsyncTable, background: Background, client: object) -> None:
        self.name = table.name
        self._table = table
        self._background = background
        self._client = client

    def put(self, item: Mapping[str, Any], *, return_old: bool = False) -> Item | None:
        """Store an item in place of the one with the same key."""
        return self._background.run(self._table.put(item, return_old=return_old))

    def get(self, key: requests.Key, sort: Any = None) -> Item | None:
        """Read an item; None when there is none."""
        return self._background.run(self._table.get(key, sort))

    def delete(
        self, key: requests.Key, sort: Any = None, *, return_old: bool = False
    ) -> Item | None:
        """Delete an item; that there is none is no error."""
        return self._background.run(self._table.delete(key, sort, return_old=return_old))

    def batch_write(
        self, puts: Iterable[Mapping[str, Any]] = (), deletes: Iterable[requests.Key] = ()
    ) -> None:
        """Store and delete any number of items."""
        # Iterables of the caller run on the caller's thread.
        self._background.run(self._table.batch_write(list(puts), list(deletes)))

    def batch_get(self, keys: Iterable[requests.Key]) -> list[Item]:
        """Read any number of items."""
        return self._background.run(self._table.batch_get(list(keys)))

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
    ) -> Items:
        """Find the items of one partition key, in the order of the sort key."""
        return Items(
            self._table.query(
                partition, sort_eq=sort_eq, sort_lt=sort_lt, sort_le=sort_le, sort_gt=sort_gt,
                sort_ge=sort_ge, sort_begins_with=sort_begins_with, sort_between=sort_between,
                forward=forward, limit=limit, page_size=page_size, start_key=start_key,
            ),
            self._background,
            self,
        )  # fmt: skip

    def scan(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        start_key: Mapping[str, Any] | None = None,
    ) -> Items:
        """Find all items of the table."""
        return Items(
            self._table.scan(limit=limit, page_size=page_size, start_key=start_key),
            self._background,
            self,
        )

    def stream(
        self,
        start: Start = "now",
        *,
        region: str | None = None,
        patience_s: float | None = None,
    ) -> Records:
        """Follow the changes of the table, in the order in which a region makes them."""
        return Records(
            self._table.stream(start, region=region, patience_s=patience_s),
            self._background,
            self,
        )

    def key_names(self) -> KeyNames:
        """Give the names of the key attributes; asks the node once."""
        return self._background.run(self._table.key_names())
