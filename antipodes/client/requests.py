"""Requests in DynamoDB's JSON, from native arguments."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import orjson

from antipodes.client.types import KeyNames
from antipodes.client.values import Item, encode_attributes
from antipodes.core.regions import Coordinates

KeySpecification = str | tuple[str, str]
"""A key attribute: its name, which means a text; or its name and S, N or B."""

Key = Any
"""A primary key: a mapping of its attributes, the value of the partition key, or a pair of the
values of partition and sort key."""

Element = TypeVar("Element")


def create_table(
    name: str,
    partition_key: KeySpecification,
    sort_key: KeySpecification | None,
    replicas: Iterable[str],
    stream: str | None,
) -> bytes:
    """Print a CreateTable request."""
    keys = [partition_key] if sort_key is None else [partition_key, sort_key]
    pairs = [(key, "S") if isinstance(key, str) else key for key in keys]
    request: dict[str, Any] = {
        "TableName": name,
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": kind} for attribute, kind in pairs
        ],
        "KeySchema": [
            {"AttributeName": attribute, "KeyType": role}
            for (attribute, _), role in zip(pairs, ("HASH", "RANGE"), strict=False)
        ],
    }
    if regions := [{"RegionName": region} for region in replicas]:
        request["Replicas"] = regions
    if stream is not None:
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": stream}
    return orjson.dumps(request)


def full_key(key: Key, sort: Any, names: KeyNames) -> Item:
    """Name the parts of a key that was given by value.

    Raises:
        ValueError: The table has a sort key and none was given, or the other way round.
    """
    if isinstance(key, tuple):
        key, sort = key
    if (sort is None) != (names.sort is None):
        raise ValueError(
            f"the table has no sort key, but {sort!r} was given for it"
            if names.sort is None
            else f"the key needs a value for the sort key {names.sort!r}"
        )
    return (
        {names.partition: key} if names.sort is None else {names.partition: key, names.sort: sort}
    )


def write_requests(
    puts: Iterable[Mapping[str, Any]], deletes: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Give the write requests of a BatchWriteItem, the puts first."""
    return [
        *({"PutRequest": {"Item": encode_attributes(item)}} for item in puts),
        *({"DeleteRequest": {"Key": encode_attributes(key)}} for key in deletes),
    ]


def chunks(elements: Sequence[Element], size: int) -> Iterator[list[Element]]:
    """Cut into parts of at most so many elements."""
    rest = iter(elements)
    while part := list(islice(rest, size)):
        yield part


def place(near: tuple[float, float]) -> Coordinates:
    """Make coordinates of degrees north and degrees east.

    Raises:
        ValueError: Off the globe.
    """
    latitude, longitude = map(float, near)
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError(
            f"({latitude:g}, {longitude:g}) is not on the globe: latitude is -90 to 90 degrees"
            " north, longitude -180 to 180 degrees east"
        )
    return Coordinates(latitude, longitude)
