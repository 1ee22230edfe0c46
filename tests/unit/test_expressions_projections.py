"""Projections: the part of an item that is asked for, and paths that get in each other's way."""

from typing import Any

import pytest

from antipodes.core.errors import ValidationException
from antipodes.core.expressions import ExpressionContext, attributes_to_get, project

ITEM: dict[str, Any] = {
    "a": {"S": "x"},
    "m": {"M": {"x": {"N": "1"}, "y": {"L": [{"N": "1"}, {"N": "2"}, {"M": {"z": {"N": "3"}}}]}}},
    "l": {
        "L": [{"N": "0"}, {"L": [{"N": "10"}, {"N": "11"}]}, {"N": "2"}, {"M": {"q": {"N": "3"}}}]
    },
    "n": {"NULL": True},
}


def projected(text: str) -> dict[str, Any]:
    return project(ExpressionContext().projection(text), ITEM)


def refusal(text: str, names: dict[str, str] | None = None) -> str:
    with pytest.raises(ValidationException) as caught:
        ExpressionContext(names).projection(text)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", {"a": {"S": "x"}}),
        ("a, gone, l[9], m.q, n.b", {"a": {"S": "x"}}),
        ("m.x", {"m": {"M": {"x": {"N": "1"}}}}),
        ("m.y[2].z, m.x", {"m": {"M": {"x": {"N": "1"}, "y": {"L": [{"M": {"z": {"N": "3"}}}]}}}}),
        ("l[2], l[0]", {"l": {"L": [{"N": "0"}, {"N": "2"}]}}),
        ("l[3].q, l[1][1]", {"l": {"L": [{"L": [{"N": "11"}]}, {"M": {"q": {"N": "3"}}}]}}),
        ("l[0].x", {}),
        ("m.y[7], l[1].x", {}),
    ],
)
def test_only_what_is_asked_for_and_there_comes_back(text: str, expected: dict[str, Any]) -> None:
    assert projected(text) == expected


def test_the_item_does_not_change() -> None:
    before = str(ITEM)
    projected("l[2], l[1][0], m.y[1]")
    assert str(ITEM) == before


@pytest.mark.parametrize(
    ("text", "how", "one", "two"),
    [
        ("a, a", "overlap", "[a]", "[a]"),
        ("a.b, a", "overlap", "[a, b]", "[a]"),
        ("a, a.b[0]", "overlap", "[a]", "[a, b, [0]]"),
        ("a[0], a[0].b", "overlap", "[a, [0]]", "[a, [0], b]"),
        ("a.b, a[0]", "conflict", "[a, b]", "[a, [0]]"),
        ("c, a[0][1], a[0].b", "conflict", "[a, [0], [1]]", "[a, [0], b]"),
    ],
)
def test_paths_keep_out_of_each_other(text: str, how: str, one: str, two: str) -> None:
    assert refusal(text) == (
        f"Invalid ProjectionExpression: Two document paths {how} with each other; must remove or"
        f" rewrite one of these paths; path one: {one}, path two: {two}"
    )


def test_placeholders_do_not_hide_an_overlap() -> None:
    assert "path one: [a, b], path two: [a, b]" in refusal("a.b, #a.b", {"#a": "a"})


def test_a_projection_tells_what_it_names_and_what_it_looks_into() -> None:
    projection = ExpressionContext({"#c": "c"}).projection("a, b[0], #c.d")
    assert projection.heads == ("a", "b", "c")
    assert projection.nested == ("b", "c")


def test_attributes_to_get_are_a_projection() -> None:
    projection = attributes_to_get(["a", "m.x", "n"])
    assert project(projection, ITEM) == {"a": {"S": "x"}, "n": {"NULL": True}}
    assert projection.heads == ("a", "m.x", "n")


def test_attributes_to_get_names_each_once() -> None:
    with pytest.raises(ValidationException) as caught:
        attributes_to_get(["a", "b", "a"])
    assert caught.value.message == (
        "One or more parameter values were invalid: Duplicate value in attribute name: a"
    )
