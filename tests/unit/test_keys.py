"""Primary keys and the order of the bytes that stand for them."""

from base64 import b64encode
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.attributes import normal_attributes, normal_number
from antipodes.core.errors import ValidationException
from antipodes.core.keys import (
    SORT_PREFIX_BYTES_MAX,
    ItemKey,
    KeyAttribute,
    KeySchema,
    encode_bytes,
    encode_number,
    key_attributes,
    key_of_attributes,
    key_of_item,
    partition_hash,
    partition_prefix,
    physical_key,
    print_key,
    sort_prefix,
)
from tests.unit.test_attributes import EXACT, numbers

BOTH = KeySchema(KeyAttribute("p", "S"), KeyAttribute("s", "S"))
NUMBER = b"\0\0\0\7"


def encoded(number: Decimal) -> bytes:
    return encode_number(normal_number(format(number, "f")))


@given(numbers(), numbers())
def test_encoded_numbers_are_ordered_as_numbers(a: Decimal, b: Decimal) -> None:
    assert (encoded(a) < encoded(b)) == (a < b)
    assert (encoded(a) == encoded(b)) == (a == b)


@given(st.integers(-120, 120), st.integers(1, 10**38 - 1), st.integers(1, 9))
def test_encoded_numbers_that_lie_close_are_ordered_as_numbers(
    power: int, digits: int, step: int
) -> None:
    shift = power - len(str(digits))
    a, b = (EXACT.scaleb(Decimal(n), shift) for n in (digits, digits - step))
    assert encoded(b) < encoded(a)
    assert encoded(a.copy_negate()) < encoded(b.copy_negate())


def test_encoded_numbers_are_ordered_over_the_whole_range() -> None:
    ascending = [
        "-9.9999999999999999999999999999999999999E125", "-1E125", "-1000", "-999", "-123.5", "-123",
        "-122.99", "-100", "-99", "-10", "-9", "-2", "-1.5", "-1.00000000001", "-1", "-0.9", "-0.1",
        "-0.09", "-1E-129", "-1E-130", "0", "1E-130", "1.1E-130", "1E-129", "0.09", "0.1", "0.11",
        "0.9", "1", "1.00000000001", "1.01", "1.1", "1.11", "1.5", "2", "9", "9.9", "10", "10.1",
        "11", "99", "100", "101", "110", "122.99", "123", "123.5", "999", "1000", "1E125",
        "9.9999999999999999999999999999999999999E125",
    ]  # fmt: skip
    prints = [encode_number(normal_number(text)) for text in ascending]
    assert prints == sorted(set(prints))
    assert max(map(len, prints)) <= 23


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_encoded_bytes_are_ordered_as_bytes_and_none_begins_another(a: bytes, b: bytes) -> None:
    assert (encode_bytes(a) < encode_bytes(b)) == (a < b)
    assert a == b or not encode_bytes(b).startswith(encode_bytes(a))


few_bytes = st.lists(st.sampled_from([b"\0", b"\1", b"\xfe", b"\xff"]), max_size=6).map(b"".join)


@given(few_bytes, few_bytes)
def test_bytes_at_the_edges_are_ordered_as_bytes(a: bytes, b: bytes) -> None:
    assert (encode_bytes(a) < encode_bytes(b)) == (a < b)
    assert a == b or not encode_bytes(b).startswith(encode_bytes(a))


any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(any_text, any_text)
def test_strings_are_ordered_by_their_bytes_in_utf_8(a: str, b: str) -> None:
    x, y = (physical_key(BOTH, NUMBER, ItemKey(b"p", t.encode())) for t in (a, b))
    assert (x < y) == (a.encode() < b.encode())


def test_characters_beyond_the_basic_plane_come_last() -> None:
    ascending = ["", "\0", "a", "a\0", "a\0b", "ab", "z", "ü", "\ue000", "\uffff", "\U0001d54f"]
    prints = [sort_prefix("S", text.encode()) for text in ascending]
    assert prints == sorted(prints)


@given(st.binary(min_size=1, max_size=2048), st.binary(min_size=1, max_size=1024))
def test_physical_key_fits_into_lmdb_and_is_found_under_its_partition(
    partition: bytes, sort: bytes
) -> None:
    for kind in ("S", "B"):
        schema = KeySchema(KeyAttribute("p", kind), KeyAttribute("s", kind))
        physical = physical_key(schema, NUMBER, ItemKey(partition, sort))
        assert len(physical) <= 436
        assert physical.startswith(partition_prefix(NUMBER, partition))
        assert 0 <= partition_hash(physical) < 1 << 128


def test_longest_keys_with_an_equal_beginning_have_keys_of_their_own() -> None:
    stem = b"x" * 1000
    keys = [ItemKey(b"p" * 2048, stem + bytes([n])) for n in range(24)]
    physical = {physical_key(BOTH, NUMBER, key) for key in keys}
    assert len(physical) == 24
    assert len({key[: 20 + SORT_PREFIX_BYTES_MAX] for key in physical}) == 1


@given(any_text, numbers(), st.binary(min_size=1, max_size=9))
def test_key_comes_back_as_it_went_in(text: str, number: Decimal, raw: bytes) -> None:
    values: dict[str, Any] = {
        "S": text, "N": normal_number(format(number, "f")), "B": b64encode(raw).decode()
    }  # fmt: skip
    for first in values:
        for second in values:
            schema = KeySchema(KeyAttribute("p", first), KeyAttribute("s", second))
            given_ = {"p": {first: values[first]}, "s": {second: values[second]}}
            normal, _ = normal_attributes(given_)
            key = key_of_attributes(schema, normal)
            assert key == key_of_item(schema, normal | {"other": {"BOOL": True}})
            assert key_attributes(schema, key) == given_
            assert b'"p"' in print_key(schema, key)


MISMATCH = "The provided key element does not match the schema"
INVALID = "One or more parameter values were invalid: "


@pytest.mark.parametrize(
    ("attributes", "as_item", "as_key"),
    [
        ({"p": {"S": "x"}}, INVALID + "Missing the key s in the item", MISMATCH),
        ({"p": {"N": "1"}, "s": {"S": "x"}},
         INVALID + "Type mismatch for key p expected: S actual: N", MISMATCH),
        ({"p": {"S": ""}, "s": {"S": "x"}},
         "One or more parameter values are not valid. The AttributeValue for a key attribute cannot"
         " contain an empty string value. Key: p", None),
        ({"p": {"S": "p" * 2049}, "s": {"S": "x"}},
         INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes", None),
        ({"p": {"S": "p"}, "s": {"S": "x" * 1025}},
         INVALID + "Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
         None),
        ({"p": {"S": "ü" * 1025}, "s": {"S": "x"}},
         INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes", None),
    ],
    ids=range(6),
)  # fmt: skip
def test_key_that_does_not_fit_the_table_is_refused(
    attributes: dict[str, Any], as_item: str, as_key: str | None
) -> None:
    with pytest.raises(ValidationException) as caught:
        key_of_item(BOTH, attributes)
    assert str(caught.value) == as_item
    with pytest.raises(ValidationException) as caught:
        key_of_attributes(BOTH, attributes)
    assert str(caught.value) == (as_key or as_item)


def test_superfluous_attribute_in_a_key_is_refused() -> None:
    with pytest.raises(ValidationException, match=MISMATCH):
        key_of_attributes(BOTH, {"p": {"S": "x"}, "s": {"S": "x"}, "t": {"S": "x"}})
    with pytest.raises(ValidationException, match=MISMATCH):
        key_of_attributes(BOTH, {"p": {"S": "x"}, "t": {"S": "x"}})


def test_empty_binary_key_is_refused() -> None:
    schema = KeySchema(KeyAttribute("p", "B"), None)
    with pytest.raises(ValidationException, match=r"empty binary value\. Key: p"):
        key_of_item(schema, {"p": {"B": ""}})


def test_keys_of_greatest_length_are_accepted() -> None:
    key = {"p": {"S": "p" * 2048}, "s": {"S": "s" * 1024}}
    assert key_of_attributes(BOTH, key) == ItemKey(b"p" * 2048, b"s" * 1024)
