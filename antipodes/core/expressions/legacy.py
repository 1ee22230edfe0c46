"""The parameters that expressions replaced, translated into the same conditions and updates.

Source of the texts: dynalite's tests, recorded against DynamoDB.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from antipodes.core import limits, shapes
from antipodes.core.attributes import AttributeValue, normal_value
from antipodes.core.errors import ValidationException
from antipodes.core.expressions.ast import (
    Action,
    Add,
    And,
    Between,
    Comparison,
    Condition,
    Constant,
    Delete,
    Function,
    In,
    Not,
    Or,
    Path,
    Remove,
    Set,
)
from antipodes.core.expressions.conditions import BoundCondition, compile_condition
from antipodes.core.expressions.key_conditions import KeyCondition, KeyTest
from antipodes.core.expressions.ordering import sortable
from antipodes.core.expressions.paths import PathTree
from antipodes.core.expressions.projections import BoundProjection
from antipodes.core.expressions.updates import BoundUpdate, compute_actions

_INVALID = "One or more parameter values were invalid: "
_COMPARATORS = {"EQ": "=", "NE": "<>", "LE": "<=", "LT": "<", "GE": ">=", "GT": ">"}
_OPERATORS = (
    *("IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE"),
    *("BEGINS_WITH", "GE", "CONTAINS"),
)
_SCALARS = ("S", "N", "B")
_TYPES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("LE", "LT", "GE", "GT", "BETWEEN", "IN"), _SCALARS),
    **dict.fromkeys(("CONTAINS", "NOT_CONTAINS"), (*_SCALARS, "BOOL", "NULL")),
    "BEGINS_WITH": ("S", "B"),
}
"""Types of values that an operator takes; all where none are listed."""
_SET_TYPES = ("SS", "NS", "BS")
_ADD_TYPES = ("N", "L", *_SET_TYPES)
_CONDITIONS_MAX = 2


def expected_condition(
    expected: object, conditional_operator: str | None = None
) -> BoundCondition | None:
    """Translate Expected.

    Args:
        expected: The parameter as it came; None when it did not.
        conditional_operator: ConditionalOperator; None when it did not come.

    Returns:
        None when nothing is expected.

    Raises:
        ValidationException: It is wrong.
    """
    given = {} if expected is None else shapes.structure(expected)
    _check_conditional_operator(conditional_operator, len(given))
    terms = {name: _expectation(name, shapes.structure(e)) for name, e in given.items()}
    return _joined(terms, conditional_operator)


def filter_condition(
    conditions: object, conditional_operator: str | None = None, what: str = "ScanFilter"
) -> BoundCondition | None:
    """Translate ScanFilter or QueryFilter.

    Args:
        conditions: The parameter as it came; None when it did not.
        conditional_operator: ConditionalOperator; None when it did not come.
        what: Name of the parameter.

    Returns:
        None when nothing is asked for.

    Raises:
        ValidationException: It is wrong.
    """
    given = {} if conditions is None else shapes.structure(conditions)
    _check_conditional_operator(conditional_operator, len(given))
    terms: dict[str, Condition] = {}
    for name, condition in given.items():
        operator, values = _condition(name, shapes.structure(condition), what)
        terms[name] = _term(name, operator, values)
    return _joined(terms, conditional_operator)


def key_conditions(conditions: object) -> KeyCondition:
    """Translate KeyConditions.

    Raises:
        ValidationException: It is wrong, whatever the table's key.
    """
    tests: dict[str, KeyTest] = {}
    for name, condition in shapes.structure(conditions).items():
        operator, values = _condition(name, shapes.structure(condition), "KeyConditions")
        operator = _COMPARATORS.get(operator, operator)
        tests[name] = KeyTest("begins_with" if operator == "BEGINS_WITH" else operator, values)
    if not 0 < len(tests) <= _CONDITIONS_MAX:
        raise ValidationException("Conditions can be of length 1 or 2 only")
    return KeyCondition(tests)


def attribute_updates(updates: object) -> BoundUpdate:
    """Translate AttributeUpdates.

    Args:
        updates: The parameter as it came; None when it did not.

    Raises:
        ValidationException: It is wrong.
    """
    actions: list[Action] = []
    for name, update in ({} if updates is None else shapes.structure(updates)).items():
        _check_name(name)
        actions.append(_action(name, shapes.structure(update)))
    tree: PathTree = {action.path.parts[0]: index for index, action in enumerate(actions)}
    heads = tuple([str(head) for head in tree])
    return BoundUpdate(tuple(actions), tree, compute_actions(actions), heads=heads, legacy=True)


def attributes_to_get(names: object) -> BoundProjection:
    """Translate AttributesToGet.

    Raises:
        ValidationException: A name comes twice, or is too long.
    """
    tree: PathTree = {}
    for index, given in enumerate(shapes.elements(names)):
        name = shapes.text(given)
        if name in tree:
            raise ValidationException(f"{_INVALID}Duplicate value in attribute name: {name}")
        _check_name(name)
        tree[name] = index
    return BoundProjection(tree, tuple([str(name) for name in tree]))


def _check_name(name: str) -> None:
    if len(name.encode()) > limits.ATTRIBUTE_NAME_BYTES_MAX:
        raise ValidationException("Attribute name is too large, must be less than 65536 bytes")


def _check_conditional_operator(operator: str | None, count: int) -> None:
    if operator is None:
        return
    if count == 0:
        raise ValidationException("ConditionalOperator cannot be used without Filter or Expected")
    if count == 1:
        raise ValidationException(
            "ConditionalOperator can only be used when Filter or Expected has two or more elements"
        )


def _joined(terms: Mapping[str, Condition], operator: str | None) -> BoundCondition | None:
    if not terms:
        return None
    conditions = tuple(terms.values())
    root: Condition
    if len(conditions) == 1:
        root = conditions[0]
    else:
        root = Or(conditions) if operator == "OR" else And(conditions)
    return BoundCondition(root, compile_condition(root), tuple(terms))


def _expectation(name: str, expected: Mapping[str, Any]) -> Condition:
    operator = expected.get("ComparisonOperator")
    listed, value = expected.get("AttributeValueList"), expected.get("Value")
    exists = expected.get("Exists")
    if listed is not None and value is not None:
        raise ValidationException(
            f"{_INVALID}Value and AttributeValueList cannot be used together for Attribute: {name}"
        )
    if operator is not None:
        if exists is not None:
            raise ValidationException(
                f"{_INVALID}Exists and ComparisonOperator cannot be used together for Attribute:"
                f" {name}"
            )
        if operator not in ("NULL", "NOT_NULL") and listed is None and value is None:
            raise ValidationException(
                f"{_INVALID}Value or AttributeValueList must be used with ComparisonOperator:"
                f" {operator} for Attribute: {name}"
            )
        values = [value] if value is not None else shapes.elements(listed or [])
        return _term(name, *_checked(name, operator, values, "Expected"))
    if listed is not None:
        raise ValidationException(
            f"{_INVALID}AttributeValueList can only be used with a ComparisonOperator for"
            f" Attribute: {name}"
        )
    if exists is not None and not shapes.boolean(exists):
        if value is not None:
            raise ValidationException(
                f"{_INVALID}Value cannot be used when Exists is false for Attribute: {name}"
            )
        return _term(name, "NULL", ())
    if value is None:
        shown = "null" if exists is None else "true"
        raise ValidationException(
            f"{_INVALID}Value must be provided when Exists is {shown} for Attribute: {name}"
        )
    return _term(name, "EQ", (normal_value(value)[0],))


def _condition(
    name: str, condition: Mapping[str, Any], what: str
) -> tuple[str, tuple[AttributeValue, ...]]:
    values = condition.get("AttributeValueList")
    operator = condition.get("ComparisonOperator")
    return _checked(name, operator, shapes.elements([] if values is None else values), what)


def _checked(
    name: str, operator: object, given: Sequence[object], what: str
) -> tuple[str, tuple[AttributeValue, ...]]:
    """Check an operator and its values."""
    if not isinstance(operator, str) or operator not in _OPERATORS:
        shapes.reject(
            f"{what[0].lower()}{what[1:]}.{name}.member.comparisonOperator",
            operator,
            "Member must not be null"
            if operator is None
            else f"Member must satisfy enum value set: [{', '.join(_OPERATORS)}]",
        )
    values = tuple([normal_value(value)[0] for value in given])
    if not _count_fits(operator, len(values)):
        raise ValidationException(
            f"{_INVALID}Invalid number of argument(s) for the {operator} ComparisonOperator"
        )
    kinds = [next(iter(value)) for value in values]
    if any(kind != kinds[0] for kind in kinds):
        raise ValidationException(
            f"{_INVALID}AttributeValues inside AttributeValueList must be of same type"
        )
    allowed = _TYPES.get(operator)
    if allowed is not None and kinds[0] not in allowed:
        raise ValidationException(
            f"{_INVALID}ComparisonOperator {operator} is not valid for {kinds[0]}"
            " AttributeValue type"
        )
    if operator == "BETWEEN":
        low, high = sortable(values[0]), sortable(values[1])
        assert low is not None, "the types were checked"
        assert high is not None, "the types were checked"
        if low[1] > high[1]:
            raise ValidationException(
                "The BETWEEN condition was provided a range where the lower bound is greater than"
                " the upper bound"
            )
    return operator, values


def _count_fits(operator: str, count: int) -> bool:
    match operator:
        case "NULL" | "NOT_NULL":
            return count == 0
        case "BETWEEN":
            return count == 2
        case "IN":
            return count > 0
        case _:
            return count == 1


def _term(name: str, operator: str, values: tuple[AttributeValue, ...]) -> Condition:
    path = Path((name,))
    constants = tuple([Constant(value) for value in values])
    match operator:
        case "NULL":
            return Function("attribute_not_exists", (path,))
        case "NOT_NULL":
            return Function("attribute_exists", (path,))
        case "BEGINS_WITH":
            return Function("begins_with", (path, *constants))
        case "CONTAINS":
            return Function("contains", (path, *constants))
        case "NOT_CONTAINS":
            # An attribute that is not there neither contains something nor does not.
            contains = Function("contains", (path, *constants))
            return And((Function("attribute_exists", (path,)), Not(contains)))
        case "BETWEEN":
            return Between(path, *constants)
        case "IN":
            return In(path, constants)
        case _:
            return Comparison(_COMPARATORS[operator], path, constants[0])


def _action(name: str, update: Mapping[str, Any]) -> Action:
    action, given = update.get("Action", "PUT"), update.get("Value")
    if action is None:
        action = "PUT"
    if action not in ("PUT", "ADD", "DELETE"):
        shapes.reject(
            f"attributeUpdates.{name}.member.action",
            action,
            "Member must satisfy enum value set: [ADD, DELETE, PUT]",
        )
    path = Path((name,))
    if given is None:
        if action == "DELETE":
            return Remove(path)
        raise ValidationException(
            f"{_INVALID}Only DELETE action is allowed when no attribute value is specified"
        )
    value = normal_value(given)[0]
    kind = next(iter(value))
    if action == "PUT":
        return Set(path, Constant(value))
    if action == "ADD":
        if kind not in _ADD_TYPES:
            raise ValidationException(f"{_INVALID}ADD action is not supported for the type {kind}")
        return Add(path, Constant(value))
    if kind not in _SET_TYPES:
        raise ValidationException(
            f"{_INVALID}DELETE action with value is not supported for the type {kind}"
        )
    return Delete(path, Constant(value))
