"""Paging against a table that is a list."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.client.pages import AsyncItems, Pager, key_conditions
from antipodes.client.requests import create_table, full_key, place
from antipodes.client.types import KeyNames

NAMES = KeyNames("country", "city")


class Listed:
    """Items 0 .. count-1, answered in pages of at most ``page_max``."""

    def __init__(self, count: int, page_max: int) -> None:
        self.count = count
        self.page_max = page_max
        self.requests: list[dict[str, Any]] = []

    async def fetch(self, body: bytes) -> bytes:
        request = orjson.loads(body)
        self.requests.append(request)
        start = int(request.get("ExclusiveStartKey", {"n": {"N": "-1"}})["n"]["N"]) + 1
        end = min(self.count, start + min(request.get("Limit", self.page_max), self.page_max))
        answer: dict[str, Any] = {"Items": [{"n": {"N": str(n)}} for n in range(start, end)]}
        if end < self.count or end - start == request.get("Limit"):
            # DynamoDB says "there may be more" whenever it stopped because of the limit.
            answer["LastEvaluatedKey"] = {"n": {"N": str(end - 1)}}
        return orjson.dumps(answer)

    def items(self, **paging: Any) -> AsyncItems:
        async def prepare() -> dict[str, Any]:
            return {"TableName": "cities"}

        paging = {"limit": None, "page_size": None, "start_key": None} | paging
        return AsyncItems(lambda: Pager(self.fetch, prepare, **paging))


sizes = st.integers(1, 7)


@given(st.integers(0, 20), sizes, st.none() | sizes, st.none() | st.integers(1, 25))
async def test_every_item_comes_once_and_no_more_than_the_limit(
    count: int, page_max: int, page_size: int | None, limit: int | None
) -> None:
    listed = Listed(count, page_max)
    found = [i["n"] async for i in listed.items(page_size=page_size, limit=limit)]
    assert found == list(range(count))[:limit]
    asked = [request.get("Limit", 0) for request in listed.requests]
    assert page_size is None or max(asked) <= page_size


@given(st.integers(0, 20), sizes, sizes)
async def test_a_page_says_where_the_next_one_begins(count: int, page_max: int, limit: int) -> None:
    listed = Listed(count, page_max)
    found: list[int] = []
    start_key = None
    while True:
        last = None
        async for page in listed.items(limit=limit, start_key=start_key).pages():
            found += [item["n"] for item in page.items]
            last = page.last_evaluated_key
        if last is None:
            break
        start_key = last
    assert found == list(range(count))


async def test_a_result_may_be_iterated_over_twice() -> None:
    items = Listed(3, 2).items()
    assert [i async for i in items] == [i async for i in items]


@pytest.mark.parametrize("paging", [{"limit": 0}, {"page_size": -1}])
def test_a_limit_below_one_is_refused_at_once(paging: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Listed(1, 1).items(**paging)


def test_conditions_have_the_shape_of_key_conditions() -> None:
    assert key_conditions("JP", NAMES, {"sort_between": ("A", "B"), "sort_eq": None}) == {
        "country": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "JP"}]},
        "city": {
            "ComparisonOperator": "BETWEEN",
            "AttributeValueList": [{"S": "A"}, {"S": "B"}],
        },
    }


def test_a_partition_given_by_name_needs_no_key_names() -> None:
    assert list(key_conditions({"country": "JP"}, None, {})) == ["country"]


def test_a_condition_on_a_sort_key_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no sort key"):
        key_conditions("JP", KeyNames("country"), {"sort_eq": 1})


@pytest.mark.parametrize(
    ("key", "sort", "full"),
    [
        ("JP", "Tokyo", {"country": "JP", "city": "Tokyo"}),
        (("JP", 0), None, {"country": "JP", "city": 0}),
    ],
)
def test_a_key_by_value_gets_its_names(key: object, sort: object, full: dict[str, Any]) -> None:
    assert full_key(key, sort, NAMES) == full


@pytest.mark.parametrize(("sort", "names"), [(None, NAMES), ("x", KeyNames("country"))])
def test_a_key_with_a_part_too_many_or_too_few_is_refused(sort: object, names: KeyNames) -> None:
    with pytest.raises(ValueError, match="sort key"):
        full_key("JP", sort, names)


def test_create_table_prints_dynamodbs_request() -> None:
    body = create_table("cities", "country", ("n", "N"), ["eu-west-2"], "NEW_IMAGE")
    assert orjson.loads(body) == {
        "TableName": "cities",
        "AttributeDefinitions": [
            {"AttributeName": "country", "AttributeType": "S"},
            {"AttributeName": "n", "AttributeType": "N"},
        ],
        "KeySchema": [
            {"AttributeName": "country", "KeyType": "HASH"},
            {"AttributeName": "n", "KeyType": "RANGE"},
        ],
        "Replicas": [{"RegionName": "eu-west-2"}],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    }


@pytest.mark.parametrize("where", [(91, 0), (0, -181), (float("nan"), 0)])
def test_a_place_off_the_globe_is_refused(where: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not on the globe"):
        place(where)
