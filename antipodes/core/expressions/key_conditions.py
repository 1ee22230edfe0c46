"""Key conditions: which partition, and which range of sort keys, a Query asks for.

First the shape of the condition is checked, which needs no table; then it is held against the key
of a table or an index.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from antipodes.core import limits
from antipodes.core.attributes import AttributeValue
from antipodes.core.errors import ValidationException
from antipodes.core.expressions.ast import (
    And,
    Between,
    Comparison,
    Condition,
    Constant,
    Function,
    In,
    Not,
    Operand,
    Or,
    Path,
)
from antipodes.core.keys import KeyAttribute, KeySchema, raw_value
from antipodes.core.reads import SortRange

_TURNED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPERATOR = "Invalid operator used in KeyConditionExpression: "
_CONDITION = "Invalid condition in KeyConditionExpression: "
_NO_ORDER = ("IN", "NULL", "NOT_NULL", "<>", "CONTAINS", "NOT_CONTAINS")
"""Operators of KeyConditions that no key can be looked up by."""


class KeyTest(NamedTuple):
    """What is asked of one attribute."""

    operator: str
    """A comparator, ``BETWEEN`` or ``begins_with``; of KeyConditions, others too."""
    values: tuple[AttributeValue, ...]


class KeyCondition(NamedTuple):
    """A key condition whose shape is right."""

    tests: dict[str, KeyTest]
    """By attribute, in the order of the text."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """What a Query reads.

    Attributes:
        partition: The partition key, raw; several parts where an index has several attributes.
        equal: Leading sort key attributes that are fixed, raw; empty where the sort key has one.
        sort: Range of the next sort key attribute.
    """

    partition: tuple[bytes, ...]
    equal: tuple[bytes, ...]
    sort: SortRange


def key_condition(root: Condition) -> KeyCondition:
    """Check that a bound condition has the shape of a key condition.

    Raises:
        ValidationException: It is more than a conjunction of tests of one attribute each.
    """
    tests: dict[str, KeyTest] = {}
    for name, test in _tests(root):
        if name in tests:
            raise ValidationException(
                "KeyConditionExpressions must only contain one condition per key"
            )
        tests[name] = test
    return KeyCondition(tests)


def key_range(condition: KeyCondition, schema: KeySchema) -> KeyRange:
    """Hold a key condition against the key of a table or index with one attribute of each kind.

    Raises:
        ValidationException: As for `key_range_of`.
    """
    return key_range_of(
        condition, (schema.partition,), () if schema.sort is None else (schema.sort,)
    )


def key_range_of(
    condition: KeyCondition, partition: Sequence[KeyAttribute], sort: Sequence[KeyAttribute]
) -> KeyRange:
    """Hold a key condition against a key.

    Args:
        condition: The condition.
        partition: Attributes of the partition key; all must be given and equal.
        sort: Attributes of the sort key; given from the left, all but the last equal.

    Raises:
        ValidationException: An attribute is missing or not of the key, has another type or an
            operator that it cannot have, or is empty or too long.
    """
    tests = condition.tests
    count = len(partition) + len(sort)
    if len(tests) > count:
        if count == 1:
            raise ValidationException("Query key condition not supported")
        raise ValidationException(
            f"The number of query conditions ({len(tests)}) exceeds the number of key attributes"
            f" defined in the schema ({count})"
        )
    hashed: list[bytes] = []
    for attribute in partition:
        values = _checked(tests, attribute)
        if tests[attribute.name].operator != "=":
            raise ValidationException("Query key condition not supported")
        hashed.append(values[0])
    _check_size(hashed, limits.PARTITION_KEY_BYTES_MAX, _PARTITION_TOO_LONG)
    left = len(tests) - len(partition)
    equal: list[bytes] = []
    for attribute in sort[:left]:
        values = _checked(tests, attribute)
        operator = tests[attribute.name].operator
        if operator == "=" and len(equal) < left - 1:
            equal.append(values[0])
            continue
        if len(equal) < left - 1:
            raise ValidationException("Query key condition not supported")
        if operator == "=":
            _check_size([*equal, values[0]], limits.SORT_KEY_BYTES_MAX, _SORT_TOO_LONG)
        return KeyRange(tuple(hashed), tuple(equal), _range(operator, values))
    return KeyRange(tuple(hashed), (), SortRange())


_PARTITION_TOO_LONG = (
    "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size"
    " limit of2048 bytes"
)
_SORT_TOO_LONG = (
    "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the"
    " size limit of 1024 bytes"
)


def _check_size(parts: list[bytes], limit: int, message: str) -> None:
    if sum(map(len, parts)) > limit:
        raise ValidationException(message)


def _checked(tests: dict[str, KeyTest], attribute: KeyAttribute) -> list[bytes]:
    test = tests.get(attribute.name)
    if test is None:
        raise ValidationException(f"Query condition missed key schema element: {attribute.name}")
    if test.operator in _NO_ORDER:
        raise ValidationException("Attempted conditional constraint is not an indexable operation")
    values: list[bytes] = []
    for value in test.values:
        if attribute.kind not in value:
            raise ValidationException(
                "One or more parameter values were invalid: Condition parameter type does not"
                " match schema type"
            )
        raw = raw_value(attribute.kind, value)
        if not raw:
            kind = "binary" if attribute.kind == "B" else "string"
            raise ValidationException(
                "One or more parameter values are not valid. The AttributeValue for a key"
                f" attribute cannot contain an empty {kind} value. Key: {attribute.name}"
            )
        values.append(raw)
    return values


def _range(operator: str, values: list[bytes]) -> SortRange:
    first = values[0]
    match operator:
        case "=":
            return SortRange(low=first, high=first)
        case "<" | "<=":
            return SortRange(high=first, high_included=operator == "<=")
        case ">" | ">=":
            return SortRange(low=first, low_included=operator == ">=")
        case "BETWEEN":
            return SortRange(low=first, high=values[1])
        case _:
            return SortRange(begins_with=first)


def _tests(root: Condition) -> Iterator[tuple[str, KeyTest]]:
    match root:
        case And(terms):
            for term in terms:
                yield from _tests(term)
            return
        case Or():
            raise ValidationException(_OPERATOR + "OR")
        case Not():
            raise ValidationException(_OPERATOR + "NOT")
        case In():
            raise ValidationException(_OPERATOR + "IN")
        case Comparison("<>"):
            raise ValidationException(_OPERATOR + "<>")
        case Comparison(operator, left, right):
            name = _attribute(left, right)
            if isinstance(left, Path):
                yield name, KeyTest(operator, _values(right))
            else:
                yield name, KeyTest(_TURNED[operator], _values(left))
        case Between(operand, low, high):
            _check_first(operand, "BETWEEN")
            yield _attribute(operand, low, high), KeyTest("BETWEEN", _values(low, high))
        case Function("begins_with", (operand, stem)):
            _check_first(operand, "begins_with")
            yield _attribute(operand, stem), KeyTest("begins_with", _values(stem))
        case Function(name):
            raise ValidationException(_OPERATOR + name)


def _check_first(operand: Operand, operator: str) -> None:
    if not isinstance(operand, Path):
        raise ValidationException(
            f"{_CONDITION}{operator} operator must have the key attribute as its first operand"
        )


def _attribute(*operands: Operand) -> str:
    """Find the one attribute that a test names."""
    found: str | None = None
    for operand in operands:
        if isinstance(operand, Function):
            raise ValidationException("KeyConditionExpressions cannot contain nested operations")
        if isinstance(operand, Path):
            if found is not None:
                raise ValidationException(
                    f"{_CONDITION}Multiple attribute names used in one condition"
                )
            name, *steps = operand.parts
            if steps:
                raise ValidationException(
                    "KeyConditionExpressions cannot have conditions on nested attributes"
                )
            found = str(name)
    if found is None:
        raise ValidationException(f"{_CONDITION}No key attribute specified")
    return found


def _values(*operands: Operand) -> tuple[AttributeValue, ...]:
    return tuple([operand.value for operand in operands if isinstance(operand, Constant)])
