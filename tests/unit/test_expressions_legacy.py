"""The parameters that expressions replaced: their own texts, the same answers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from antipodes.core.errors import ValidationException
from antipodes.core.expressions import (
    KeyRange,
    apply_update,
    attribute_updates,
    check_keys,
    evaluate,
    expected_condition,
    filter_condition,
    key_conditions,
    key_range,
)
from antipodes.core.keys import KeyAttribute, KeySchema
from antipodes.core.reads import SortRange

INVALID = "One or more parameter values were invalid: "
OPERATORS = (
    "IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS"
)
KEY = {"pk": {"S": "k"}}
ITEM: dict[str, Any] = {
    "s": {"S": "abc"},
    "n": {"N": "10"},
    "ss": {"SS": ["x", "y"]},
    "l": {"L": [{"S": "x"}]},
    "yes": {"BOOL": True},
}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ValidationException) as caught:
        act()
    return caught.value.message


def fulfils(name: str, operator: str, *values: Any) -> bool:
    given = {name: {"ComparisonOperator": operator, "AttributeValueList": list(values)}}
    condition = filter_condition(given)
    assert condition is not None
    return evaluate(condition, ITEM)


def expected(**members: Any) -> str:
    return refusal(lambda: expected_condition({"a": members}))


@pytest.mark.parametrize(
    ("name", "operator", "values", "answer"),
    [
        ("s", "EQ", [{"S": "abc"}], True),
        ("ss", "EQ", [{"SS": ["y", "x"]}], True),
        ("n", "EQ", [{"N": "1E1"}], True),
        ("gone", "EQ", [{"S": "abc"}], False),
        ("s", "NE", [{"S": "abc"}], False),
        ("gone", "NE", [{"S": "abc"}], True),
        ("n", "LT", [{"N": "9"}], False),
        ("n", "LE", [{"N": "10.0"}], True),
        ("n", "GT", [{"N": "9"}], True),
        ("n", "GE", [{"S": "9"}], False),
        ("n", "BETWEEN", [{"N": "9"}, {"N": "10"}], True),
        ("n", "IN", [{"N": "9"}, {"N": "10"}], True),
        ("n", "IN", [{"N": "9"}], False),
        ("s", "BEGINS_WITH", [{"S": "ab"}], True),
        ("gone", "NULL", [], True),
        ("s", "NULL", [], False),
        ("gone", "NOT_NULL", [], False),
        ("s", "NOT_NULL", [], True),
        ("s", "CONTAINS", [{"S": "bc"}], True),
        ("ss", "CONTAINS", [{"S": "x"}], True),
        ("l", "CONTAINS", [{"S": "y"}], False),
        ("s", "NOT_CONTAINS", [{"S": "x"}], True),
        ("ss", "NOT_CONTAINS", [{"S": "x"}], False),
        ("gone", "NOT_CONTAINS", [{"S": "x"}], False),
    ],
)
def test_operators_mean_what_their_expressions_mean(
    name: str, operator: str, values: list[Any], answer: bool
) -> None:
    assert fulfils(name, operator, *values) is answer


def test_names_are_whole_attributes() -> None:
    condition = filter_condition({"a.b[0]": {"ComparisonOperator": "NOT_NULL"}})
    assert condition is not None
    assert evaluate(condition, {"a.b[0]": {"S": "x"}})


def test_conditions_are_joined_by_and_or_by_or() -> None:
    given = {
        "s": {"ComparisonOperator": "NULL"},
        "n": {"ComparisonOperator": "NOT_NULL"},
    }
    for operator, answer in ((None, False), ("AND", False), ("OR", True)):
        condition = filter_condition(given, operator)
        assert condition is not None
        assert evaluate(condition, ITEM) is answer
        assert condition.heads == ("s", "n")


def test_nothing_given_is_no_condition() -> None:
    assert filter_condition(None) is None
    assert filter_condition({}) is None
    assert expected_condition({}) is None


@pytest.mark.parametrize("translate", [filter_condition, expected_condition])
def test_a_conditional_operator_needs_two_conditions(translate: Callable[..., object]) -> None:
    one = {"a": {"ComparisonOperator": "NULL"}}
    assert refusal(partial(translate, {}, "OR")) == (
        "ConditionalOperator cannot be used without Filter or Expected"
    )
    assert refusal(partial(translate, one, "OR")) == (
        "ConditionalOperator can only be used when Filter or Expected has two or more elements"
    )


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        ("NULL", [{"S": "a"}]),
        ("NOT_NULL", [{"S": "a"}]),
        ("EQ", []),
        ("NE", [{"S": "a"}, {"S": "b"}]),
        ("BETWEEN", [{"S": "a"}]),
        ("IN", []),
        ("CONTAINS", [{"S": "a"}, {"S": "b"}]),
    ],
)
def test_operators_have_their_number_of_values(operator: str, values: list[Any]) -> None:
    assert refusal(lambda: fulfils("a", operator, *values)) == (
        f"{INVALID}Invalid number of argument(s) for the {operator} ComparisonOperator"
    )


def test_values_of_one_condition_have_one_type() -> None:
    assert refusal(lambda: fulfils("a", "IN", {"S": "a"}, {"N": "1"})) == (
        f"{INVALID}AttributeValues inside AttributeValueList must be of same type"
    )


@pytest.mark.parametrize(
    ("operator", "values", "kind"),
    [
        ("LT", [{"BOOL": True}], "BOOL"),
        ("GE", [{"L": []}], "L"),
        ("BETWEEN", [{"SS": ["a"]}, {"SS": ["b"]}], "SS"),
        ("IN", [{"M": {}}], "M"),
        ("BEGINS_WITH", [{"N": "1"}], "N"),
        ("CONTAINS", [{"NS": ["1"]}], "NS"),
    ],
)
def test_operators_take_some_types(operator: str, values: list[Any], kind: str) -> None:
    assert refusal(lambda: fulfils("a", operator, *values)) == (
        f"{INVALID}ComparisonOperator {operator} is not valid for {kind} AttributeValue type"
    )


def test_bounds_of_a_condition_are_in_order() -> None:
    assert refusal(lambda: fulfils("a", "BETWEEN", {"N": "10"}, {"N": "9"})) == (
        "The BETWEEN condition was provided a range where the lower bound is greater than the"
        " upper bound"
    )


def test_an_operator_is_one_of_thirteen() -> None:
    assert refusal(lambda: fulfils("a", "LIKE", {"S": "x"})) == (
        "1 validation error detected: Value 'LIKE' at 'scanFilter.a.member.comparisonOperator'"
        f" failed to satisfy constraint: Member must satisfy enum value set: [{OPERATORS}]"
    )


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"Value": {"S": "abc"}}, True),
        ({"Value": {"S": "abc"}, "Exists": True}, True),
        ({"Value": {"S": "x"}}, False),
        ({"Exists": False}, False),
        ({"Value": {"S": "ab"}, "ComparisonOperator": "BEGINS_WITH"}, True),
        ({"AttributeValueList": [{"S": "x"}], "ComparisonOperator": "GT"}, False),
        ({"ComparisonOperator": "NOT_NULL"}, True),
    ],
)
def test_expectations_are_conditions(given: dict[str, Any], answer: bool) -> None:
    condition = expected_condition({"s": given})
    assert condition is not None
    assert evaluate(condition, ITEM) is answer


def test_an_attribute_may_be_expected_not_to_exist() -> None:
    condition = expected_condition({"s": {"Exists": False}})
    assert condition is not None
    assert evaluate(condition, None)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (
            {"Value": {"S": "x"}, "AttributeValueList": []},
            "Value and AttributeValueList cannot be used together for Attribute: a",
        ),
        (
            {"ComparisonOperator": "EQ", "Exists": True, "Value": {"S": "x"}},
            "Exists and ComparisonOperator cannot be used together for Attribute: a",
        ),
        (
            {"ComparisonOperator": "EQ"},
            "Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: a",
        ),
        (
            {"AttributeValueList": []},
            "AttributeValueList can only be used with a ComparisonOperator for Attribute: a",
        ),
        (
            {"Exists": False, "Value": {"S": "x"}},
            "Value cannot be used when Exists is false for Attribute: a",
        ),
        ({"Exists": True}, "Value must be provided when Exists is true for Attribute: a"),
        ({}, "Value must be provided when Exists is null for Attribute: a"),
    ],
)
def test_members_of_an_expectation_go_together(members: dict[str, Any], problem: str) -> None:
    assert expected(**members) == INVALID + problem


SCHEMA = KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "S"))


def looked_up(**conditions: tuple[str, list[Any]]) -> KeyRange:
    given = {
        name: {"ComparisonOperator": operator, "AttributeValueList": values}
        for name, (operator, values) in conditions.items()
    }
    return key_range(key_conditions(given), SCHEMA)


P: tuple[str, list[Any]] = ("EQ", [{"S": "p"}])


@pytest.mark.parametrize(
    ("operator", "values", "sort"),
    [
        ("EQ", ["a"], SortRange(low=b"a", high=b"a")),
        ("LT", ["a"], SortRange(high=b"a", high_included=False)),
        ("LE", ["a"], SortRange(high=b"a")),
        ("GT", ["a"], SortRange(low=b"a", low_included=False)),
        ("GE", ["a"], SortRange(low=b"a")),
        ("BETWEEN", ["a", "b"], SortRange(low=b"a", high=b"b")),
        ("BEGINS_WITH", ["a"], SortRange(begins_with=b"a")),
    ],
)
def test_key_conditions_look_up_like_expressions(
    operator: str, values: list[str], sort: SortRange
) -> None:
    given = [{"S": value} for value in values]
    assert looked_up(sk=(operator, given), pk=P) == KeyRange((b"p",), (), sort)


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        ("NE", [{"S": "a"}]),
        ("IN", [{"S": "a"}]),
        ("NULL", []),
        ("NOT_NULL", []),
        ("CONTAINS", [{"S": "a"}]),
        ("NOT_CONTAINS", [{"S": "a"}]),
    ],
)
def test_no_key_is_looked_up_by_some_operators(operator: str, values: list[Any]) -> None:
    assert refusal(lambda: looked_up(pk=P, sk=(operator, values))) == (
        "Attempted conditional constraint is not an indexable operation"
    )


def test_key_conditions_are_one_or_two() -> None:
    for conditions in ({}, {"a": P, "b": P, "c": P}):
        assert refusal(partial(looked_up, **conditions)) == (
            "Conditions can be of length 1 or 2 only"
        )


def updated(item: dict[str, Any] | None, **updates: Any) -> dict[str, Any] | None:
    old = None if item is None else {**KEY, **item}
    return apply_update(attribute_updates(updates), old, KEY).item


def test_attribute_updates_put_add_and_delete() -> None:
    assert updated(
        {**ITEM, "gone": {"S": "x"}},
        s={"Value": {"S": "new"}},
        n={"Action": "ADD", "Value": {"N": "5"}},
        ss={"Action": "DELETE", "Value": {"SS": ["x"]}},
        l={"Action": "ADD", "Value": {"L": [{"S": "y"}]}},
        gone={"Action": "DELETE"},
    ) == {
        **KEY,
        "s": {"S": "new"},
        "n": {"N": "15"},
        "ss": {"SS": ["y"]},
        "l": {"L": [{"S": "x"}, {"S": "y"}]},
        "yes": {"BOOL": True},
    }


def test_attribute_updates_create_an_item_unless_they_only_delete() -> None:
    assert updated(None) == KEY
    assert updated(None, n={"Action": "ADD", "Value": {"N": "5"}}) == {**KEY, "n": {"N": "5"}}
    assert updated(None, n={"Action": "DELETE"}) is None


def test_attribute_updates_leave_the_key_alone() -> None:
    with pytest.raises(ValidationException, match="Cannot update attribute pk"):
        check_keys(attribute_updates({"pk": {"Value": {"S": "x"}}}), ("pk",))


def test_attribute_updates_do_not_change_types() -> None:
    act = partial(updated, ITEM, s={"Action": "ADD", "Value": {"N": "1"}})
    assert refusal(act) == "Type mismatch for attribute to update"


@pytest.mark.parametrize(
    ("update", "problem"),
    [
        ({}, "Only DELETE action is allowed when no attribute value is specified"),
        ({"Action": "ADD"}, "Only DELETE action is allowed when no attribute value is specified"),
        (
            {"Action": "ADD", "Value": {"S": "a"}},
            "ADD action is not supported for the type S",
        ),
        (
            {"Action": "DELETE", "Value": {"N": "1"}},
            "DELETE action with value is not supported for the type N",
        ),
    ],
)
def test_actions_take_some_types(update: dict[str, Any], problem: str) -> None:
    assert refusal(lambda: attribute_updates({"a": update})) == INVALID + problem


def test_an_action_is_one_of_three() -> None:
    assert refusal(lambda: attribute_updates({"a": {"Action": "SET"}})) == (
        "1 validation error detected: Value 'SET' at 'attributeUpdates.a.member.action' failed to"
        " satisfy constraint: Member must satisfy enum value set: [ADD, DELETE, PUT]"
    )
