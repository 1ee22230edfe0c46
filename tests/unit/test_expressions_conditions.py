"""Conditions: what DynamoDB refuses once it knows the placeholders, and what items fulfil."""

from base64 import b64encode
from typing import Any

import pytest

from antipodes.core.attributes import normal_attributes
from antipodes.core.errors import ValidationException
from antipodes.core.expressions import (
    ExpressionContext,
    check_filter_keys,
    check_scalar_keys,
    evaluate,
)


def binary(raw: bytes) -> dict[str, str]:
    return {"B": b64encode(raw).decode()}


VALUES: dict[str, Any] = {
    ":s": {"S": "abc"},
    ":s2": {"S": "abd"},
    ":n": {"N": "10"},
    ":n2": {"N": "9"},
    ":b": binary(b"\xff\x01"),
    ":b2": binary(b"\xff\x02"),
    ":bool": {"BOOL": True},
    ":null": {"NULL": True},
    ":ss": {"SS": ["x", "y"]},
    ":ns": {"NS": ["1", "2"]},
    ":bs": {"BS": [b64encode(b"x").decode()]},
    ":l": {"L": [{"S": "x"}]},
    ":m": {"M": {"x": {"S": "y"}}},
    ":type": {"S": "1"},
}
NAMES = {"#a": "a", "#b": "b"}

ITEM = normal_attributes(
    {
        "s": {"S": "abc"},
        "t": {"S": "b"},
        "emoji": {"S": "a\U0001f600"},
        "n": {"N": "10"},
        "n9": {"N": "9"},
        "raw1": binary(b"\xff\x01\x02"),
        "raw2": binary(b"\x01"),
        "yes": {"BOOL": True},
        "off": {"BOOL": False},
        "nothing": {"NULL": True},
        "ss": {"SS": ["y", "x"]},
        "ns": {"NS": ["2.0", "1"]},
        "bs": {"BS": [b64encode(b"x").decode()]},
        "l": {"L": [{"S": "x"}, {"N": "1.0"}, {"L": [{"S": "z"}]}, {"SS": ["b", "a"]}]},
        "m": {"M": {"x": {"S": "y"}, "l": {"L": [{"N": "7"}]}}},
        "blank": {"S": ""},
    },
)[0]


def refusal(text: str) -> str:
    context = ExpressionContext(NAMES, VALUES)
    with pytest.raises(ValidationException) as caught:
        context.condition(text, "FilterExpression")
    assert caught.value.message.startswith("Invalid FilterExpression: ")
    return caught.value.message.removeprefix("Invalid FilterExpression: ")


def holds(text: str, item: Any = ITEM, **values: Any) -> bool:
    """Tell whether an item fulfils a condition; values by name without the colon."""
    given = {**VALUES, **{f":{name}": value for name, value in values.items()}}
    return evaluate(ExpressionContext(None, given).condition(text), item)


@pytest.mark.parametrize(
    ("text", "operator", "first"),
    [
        ("#a <> a", "<>", "[a]"),
        ("#a = a", "=", "[a]"),
        ("a.b[1] between c and #a.#b[1]", "BETWEEN", "[a, b, [1]]"),
        ("a in (b, a)", "IN", "[a]"),
        ("contains(ab.bc[1].a, ab.bc[1].#a)", "contains", "[ab, bc, [1], a]"),
        ("begins_with(a, a)", "begins_with", "[a]"),
    ],
)
def test_the_first_operand_is_distinct_from_the_others(
    text: str, operator: str, first: str
) -> None:
    assert refusal(text) == (
        "The first operand must be distinct from the remaining operands for this operator or"
        f" function; operator: {operator}, first operand: {first}"
    )


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("attribute_exists(a, b)", "attribute_exists", 2),
        ("attribute_not_exists(a, b)", "attribute_not_exists", 2),
        ("attribute_type(a)", "attribute_type", 1),
        ("begins_with(a)", "begins_with", 1),
        ("contains(a, b, c)", "contains", 3),
        ("size(a, b) = :n", "size", 2),
    ],
)
def test_functions_have_their_number_of_operands(text: str, name: str, count: int) -> None:
    assert refusal(text) == (
        "Incorrect number of operands for operator or function;"
        f" operator or function: {name}, number of operands: {count}"
    )


@pytest.mark.parametrize("name", ["attribute_exists", "attribute_not_exists"])
@pytest.mark.parametrize("operand", [":s", "size(a)"])
def test_existence_is_asked_of_a_path(name: str, operand: str) -> None:
    assert refusal(f"{name}({operand})") == (
        f"Operator or function requires a document path; operator or function: {name}"
    )


@pytest.mark.parametrize(
    ("text", "operator", "kind"),
    [
        ("begins_with(a, :n)", "begins_with", "N"),
        ("begins_with(:l, a)", "begins_with", "L"),
        ("begins_with(a, size(b))", "begins_with", "N"),
        ("size(:n) = :s", "size", "N"),
        ("size(:bool) = :s", "size", "BOOL"),
        ("size(:null) = :s", "size", "NULL"),
        ("size(size(a)) = :s", "size", "N"),
        ("a < :l", "<", "L"),
        ("a <= :m", "<=", "M"),
        ("a > :bool", ">", "BOOL"),
        (":ss >= a", ">=", "SS"),
        ("a between :l and :s", "BETWEEN", "L"),
        ("a between :s and :null", "BETWEEN", "NULL"),
        ("attribute_type(a, :n)", "attribute_type", "N"),
        ("attribute_type(a, b)", "attribute_type", "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}"),
    ],
)
def test_operands_known_before_the_item_have_a_fitting_type(
    text: str, operator: str, kind: str
) -> None:
    assert refusal(text) == (
        "Incorrect operand type for operator or function;"
        f" operator or function: {operator}, operand type: {kind}"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("size(:s) = :n", "size(:l) = :n", "contains(:l, a)", "contains(a, size(b))"),
        *("a = :l", ":m <> a", "a in (:l, :bool)", "size(a) > size(b)", "attribute_type(:s, :s2)"),
    ],
)
def test_values_of_the_request_may_be_operands(text: str) -> None:
    ExpressionContext(None, {**VALUES, ":s2": {"S": "S"}}).condition(text)


def test_the_name_of_a_type_is_one_of_ten() -> None:
    assert refusal("attribute_type(a, :type)") == (
        "Invalid attribute type name found; type: 1, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}"
    )


def test_bounds_have_one_type() -> None:
    assert refusal("a between :s and :n") == (
        "The BETWEEN operator requires same data type for lower and upper bounds;"
        " lower bound operand: AttributeValue: {S:abc},"
        " upper bound operand: AttributeValue: {N:10}"
    )


def test_bounds_are_in_order() -> None:
    assert refusal("a between :n and :n2") == (
        "The BETWEEN operator requires upper bound to be greater than or equal to lower bound;"
        " lower bound operand: AttributeValue: {N:10},"
        " upper bound operand: AttributeValue: {N:9}"
    )


def test_in_has_a_hundred_choices_at_most() -> None:
    choices = ", ".join(["b"] * 100)
    ExpressionContext().condition(f"a in ({choices})")
    assert refusal(f"a in ({choices}, b)") == (
        "The IN operator is provided with too many operands; number of operands: 101"
    )


def test_primitive_conditions_are_checked_in_the_order_of_the_text() -> None:
    assert "attribute name: #x" in refusal("(a = #x and size(:n) = b) or a = :y")
    assert "operand type: N" in refusal("(size(:n) = b and a = #x) or a = :y")
    assert "attribute value: :y" in refusal("not a = :y and a = #x")


def test_numbers_are_equal_by_value_and_sets_whatever_their_order() -> None:
    assert holds("n = :v", v={"N": "1.0e1"})
    assert holds("ss = :v", v={"SS": ["x", "y"]})
    assert holds("ns = :v", v={"NS": ["1.00", "2"]})
    assert holds("l = :v", v={"L": [*ITEM["l"]["L"][:3], {"SS": ["a", "b"]}]})
    assert not holds("l = :v", v={"L": []})


def test_values_of_different_types_are_never_equal() -> None:
    assert not holds("n = :v", v={"S": "10"})
    assert holds("n <> :v", v={"S": "10"})
    assert not holds("ss = :v", v={"L": [{"S": "x"}, {"S": "y"}]})


@pytest.mark.parametrize("sign", ["=", "<", "<=", ">", ">="])
def test_a_missing_operand_makes_a_comparison_false(sign: str) -> None:
    assert not holds(f"gone {sign} :n")
    assert not holds(f":n {sign} m.gone")
    assert not holds(f"gone {sign} lost")
    assert not holds(f"size(gone) {sign} :n")
    assert holds(f"NOT gone {sign} :n")


def test_a_missing_operand_is_unequal() -> None:
    assert holds("gone <> :n")
    assert holds("gone <> lost")
    assert holds("l[9] <> n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n > :n2", True),  # 10 > 9, though "10" < "9"
        (":n2 < n", True),
        ("n <= n9", False),
        ("n > :s", False),
        ("n < :s", False),
        ("s < :s2", True),
        ("s >= :s", True),
        ("s > s.x", False),
        ("raw1 > :b", True),
        ("raw1 < :b2", True),
        ("raw1 < raw2", False),
        ("yes > n", False),
        ("l < m", False),
        ("ss <= l", False),
        ("size(s) < n", True),
        ("n > size(s)", True),
        ("size(s) = size(t)", False),
    ],
)
def test_values_of_one_type_are_ordered(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_strings_are_ordered_by_their_bytes_in_utf8() -> None:
    item = {"a": {"S": "\uffff"}, "b": {"S": "\U00010000"}}  # In UTF-16 it is the other way round.
    assert holds("a < b", item)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n between :n2 and :n", True),
        ("n9 between n and :n", False),
        (":n between n9 and n", True),
        ("s between :s and :s2", True),
        ("raw1 between :b and :b2", True),
        ("s between n9 and n", False),
        ("gone between :n2 and :n", False),
        ("not n between :n and :n", False),
    ],
)
def test_between_includes_its_bounds(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s in (:n, :s)", True),
        ("n in (:s, n9)", False),
        ("n in (size(l), :n)", True),
        ("l[0] in (:ss, m.x)", False),
        ("gone in (lost, :s)", False),
        ("gone in (:n, :s)", False),
        ("not gone in (:n, :s)", True),
    ],
)
def test_in_finds_an_equal_choice(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_existence_follows_paths() -> None:
    for path in ("s", "nothing", "m.x", "m.l[0]", "l[2][0]", "blank"):
        assert holds(f"attribute_exists({path})")
        assert not holds(f"attribute_not_exists({path})")
    for path in ("x", "m.y", "m.l[1]", "l[4]", "s.x", "s[0]", "l.x", "m[0]", "ss[0]"):
        assert holds(f"attribute_not_exists({path})")
        assert not holds(f"attribute_exists({path})")


def test_without_an_item_no_attribute_exists() -> None:
    assert holds("attribute_not_exists(s)", None)
    assert not holds("s = :s", None)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *(
            ("s", "S"),
            ("n", "N"),
            ("raw1", "B"),
            ("yes", "BOOL"),
            ("nothing", "NULL"),
            ("ss", "SS"),
        ),
        *(("ns", "NS"), ("bs", "BS"), ("l", "L"), ("m", "M"), (":s", "S")),
    ],
)
def test_types_are_told_by_their_names(path: str, kind: str) -> None:
    assert holds(f"attribute_type({path}, :t)", t={"S": kind})
    assert not holds(f"attribute_type({path}, :t)", t={"S": "M" if kind == "L" else "L"})


def test_a_missing_attribute_has_no_type() -> None:
    assert not holds("attribute_type(gone, :t)", t={"S": "S"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("begins_with(s, :v)", True),
        ("begins_with(:s, t)", False),
        ("begins_with(gone, :v)", False),
        ("begins_with(s, gone)", False),
        ("begins_with(raw1, :b)", True),
        ("begins_with(raw1, :v)", False),
        ("begins_with(n, :v)", False),
        ("begins_with(s, blank)", True),
    ],
)
def test_strings_and_binary_begin_with_others(text: str, expected: bool) -> None:
    assert holds(text, v={"S": "ab"}) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("contains(s, t)", True),
        ("contains(:s, t)", True),
        ("contains(s, :n)", False),
        ("contains(raw1, raw2)", True),
        ("contains(raw1, t)", False),
        ("contains(ss, :x)", True),
        ("contains(ss, :ss)", False),
        ("contains(ns, :one)", True),
        ("contains(ns, :x)", False),
        ("contains(bs, :xb)", True),
        ("contains(l, :x)", True),
        ("contains(l, :one)", True),
        ("contains(l, :inner)", True),
        ("contains(l, :set)", True),
        ("contains(l, gone)", False),
        ("contains(m, :x)", False),
        ("contains(n, :one)", False),
        ("contains(yes, :bool)", False),
        ("contains(gone, :x)", False),
    ],
)
def test_strings_sets_and_lists_contain(text: str, expected: bool) -> None:
    values: dict[str, Any] = {
        "x": {"S": "x"},
        "one": {"N": "1.0"},
        "xb": binary(b"x"),
        "inner": {"L": [{"S": "z"}]},
        "set": {"SS": ["a", "b"]},
    }
    assert holds(text, **values) is expected


@pytest.mark.parametrize(
    ("path", "size"),
    [
        *(("s", 3), ("blank", 0), ("emoji", 3), ("raw1", 3), ("raw2", 1), ("ss", 2), ("ns", 2)),
        *(("bs", 1), ("l", 4), ("m", 2), ("m.l", 1), (":l", 1)),
    ],
)
def test_sizes_are_units_of_utf16_bytes_or_elements(path: str, size: int) -> None:
    assert holds(f"size({path}) = :size", size={"N": str(size)})


@pytest.mark.parametrize("path", ["n", "yes", "nothing", "gone"])
def test_some_values_have_no_size(path: str) -> None:
    assert not holds(f"size({path}) >= :zero", zero={"N": "0"})
    assert holds(f"size({path}) <> :zero", zero={"N": "0"})


def test_and_or_and_not_combine() -> None:
    assert holds("s = :s and n = :n and yes = :bool")
    assert not holds("s = :s and n = :n and off = :bool")
    assert holds("s = :n or n = :s or yes = :bool")
    assert not holds("s = :n or n = :s or off = :bool")
    assert holds("s = :s or s = :n and n = :s")
    assert not holds("(s = :s or s = :n) and n = :s")
    assert not holds("not s = :s and n = :s")
    assert holds("not (s = :s and n = :s)")


def test_a_condition_tells_what_it_names_and_what_it_looks_into() -> None:
    condition = ExpressionContext(NAMES).condition("#a.x = b or size(c[0]) = d")
    assert condition.heads == ("a", "b", "c", "d")
    assert condition.nested == ("a", "c")


def test_a_condition_does_not_look_into_keys() -> None:
    check_scalar_keys(("a",), ("pk", "sk"), ("other",))
    for nested, shown in ((("pk",), "Key: pk"), (("x", "other"), "IndexKey: other")):
        with pytest.raises(ValidationException) as caught:
            check_scalar_keys(nested, ("pk", "sk"), ("other",))
        assert caught.value.message == (
            "Key attributes must be scalars; list random access '[]' and map lookup '.' are not"
            f" allowed: {shown}"
        )


def test_a_filter_of_a_query_leaves_its_keys_alone() -> None:
    check_filter_keys(("a",), ("pk", "sk"))
    with pytest.raises(ValidationException) as caught:
        check_filter_keys(("a", "sk", "pk"), ("pk", "sk"))
    assert caught.value.message == (
        "Filter Expression can only contain non-primary key attributes: Primary key attribute: pk"
    )
