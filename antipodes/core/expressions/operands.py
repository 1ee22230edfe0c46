"""The functions, and what they and the operators want of operands, before any item is read.

The type of a path is known only with an item; there a wrong type makes a condition false.
"""

from antipodes.core.attributes import AttributeValue
from antipodes.core.expressions.ast import Constant, Function, Operand, Path
from antipodes.core.expressions.ordering import sortable
from antipodes.core.expressions.tokens import reject

CONDITION_FUNCTIONS = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
    "size": 1,
}
"""Functions of conditions, with their number of operands."""
UPDATE_FUNCTIONS = {"if_not_exists": 2, "list_append": 2}
"""Functions of SET, with their number of operands."""

TYPES = ("B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M")
"""Names of all types, in the order in which DynamoDB's message lists them."""

_UNTYPED = "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}"
"""How DynamoDB names the type of a path."""
_SIZELESS = ("N", "BOOL", "NULL")


def operand_type(operand: Operand) -> str | None:
    """Give the type that an operand has whatever the item; None when the item decides."""
    if isinstance(operand, Constant):
        return next(iter(operand.value))
    if isinstance(operand, Function) and operand.name == "size":
        return "N"
    return None


def check_operator(
    kind: str,
    operator: str,
    operands: tuple[Operand, ...],
    allowed: tuple[str, ...] = ("S", "N", "B"),
) -> None:
    """Check the types of an operator's operands.

    Raises:
        ValidationException: One is known and not allowed.
    """
    for operand in operands:
        found = operand_type(operand)
        if found is not None and found not in allowed:
            _reject_type(kind, operator, found)


def check_bounds(kind: str, low: Operand, high: Operand) -> None:
    """Check the bounds of BETWEEN where the request gives both.

    Raises:
        ValidationException: They have two types, or the wrong order.
    """
    if not (isinstance(low, Constant) and isinstance(high, Constant)):
        return
    bounds = f" lower bound operand: {_show(low.value)}, upper bound operand: {_show(high.value)}"
    low_key, high_key = sortable(low.value), sortable(high.value)
    assert low_key is not None, "the operator has checked the types"
    assert high_key is not None, "the operator has checked the types"
    if low_key[0] != high_key[0]:
        reject(
            kind,
            f"The BETWEEN operator requires same data type for lower and upper bounds;{bounds}",
        )
    if low_key[1] > high_key[1]:
        reject(
            kind,
            "The BETWEEN operator requires upper bound to be greater than or equal to lower"
            f" bound;{bounds}",
        )


def check_function(kind: str, call: Function) -> None:
    """Check the operands of a call that has the right number of them.

    Raises:
        ValidationException: One is not what the function takes.
    """
    match call.name:
        case "attribute_exists" | "attribute_not_exists" | "if_not_exists":
            if not isinstance(call.args[0], Path):
                reject(
                    kind,
                    "Operator or function requires a document path;"
                    f" operator or function: {call.name}",
                )
        case "begins_with":
            check_operator(kind, call.name, call.args, allowed=("S", "B"))
        case "list_append":
            for operand in call.args:
                if isinstance(operand, Constant):
                    check_operator(kind, call.name, (operand,), allowed=("L",))
        case "size":
            found = operand_type(call.args[0])
            if found in _SIZELESS:
                _reject_type(kind, call.name, found)
        case "attribute_type":
            _check_type_name(kind, call.args[1])
        case _:
            pass


def _check_type_name(kind: str, operand: Operand) -> None:
    if not isinstance(operand, Constant) or "S" not in operand.value:
        _reject_type(kind, "attribute_type", operand_type(operand) or _UNTYPED)
        return
    name = operand.value["S"]
    if name not in TYPES:
        reject(
            kind,
            f"Invalid attribute type name found; type: {name}, valid types: {{{','.join(TYPES)}}}",
        )


def _reject_type(kind: str, operator: str, found: str) -> None:
    reject(
        kind,
        "Incorrect operand type for operator or function;"
        f" operator or function: {operator}, operand type: {found}",
    )


def _show(value: AttributeValue) -> str:
    [(kind, content)] = value.items()
    return f"AttributeValue: {{{kind}:{content}}}"
