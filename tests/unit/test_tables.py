"""Table definitions: requests and what is stored."""

from typing import Any

import pytest

from antipodes.core.errors import SerializationException, ValidationException
from antipodes.core.keys import KeyAttribute, KeySchema
from antipodes.core.streams import open_stream
from antipodes.core.tables import (
    Table,
    parse_create_table,
    parse_stream_specification,
    parse_table_name,
)

SOUND: dict[str, Any] = {
    "TableName": "things",
    "AttributeDefinitions": [
        {"AttributeName": "s", "AttributeType": "N"}, {"AttributeName": "p", "AttributeType": "S"},
    ],
    "KeySchema": [
        {"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "s", "KeyType": "RANGE"},
    ],
}  # fmt: skip


def test_create_request_is_read() -> None:
    wish = parse_create_table(SOUND)
    assert wish.name == "things"
    assert wish.schema == KeySchema(KeyAttribute("p", "S"), KeyAttribute("s", "N"))
    assert (wish.other_regions, wish.view_type) == ((), None)


def test_table_with_replicas_always_streams_both_images() -> None:
    wish = parse_create_table(SOUND | {"Replicas": [{"RegionName": "eu-west-2"}]})
    assert (wish.other_regions, wish.view_type) == (("eu-west-2",), "NEW_AND_OLD_IMAGES")
    narrow = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}}
    with pytest.raises(ValidationException, match="streams NEW_AND_OLD_IMAGES, not KEYS_ONLY"):
        parse_create_table(SOUND | narrow | {"Replicas": [{"RegionName": "eu-west-2"}]})


@pytest.mark.parametrize(
    "changed",
    [
        {"TableName": 5}, {"AttributeDefinitions": "x"}, {"AttributeDefinitions": ["x"]},
        {"AttributeDefinitions": [{"AttributeName": 1, "AttributeType": "S"}]},
        {"KeySchema": {}} | {"KeySchema": {"a": 1}}, {"KeySchema": [1]}, {"Replicas": 7},
        {"Replicas": ["eu-west-2"]}, {"Replicas": [{"RegionName": {}}]},
        {"StreamSpecification": "yes"}, {"StreamSpecification": {"StreamEnabled": "yes"}},
        {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": []}},
    ],
    ids=str,
)  # fmt: skip
def test_create_request_of_the_wrong_shape_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(SerializationException):
        parse_create_table(SOUND | changed)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("abc", "abc"), ("a.b_c-D9", "a.b_c-D9"), ("x" * 255, "x" * 255),
        ("arn:aws:dynamodb:us-east-1:000000000000:table/things", "things"),
        ("arn:aws:dynamodb:us-east-1:000000000000:table/things/stream/2020", "things"),
    ],
    ids=range(5),
)  # fmt: skip
def test_table_name_or_arn_is_accepted(given: str, name: str) -> None:
    assert parse_table_name({"TableName": given}) == name


@pytest.mark.parametrize("given", ["", "ab", "x" * 256, "a b c", "a/b", "täble", "abc\n", "arn:x"])
def test_what_cannot_be_a_table_name_is_refused(given: str) -> None:
    with pytest.raises(ValidationException):
        parse_table_name({"TableName": given})


def test_stream_that_is_switched_off_is_none() -> None:
    assert parse_stream_specification(None) is None
    assert parse_stream_specification({"StreamEnabled": False}) is None
    with pytest.raises(ValidationException, match=r"'streamSpecification\.streamEnabled'"):
        parse_stream_specification({})


@pytest.mark.parametrize("streamed", [False, True])
def test_table_comes_back_from_storage_as_it_was(streamed: bool) -> None:
    stream = open_stream(bytes(16), "KEYS_ONLY", 9, 1_000) if streamed else None
    for sort in (None, KeyAttribute("s", "B")):
        schema = KeySchema(KeyAttribute("p", "S"), sort)
        regions = ("a-1", "b-1")
        table = Table("things", b"i" * 16, b"\0\0\1\0", schema, regions, "UPDATING", 7, stream)
        assert Table.from_json(table.to_json()) == table
        assert Table.from_json(table.with_status("ACTIVE").to_json()).status == "ACTIVE"
