"""Results that come in pages."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import orjson

from antipodes.client.types import KeyNames, QueryPage
from antipodes.client.values import Item, decode_attributes, encode_attributes, encode_value

Fetch = Callable[[bytes], Awaitable[bytes]]
"""Sends one request and gives its answer, both in DynamoDB's JSON."""
Prepare = Callable[[], Awaitable[dict[str, Any]]]
"""Gives the request without its paging members."""

OPERATORS = {
    "sort_eq": "EQ",
    "sort_lt": "LT",
    "sort_le": "LE",
    "sort_gt": "GT",
    "sort_ge": "GE",
    "sort_begins_with": "BEGINS_WITH",
    "sort_between": "BETWEEN",
}


class Pager:
    """Fetches one page after the other.

    Args:
        fetch: Sends a request.
        prepare: Gives the request; awaited before the first page.
        limit: Items in all; None means all there are.
        page_size: Items in a page at most; None means what fits into 1 MiB.
        start_key: Begin after this key.
    """

    def __init__(
        self,
        fetch: Fetch,
        prepare: Prepare,
        limit: int | None,
        page_size: int | None,
        start_key: Mapping[str, Any] | None,
    ) -> None:
        for name, value in (("limit", limit), ("page_size", page_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")
        self._fetch = fetch
        self._prepare = prepare
        self._left = limit
        self._page_size = page_size
        self._next = None if start_key is None else encode_attributes(start_key)
        self._request: dict[str, Any] | None = None
        self._ended = False

    async def next_page(self) -> QueryPage | None:
        """Fetch the next page; None when there is none."""
        if self._ended:
            return None
        if self._request is None:
            self._request = await self._prepare()
        request = self._request
        sizes = [size for size in (self._left, self._page_size) if size is not None]
        if sizes:
            request["Limit"] = min(sizes)
        if self._next is not None:
            request["ExclusiveStartKey"] = self._next
        answer = orjson.loads(await self._fetch(orjson.dumps(request)))
        items = [decode_attributes(item) for item in answer["Items"]]
        self._next = answer.get("LastEvaluatedKey")
        if self._left is not None:
            self._left -= len(items)
        self._ended = self._next is None or self._left == 0
        return QueryPage(
            items=items,
            last_evaluated_key=None if self._next is None else decode_attributes(self._next),
            scanned_count=answer.get("ScannedCount", len(items)),
        )


class AsyncItems:
    """The items that a query or scan finds; iterate over it, as often as you like.

    Args:
        pager: Makes a pager that begins at the start.
    """

    def __init__(self, pager: Callable[[], Pager]) -> None:
        self.pager = pager
        pager()  # So that a wrong argument is reported here.

    async def __aiter__(self) -> AsyncIterator[Item]:
        pager = self.pager()
        while (page := await pager.next_page()) is not None:
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[QueryPage]:
        """Iterate over pages, each of which knows where the next one begins."""
        pager = self.pager()
        while (page := await pager.next_page()) is not None:
            yield page


def key_conditions(
    partition: Any, names: KeyNames | None, conditions: Mapping[str, Any]
) -> dict[str, Any]:
    """Print the conditions of a query.

    Args:
        partition: Value of the partition key, or a mapping from its name to the value.
        names: Of the table's key; None when the partition is a mapping and there is no condition.
        conditions: On the sort key, by argument name; those that are None do not count.

    Raises:
        ValueError: More than one condition on the sort key, or the table has none.
    """
    given = {name: value for name, value in conditions.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"a query takes one condition on the sort key, not {', '.join(given)}")
    if not isinstance(partition, Mapping):
        assert names is not None
        partition = {names.partition: partition}
    printed = {
        name: {"ComparisonOperator": "EQ", "AttributeValueList": [value]}
        for name, value in encode_attributes(partition).items()
    }
    for argument, value in given.items():
        if names is None or names.sort is None:
            raise ValueError(f"{argument}: the table has no sort key")
        values = list(value) if argument == "sort_between" else [value]
        printed[names.sort] = {
            "ComparisonOperator": OPERATORS[argument],
            "AttributeValueList": [encode_value(v) for v in values],
        }
    return printed
