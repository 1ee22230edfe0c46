"""Conditions made into Python functions: one call tells whether an item fulfils a condition.

An operand that the item does not have, or that has a type without the order or the members that are
asked for, makes a primitive condition false; only ``<>`` is true then.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from antipodes.core.attributes import Attributes, AttributeValue, decode_binary
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
    Value,
)
from antipodes.core.expressions.ordering import SORT_KEYS, sortable
from antipodes.core.expressions.paths import Source, path_source

Check: TypeAlias = Callable[[Attributes], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MEMBER_TYPES = {"SS": "S", "NS": "N", "BS": "B"}


@dataclass(frozen=True, slots=True)
class BoundCondition:
    """A condition that can be asked about items.

    Attributes:
        root: What it says, placeholders replaced.
        matches: Tells whether an item fulfils it; the item is in normal form, and empty where
            there is none.
        heads: Attributes that it names, in the order of the text.
        nested: Those of them into which it looks.
    """

    root: Condition
    matches: Check
    heads: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()


def evaluate(condition: BoundCondition, item: Attributes | None) -> bool:
    """Tell whether an item fulfils a condition.

    Args:
        condition: The condition.
        item: In normal form; None when there is no item.
    """
    return condition.matches({} if item is None else item)


def compile_condition(condition: Condition) -> Check:
    """Make a bound condition into a function of an item."""
    match condition:
        case And(terms):
            return _compile_all([compile_condition(term) for term in terms])
        case Or(terms):
            return _compile_any([compile_condition(term) for term in terms])
        case Not(term):
            check = compile_condition(term)
            return lambda item: not check(item)
        case Comparison("=", left, right):
            return _compile_equal(left, right)
        case Comparison("<>", left, right):
            check = _compile_equal(left, right)
            return lambda item: not check(item)
        case Comparison(sign, left, right):
            return _compile_ordered(sign, left, right)
        case Between(operand, low, high):
            return _compile_all(
                [_compile_ordered(">=", operand, low), _compile_ordered("<=", operand, high)]
            )
        case In(operand, choices):
            return _compile_in(operand, choices)
        case Function():
            return _compile_function(condition)


def _compile_all(checks: list[Check]) -> Check:
    if len(checks) == 2:
        first, second = checks
        return lambda item: first(item) and second(item)

    def check_all(item: Attributes) -> bool:
        for check in checks:  # noqa: SIM110  # A generator would double the time.
            if not check(item):
                return False
        return True

    return check_all


def _compile_any(checks: list[Check]) -> Check:
    if len(checks) == 2:
        first, second = checks
        return lambda item: first(item) or second(item)

    def check_any(item: Attributes) -> bool:
        for check in checks:  # noqa: SIM110  # A generator would double the time.
            if check(item):
                return True
        return False

    return check_any


def compile_operand(operand: Operand) -> Source:
    """Make a bound operand into a function that takes its value out of an item."""
    match operand:
        case Path():
            return path_source(operand)
        case Constant(value):
            return lambda _item: value
        case Function("size", (arg,)):
            source = compile_operand(arg)
            return lambda item: _size(source(item))
        case Function() | Value():
            raise AssertionError(f"binding lets no {operand} through")


def _compile_equal(left: Operand, right: Operand) -> Check:
    # Values in normal form are equal exactly when they are equal as Python objects.
    if isinstance(left, Constant):
        left, right = right, left
    if isinstance(right, Constant) and isinstance(left, Path) and len(left.parts) == 1:
        name, value = left.parts[0], right.value
        assert isinstance(name, str), "a path begins with a name"
        return lambda item: item.get(name) == value
    one, other = compile_operand(left), compile_operand(right)

    def equal(item: Attributes) -> bool:
        value = one(item)
        return value is not None and value == other(item)

    return equal


def _compile_ordered(sign: str, left: Operand, right: Operand) -> Check:
    if isinstance(left, Constant):
        left, right, sign = right, left, _TURNED[sign]
    compare = _COMPARE[sign]
    one = compile_operand(left)
    if isinstance(right, Constant):
        found = sortable(right.value)
        assert found is not None, "binding has checked the type"
        kind, bound = found
        convert = None if kind == "S" else SORT_KEYS[kind]

        def compare_with_bound(item: Attributes) -> bool:
            value = one(item)
            if value is None:
                return False
            content = value.get(kind)
            if content is None:
                return False
            return compare(content if convert is None else convert(content), bound)

        return compare_with_bound
    other = compile_operand(right)

    def compare_both(item: Attributes) -> bool:
        value, second = one(item), other(item)
        if value is None or second is None:
            return False
        key, second_key = sortable(value), sortable(second)
        if key is None or second_key is None or key[0] != second_key[0]:
            return False
        return compare(key[1], second_key[1])

    return compare_both


def _compile_in(operand: Operand, choices: tuple[Operand, ...]) -> Check:
    source = compile_operand(operand)
    values = [choice.value for choice in choices if isinstance(choice, Constant)]
    if len(values) == len(choices):
        return lambda item: source(item) in values
    sources = [compile_operand(choice) for choice in choices]

    def is_in(item: Attributes) -> bool:
        value = source(item)
        return value is not None and any(value == choice(item) for choice in sources)

    return is_in


def _compile_function(call: Function) -> Check:
    source = compile_operand(call.args[0])
    test: Callable[[AttributeValue, AttributeValue], bool]
    match call.name:
        case "attribute_exists":
            return lambda item: source(item) is not None
        case "attribute_not_exists":
            return lambda item: source(item) is None
        case "attribute_type":
            wanted = call.args[1]
            assert isinstance(wanted, Constant)
            kind = wanted.value["S"]
            return lambda item: kind in (source(item) or ())
        case "begins_with":
            test = _begins
        case "contains":
            test = _contains
        case name:
            raise AssertionError(f"the parser lets no {name} through")
    other = compile_operand(call.args[1])

    def check(item: Attributes) -> bool:
        value, second = source(item), other(item)
        return value is not None and second is not None and test(value, second)

    return check


def _begins(value: AttributeValue, stem: AttributeValue) -> bool:
    text, start = value.get("S"), stem.get("S")
    if text is not None and start is not None:
        return bool(text.startswith(start))
    raw, raw_start = value.get("B"), stem.get("B")
    if raw is not None and raw_start is not None:
        return decode_binary(raw).startswith(decode_binary(raw_start))
    return False


def _contains(value: AttributeValue, wanted: AttributeValue) -> bool:
    [(kind, content)] = value.items()
    if kind == "L":
        return wanted in content
    [(wanted_kind, wanted_content)] = wanted.items()
    if kind in _MEMBER_TYPES:
        return wanted_kind == _MEMBER_TYPES[kind] and wanted_content in content
    if kind == "S":
        return wanted_kind == "S" and wanted_content in content
    if kind == "B":
        return wanted_kind == "B" and decode_binary(wanted_content) in decode_binary(content)
    return False


def _size(value: AttributeValue | None) -> AttributeValue | None:
    """Give the size that ``size`` tells; None where the type has none.

    Source: developer guide, "Comparison operator and function reference"; strings are counted in
    UTF-16 units as Java does.
    """
    if value is None:
        return None
    [(kind, content)] = value.items()
    match kind:
        case "S":
            count = len(content) if content.isascii() else len(content.encode("utf-16-le")) // 2
        case "B":
            count = len(content) // 4 * 3 - content.count("=")
        case "SS" | "NS" | "BS" | "L" | "M":
            count = len(content)
        case _:
            return None
    return {"N": str(count)}
