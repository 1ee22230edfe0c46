"""Native values survive the way to DynamoDB's JSON and back."""

import enum
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.client.values import (
    decode_attributes,
    decode_value,
    encode_attributes,
    encode_value,
    print_attributes,
)
from antipodes.core.attributes import normal_attributes
from antipodes.core.errors import ValidationException

integers = st.integers(-(10**30), 10**30)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-99, max_value=99)
texts = st.text(st.characters(codec="utf-8"), max_size=5)
binaries = st.binary(max_size=5)
scalars = texts | integers | decimals | binaries | st.booleans() | st.none()
sets = (
    st.sets(texts, min_size=1, max_size=3)
    | st.sets(integers | decimals, min_size=1, max_size=3)
    | st.sets(binaries, min_size=1, max_size=3)
)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
values = st.recursive(
    scalars | sets,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
items = st.dictionaries(names, values, max_size=4)


def types_of(value: Any) -> Any:
    match value:
        case dict():
            return {name: types_of(element) for name, element in value.items()}
        case list():
            return [types_of(element) for element in value]
        case Decimal():
            return int if value == value.to_integral_value() else Decimal
        case _:
            return type(value)


@given(items)
def test_what_is_written_comes_back(item: dict[str, Any]) -> None:
    back = decode_attributes(orjson.loads(print_attributes(item)))
    assert back == item
    assert types_of(back) == types_of(item)


@given(items)
def test_the_core_accepts_every_item_and_its_normal_form_means_the_same(
    item: dict[str, Any],
) -> None:
    normal, _ = normal_attributes(encode_attributes(item))
    assert decode_attributes(normal) == item


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("x", {"S": "x"}),
        (7, {"N": "7"}),
        (Decimal("1.50"), {"N": "1.50"}),
        (True, {"BOOL": True}),
        (None, {"NULL": True}),
        (b"\x00\xff", {"B": "AP8="}),
        (bytearray(b"a"), {"B": "YQ=="}),
        ({"x"}, {"SS": ["x"]}),
        (frozenset({1}), {"NS": ["1"]}),
        ({b"a"}, {"BS": ["YQ=="]}),
        ((1, "x"), {"L": [{"N": "1"}, {"S": "x"}]}),
        ({"a": {"b": []}}, {"M": {"a": {"M": {"b": {"L": []}}}}}),
        (OrderedDict(a=1), {"M": {"a": {"N": "1"}}}),
        (enum.IntEnum("Level", "LOW").LOW, {"N": "1"}),  # type: ignore[attr-defined]
    ],
)
def test_each_type_has_its_letter(value: object, encoded: dict[str, Any]) -> None:
    assert encode_value(value) == encoded


@pytest.mark.parametrize(
    ("text", "number"),
    [("5", 5), ("5.0", 5), ("1E+3", 1000), ("0.1", Decimal("0.1")), ("-0.50", Decimal("-0.5"))],
)
def test_numbers_are_int_when_whole_else_decimal(text: str, number: object) -> None:
    decoded = decode_value({"N": text})
    assert decoded == number
    assert type(decoded) is type(number)


@pytest.mark.parametrize("value", [1.5, [1.5], {"a": {"b": 1.5}}])
def test_a_float_is_refused_with_the_remedy_and_its_place(value: object) -> None:
    with pytest.raises(TypeError, match=r"^price.*decimal\.Decimal\('1\.5'\)"):
        encode_attributes({"price": value})


@pytest.mark.parametrize("value", [object(), {1.5}, {1, "x"}, {True}, {(1, 2)}])
def test_other_types_and_mixed_sets_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode_attributes({"a": value})


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValidationException, match="set may not be empty"):
        encode_value(set())


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_a_number_must_be_finite(text: str) -> None:
    with pytest.raises(ValidationException, match="finite"):
        encode_value(Decimal(text))


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError):
        print_attributes({1: "x"})  # type: ignore[dict-item]
