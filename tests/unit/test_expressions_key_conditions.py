"""Key conditions: which of them a Query can look up, and what DynamoDB says to the others."""

from typing import Any

import pytest

from antipodes.core.errors import ValidationException
from antipodes.core.expressions import (
    ExpressionContext,
    KeyRange,
    key_condition,
    key_range,
    key_range_of,
)
from antipodes.core.keys import KeyAttribute, KeySchema, raw_value
from antipodes.core.reads import SortRange

PK, SK, RANK = KeyAttribute("pk", "S"), KeyAttribute("sk", "S"), KeyAttribute("points", "N")
SCHEMA = KeySchema(PK, SK)
VALUES: dict[str, Any] = {
    ":p": {"S": "p"},
    ":a": {"S": "a"},
    ":b": {"S": "b"},
    ":n": {"N": "7"},
    ":m": {"N": "8"},
    ":empty": {"S": ""},
    ":long": {"S": "x" * 1025},
    ":longer": {"S": "x" * 2049},
    ":l": {"L": []},
}


def query(text: str, schema: KeySchema = SCHEMA) -> KeyRange:
    names = {"#pk": "pk"}
    bound = ExpressionContext(names, VALUES).key_condition(text)
    return key_range(key_condition(bound.root), schema)


def refusal(text: str, schema: KeySchema = SCHEMA) -> str:
    with pytest.raises(ValidationException) as caught:
        query(text, schema)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("pk = :p", SortRange()),
        (":p = #pk", SortRange()),
        ("pk = :p and sk = :a", SortRange(low=b"a", high=b"a")),
        ("sk = :a and pk = :p", SortRange(low=b"a", high=b"a")),
        ("pk = :p and sk < :a", SortRange(high=b"a", high_included=False)),
        ("pk = :p and :a > sk", SortRange(high=b"a", high_included=False)),
        ("pk = :p and sk <= :a", SortRange(high=b"a")),
        ("pk = :p and :a >= sk", SortRange(high=b"a")),
        ("pk = :p and sk > :a", SortRange(low=b"a", low_included=False)),
        ("pk = :p and sk >= :a", SortRange(low=b"a")),
        ("(pk = :p) and (sk between :a and :b)", SortRange(low=b"a", high=b"b")),
        ("(pk = :p and begins_with(sk, :a))", SortRange(begins_with=b"a")),
    ],
)
def test_a_partition_and_a_range_of_it_are_looked_up(text: str, sort: SortRange) -> None:
    assert query(text) == KeyRange((b"p",), (), sort)


def test_numbers_are_looked_up_in_their_order() -> None:
    schema = KeySchema(PK, RANK)
    seven, eight = (raw_value("N", {"N": number}) for number in ("7", "8"))
    assert query("pk = :p and points between :n and :m", schema).sort == SortRange(
        low=seven, high=eight
    )


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("pk = :p or sk = :a", "OR"),
        ("pk in (:p, :a)", "IN"),
        ("not pk = :p", "NOT"),
        ("pk <> :p", "<>"),
        ("attribute_exists(pk)", "attribute_exists"),
        ("attribute_not_exists(pk) and sk = :a", "attribute_not_exists"),
        ("attribute_type(pk, :type)", "attribute_type"),
        ("contains(pk, :p)", "contains"),
        ("pk = :p and (sk = :a or sk = :b)", "OR"),
    ],
)
def test_some_operators_cannot_be_looked_up(text: str, operator: str) -> None:
    context = ExpressionContext(None, {**VALUES, ":type": {"S": "S"}})
    root = context.key_condition(text).root
    with pytest.raises(ValidationException) as caught:
        key_condition(root)
    assert caught.value.message == (f"Invalid operator used in KeyConditionExpression: {operator}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            ":p between pk and sk",
            "BETWEEN operator must have the key attribute as its first operand",
        ),
        (
            "begins_with(:p, pk)",
            "begins_with operator must have the key attribute as its first operand",
        ),
        ("pk = sk", "Multiple attribute names used in one condition"),
        ("pk between :p and sk", "Multiple attribute names used in one condition"),
        ("begins_with(pk, sk)", "Multiple attribute names used in one condition"),
        (":p = :a", "No key attribute specified"),
    ],
)
def test_a_test_names_one_attribute(text: str, problem: str) -> None:
    assert refusal(text) == f"Invalid condition in KeyConditionExpression: {problem}"


@pytest.mark.parametrize("text", ["size(pk) = :n", "pk = size(sk)", "pk between size(sk) and :n"])
def test_functions_are_not_operands(text: str) -> None:
    assert refusal(text) == "KeyConditionExpressions cannot contain nested operations"


@pytest.mark.parametrize("text", ["pk.a = :p", "pk[0] > :p", "begins_with(pk.a, :p)"])
def test_keys_have_no_inside(text: str) -> None:
    assert refusal(text) == "KeyConditionExpressions cannot have conditions on nested attributes"


@pytest.mark.parametrize("text", ["pk = :p and pk = :a", "pk = :p and sk > :a and sk < :b"])
def test_each_attribute_is_tested_once(text: str) -> None:
    assert refusal(text) == "KeyConditionExpressions must only contain one condition per key"


def test_what_is_wrong_as_a_condition_is_reported_as_such() -> None:
    assert refusal("pk = :x") == (
        "Invalid KeyConditionExpression: An expression attribute value used in expression is not"
        " defined; attribute value: :x"
    )
    assert refusal("pk = :p and begins_with(sk, :n)") == (
        "Invalid KeyConditionExpression: Incorrect operand type for operator or function;"
        " operator or function: begins_with, operand type: N"
    )
    assert refusal("pk = :p and sk between :b and :a").startswith(
        "Invalid KeyConditionExpression: The BETWEEN operator requires upper bound"
    )


@pytest.mark.parametrize(
    ("text", "missed"), [("sk = :a", "pk"), ("foo = :a", "pk"), ("pk = :p and foo = :a", "sk")]
)
def test_all_of_the_key_that_is_needed_is_given(text: str, missed: str) -> None:
    assert refusal(text) == f"Query condition missed key schema element: {missed}"


@pytest.mark.parametrize(
    "text", ["pk > :p", "begins_with(pk, :p)", "pk between :a and :b and sk = :a"]
)
def test_a_partition_is_looked_up_by_its_value_only(text: str) -> None:
    assert refusal(text) == "Query key condition not supported"


def test_a_table_without_sort_key_takes_one_condition() -> None:
    schema = KeySchema(PK, None)
    assert query("pk = :p", schema) == KeyRange((b"p",), (), SortRange())
    assert refusal("pk = :p and sk = :a", schema) == "Query key condition not supported"


def test_no_more_conditions_than_key_attributes_are_given() -> None:
    assert refusal("pk = :p and sk = :a and points = :n") == (
        "The number of query conditions (3) exceeds the number of key attributes defined in the"
        " schema (2)"
    )


@pytest.mark.parametrize(
    "text", ["pk = :n", "pk = :l", "pk = :p and sk > :n", "pk = :p and sk between :n and :m"]
)
def test_values_have_the_type_of_the_key(text: str) -> None:
    assert refusal(text) == (
        "One or more parameter values were invalid: Condition parameter type does not match schema"
        " type"
    )


@pytest.mark.parametrize(
    ("text", "name"), [("pk = :empty", "pk"), ("pk = :p and sk > :empty", "sk")]
)
def test_values_of_keys_are_not_empty(text: str, name: str) -> None:
    assert refusal(text) == (
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot"
        f" contain an empty string value. Key: {name}"
    )


def test_values_of_keys_have_a_limit() -> None:
    assert refusal("pk = :longer") == (
        "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size"
        " limit of2048 bytes"
    )
    assert refusal("pk = :p and sk = :long") == (
        "One or more parameter values were invalid: Aggregated size of all range keys has exceeded"
        " the size limit of 1024 bytes"
    )


INDEX = ((PK, KeyAttribute("team", "S")), (SK, RANK))


def index_range(text: str) -> KeyRange:
    bound = ExpressionContext(None, VALUES).key_condition(text)
    return key_range_of(key_condition(bound.root), *INDEX)


def test_an_index_may_have_several_attributes_of_each_kind() -> None:
    seven = raw_value("N", {"N": "7"})
    assert index_range("pk = :p and team = :a and sk = :b and points > :n") == KeyRange(
        (b"p", b"a"), (b"b",), SortRange(low=seven, low_included=False)
    )
    assert index_range("pk = :p and team = :a and begins_with(sk, :b)") == KeyRange(
        (b"p", b"a"), (), SortRange(begins_with=b"b")
    )
    assert index_range("pk = :p and team = :a") == KeyRange((b"p", b"a"), (), SortRange())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pk = :p and sk = :a", "Query condition missed key schema element: team"),
        ("pk = :p and team = :a and points = :n", "Query condition missed key schema element: sk"),
        ("pk = :p and team > :a", "Query key condition not supported"),
        ("pk = :p and team = :a and sk > :b and points = :n", "Query key condition not supported"),
    ],
)
def test_sort_attributes_are_given_from_the_left_and_only_the_last_as_a_range(
    text: str, message: str
) -> None:
    with pytest.raises(ValidationException) as caught:
        index_range(text)
    assert caught.value.message == message
