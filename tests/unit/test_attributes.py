"""Attribute values: normal form, sizes, complaints."""

from base64 import b64encode
from decimal import Context, Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core import limits
from antipodes.core.attributes import (
    key_size,
    normal_attributes,
    normal_number,
    normal_value,
    number_order,
    number_size,
    parse_attributes,
    parse_number,
    print_attributes,
)
from antipodes.core.errors import SerializationException, ValidationException

EXACT = Context(prec=400)


@st.composite
def numbers(draw: st.DrawFn) -> Decimal:
    """Give any number that DynamoDB can hold."""
    digits = draw(st.integers(0, 10**38 - 1) | st.integers(0, 99))
    shift = draw(st.integers(-130, 125))
    sign = draw(st.sampled_from([1, -1]))
    return EXACT.scaleb(Decimal(sign * digits), shift - max(0, len(str(digits)) - 1))


@st.composite
def spellings(draw: st.DrawFn, number: Decimal) -> str:
    """Give one of the many ways to write a number."""
    plain = format(number, "f")
    style = draw(st.integers(0, 4))
    if style == 0:
        return plain
    if style == 1:
        return f"{number:e}" if number else "0e5"
    if style == 2:
        sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("+", plain)
        return f"{sign}000{digits}"
    if style == 3:
        return (plain if "." in plain else plain + ".") + "000"
    shift = draw(st.integers(-50, 50))
    return f"{EXACT.scaleb(number, -shift):f}E{shift:+04}"


@given(st.data())
def test_normal_form_of_a_number_is_the_same_for_all_spellings(data: st.DataObject) -> None:
    number = data.draw(numbers())
    normal = normal_number(data.draw(spellings(number)))
    assert normal == normal_number(data.draw(spellings(number)))
    assert Decimal(normal) == number
    assert normal_number(normal) == normal
    assert "e" not in normal.lower()
    assert not normal.startswith("+")
    assert normal == "0" or not normal.strip("-").startswith("00")
    assert "." not in normal or not normal.endswith(("0", "."))


@given(numbers(), numbers())
def test_number_order_is_numeric_order(a: Decimal, b: Decimal) -> None:
    x, y = (number_order(normal_number(format(each, "f"))) for each in (a, b))
    assert (x < y) == (a < b)
    assert (x == y) == (a == b)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 1), ("-0.00", 1), ("42", 2), ("1", 2), ("-1", 3), ("12", 2), ("120", 3), ("1200", 2),
        ("123", 3), ("1234", 3), ("12345", 4), ("0.12", 2), ("0.012", 3), ("-42", 3),
        ("1" * 38, 20), ("1" + "0" * 37, 2), ("1" * 37, 20), ("9" * 38 + "e87", 21),
        ("9" * 38 + "e86", 20),
    ],
)  # fmt: skip
def test_size_of_a_number_follows_the_rule(text: str, size: int) -> None:
    assert number_size(text) == size


@given(numbers())
def test_size_of_a_number_is_the_rule_of_the_guide(number: Decimal) -> None:
    sign, digit_tuple, power = number.normalize(EXACT).as_tuple()
    assert isinstance(power, int)
    if not number:
        expected = 1
    else:
        d, e = len(digit_tuple), power + len(digit_tuple) - 1
        expected = 1 + -(-d // 2) + (d % 2 == 0 and e % 2 == 0) + sign
    assert number_size(format(number, "f")) == expected


@pytest.mark.parametrize(
    "text",
    ["1" * 38, "9." + "9" * 37 + "E125", "1E-130", "-1E125", "0." + "0" * 129 + "1", "1e-00000001",
     "1" + "0" * 125, "0e99999999999", "1" * 38 + "0" * 50, "0" * 5000 + "1e+0000000000000002"],
    ids=lambda text: f"{text[:20]}-{len(text)}",
)  # fmt: skip
def test_number_at_the_edge_is_accepted(text: str) -> None:
    assert Decimal(normal_number(text)) == EXACT.create_decimal(text if "e9" not in text else "0")


OVERFLOW = "Number overflow. Attempting to store a number with magnitude larger than supported"
UNDERFLOW = "Number underflow. Attempting to store a number with magnitude smaller than supported"
PRECISION = "Attempting to store more than 38 significant digits in a Number"
NOT_NUMERIC = "The parameter cannot be converted to a numeric value"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1E126", OVERFLOW), ("-1E126", OVERFLOW), ("1" + "0" * 126, OVERFLOW),
        ("1e" + "9" * 5000, OVERFLOW), ("1E-131", UNDERFLOW), ("1e-" + "9" * 5000, UNDERFLOW),
        ("0." + "0" * 130 + "1", UNDERFLOW),
        ("1" * 39, PRECISION), ("1." + "0" * 37 + "1", PRECISION),
        ("", NOT_NUMERIC), ("x", NOT_NUMERIC + ": x"), ("1 ", NOT_NUMERIC + ": 1 "),
        (".", NOT_NUMERIC), ("e5", NOT_NUMERIC), ("1e", NOT_NUMERIC), ("--1", NOT_NUMERIC),
        ("NaN", NOT_NUMERIC), ("Infinity", NOT_NUMERIC), ("1_000", NOT_NUMERIC),
        ("\u0661", NOT_NUMERIC), ("0x10", NOT_NUMERIC), ("1\n", NOT_NUMERIC),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_number_of_dynamodb_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValidationException) as caught:
        parse_number(text)
    assert str(caught.value).startswith(problem)


# --- values

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
binaries = st.binary(max_size=6).map(lambda raw: b64encode(raw).decode())
number_texts = numbers().map(lambda number: format(number, "f"))
scalars = st.one_of(
    texts.map(lambda text: {"S": text}),
    number_texts.map(lambda text: {"N": text}),
    binaries.map(lambda text: {"B": text}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
    st.lists(texts, min_size=1, max_size=4, unique=True).map(lambda v: {"SS": v}),
    st.lists(binaries, min_size=1, max_size=4, unique=True).map(lambda v: {"BS": v}),
    st.lists(numbers(), min_size=1, max_size=4, unique=True).map(
        lambda values: {"NS": [format(value, "f") for value in values]}
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: {"L": v}),
        st.dictionaries(texts, inner, max_size=3).map(lambda v: {"M": v}),
    ),
    max_leaves=8,
)


def meaning(value: dict[str, Any]) -> Any:
    """Give what a value means, so that equal values compare equal."""
    [(kind, content)] = value.items()
    match kind:
        case "N":
            return kind, Decimal(content)
        case "SS" | "BS":
            return kind, frozenset(content)
        case "NS":
            return kind, frozenset(map(Decimal, content))
        case "L":
            return kind, tuple(map(meaning, content))
        case "M":
            return kind, frozenset((name, meaning(inner)) for name, inner in content.items())
        case _:
            return kind, content


@st.composite
def rewritten(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    """Give an equal value that is written in another way."""
    [(kind, content)] = value.items()
    match kind:
        case "N":
            return {kind: draw(spellings(Decimal(content)))}
        case "SS" | "BS":
            return {kind: draw(st.permutations(content))}
        case "NS":
            return {kind: [draw(spellings(Decimal(n))) for n in draw(st.permutations(content))]}
        case "L":
            return {kind: [draw(rewritten(inner)) for inner in content]}
        case "M":
            names = draw(st.permutations(list(content)))
            return {kind: {name: draw(rewritten(content[name])) for name in names}}
        case _:
            return value


@given(st.data())
def test_equal_values_have_equal_bytes_however_they_are_written(data: st.DataObject) -> None:
    value = data.draw(values)
    normal, size = normal_attributes({"a": value})
    again, size_again = normal_attributes({"a": data.draw(rewritten(value))})
    assert print_attributes(normal) == print_attributes(again)
    assert size == size_again
    assert normal_attributes(parse_attributes(print_attributes(normal))) == (normal, size)


@given(values, values)
def test_bytes_are_equal_exactly_if_values_are(a: dict[str, Any], b: dict[str, Any]) -> None:
    printed = [print_attributes(normal_attributes({"a": value})[0]) for value in (a, b)]
    assert (printed[0] == printed[1]) == (meaning(a) == meaning(b))


def naive_size(value: dict[str, Any]) -> int:
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(str(content).encode())
        case "N":
            return number_size(str(content))
        case "B":
            return len(content) // 4 * 3 - str(content).count("=")
        case "SS" | "NS" | "BS":
            return sum(naive_size({kind[0]: each}) for each in content)
        case "L":
            return 3 + sum(1 + naive_size(each) for each in content)
        case "M":
            return 3 + sum(1 + len(k.encode()) + naive_size(v) for k, v in content.items())
        case _:
            return 1


@given(values)
def test_size_of_a_value_is_the_sum_of_its_parts(value: dict[str, Any]) -> None:
    assert normal_value(value)[1] == naive_size(value)


def test_size_of_the_guides_example_item() -> None:
    item = {"shirt-color": {"S": "R"}, "shirt-size": {"S": "M"}}
    assert normal_attributes(item)[1] == 23


def test_size_of_a_key_counts_names_and_values() -> None:
    assert key_size(("p", "nn"), (b"ab", b"42"), ("S", "N")) == 1 + 2 + 2 + 2


def test_sizes_count_bytes_of_utf_8() -> None:
    assert normal_attributes({"ü": {"S": "\U0001d54f"}})[1] == 2 + 4


def nested(depth: int, kind: str) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(depth):
        value = {"M": {"m": value}} if kind == "M" else {"L": [value]}
    return value


@pytest.mark.parametrize("kind", ["M", "L"])
def test_nesting_of_32_levels_is_the_deepest(kind: str) -> None:
    normal, _ = normal_value(nested(limits.NESTING_DEPTH_MAX, kind))
    assert normal == nested(limits.NESTING_DEPTH_MAX, kind)
    with pytest.raises(ValidationException, match=r"^Nesting Levels have exceeded"):
        normal_value(nested(limits.NESTING_DEPTH_MAX + 1, kind))
    with pytest.raises(ValidationException):
        normal_value(nested(500, kind))


INVALID = "One or more parameter values were invalid: "
EMPTY = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, EMPTY), ({"X": 1}, EMPTY), ({"S": None}, EMPTY), ({"X": 1, "Y": 2}, EMPTY),
        ({"S": "a", "N": "1"}, "Supplied AttributeValue has more than one datatypes set, must"
         " contain exactly one of the supported datatypes"),
        ({"NULL": False}, INVALID + "Null attribute value types must have the value of true"),
        ({"SS": []}, INVALID + "An string set  may not be empty"),
        ({"NS": []}, INVALID + "An number set  may not be empty"),
        ({"BS": []}, INVALID + "Binary sets should not be empty"),
        ({"SS": ["a", "a"]}, INVALID + "Input collection [a, a] contains duplicates."),
        ({"NS": ["1", "1.0"]}, "Input collection contains duplicates"),
        ({"BS": ["Yg==", "Yg=="]},
         INVALID + "Input collection [Yg==, Yg==]of type BS contains duplicates."),
        ({"L": [{"N": "x"}]}, NOT_NUMERIC + ": x"),
        ({"M": {"a": {}}}, EMPTY),
    ],
    ids=str,
)  # fmt: skip
def test_value_that_breaks_a_rule_is_refused(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationException) as caught:
        normal_value(value)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("text", "Unexpected value type in payload"), (None, "Unexpected value type in payload"),
        ([], "Unrecognized collection type class java.lang.String"),
        ({"S": 1}, "NUMBER_VALUE cannot be converted to String"),
        ({"S": 1.5}, "DECIMAL_VALUE cannot be converted to String"),
        ({"N": True}, "TRUE_VALUE cannot be converted to String"),
        ({"N": False}, "FALSE_VALUE cannot be converted to String"),
        ({"S": {}}, "Start of structure or map found where not expected"),
        ({"S": []}, "Unrecognized collection type class java.lang.String"),
        ({"BOOL": "true"}, "STRING_VALUE cannot be converted to Boolean"),
        ({"NULL": 1}, "NUMBER_VALUE cannot be converted to Boolean"),
        ({"SS": "a"}, "Unexpected field type"), ({"L": {}}, "Unexpected field type"),
        ({"M": []}, "Unrecognized collection type class java.lang.String"),
        ({"SS": [None]}, "Unexpected value type in payload"),
        ({"B": "abc"}, "Base64 encoded length is expected a multiple of 4 bytes but found: 3"),
        ({"B": "a\u00fc=="}, "only base-64-encoded strings are convertible to bytes"),
        ({"B": "a==="}, "only base-64-encoded strings are convertible to bytes"),
        ({"B": "!!!!"}, "only base-64-encoded strings are convertible to bytes"),
    ],
    ids=str,
)  # fmt: skip
def test_value_of_the_wrong_shape_is_refused(value: object, problem: str) -> None:
    with pytest.raises(SerializationException) as caught:
        normal_value(value)
    assert str(caught.value) == problem


def test_names_of_attributes_have_bounds() -> None:
    with pytest.raises(ValidationException, match=r"^Empty attribute name$"):
        normal_attributes({"": {"S": "x"}})
    assert normal_attributes({"x" * 65_535: {"BOOL": True}})[1] == 65_536
    with pytest.raises(ValidationException, match="65536"):
        normal_attributes({"x" * 65_536: {"BOOL": True}})


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL", "x"]), inner,
        max_size=3),
    max_leaves=10,
))  # fmt: skip
def test_anything_is_either_a_value_or_refused(given_: Any) -> None:
    try:
        normal, _ = normal_attributes(given_)
    except (ValidationException, SerializationException):
        return
    assert normal_attributes(orjson.loads(print_attributes(normal)))[0] == normal
