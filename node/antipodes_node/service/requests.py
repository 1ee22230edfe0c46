"""Taking requests in DynamoDB's JSON shape apart, with DynamoDB's complaints."""

from collections.abc import Mapping
from typing import Any, NoReturn

from antipodes.core.errors import SerializationException, ValidationException

Request = Mapping[str, Any]

IGNORED = frozenset({"ReturnConsumedCapacity", "ReturnItemCollectionMetrics", "ConsistentRead"})
"""Members that change nothing about what is done: a local read always sees every acknowledged
write, and there is no capacity to report yet."""


def check_members(operation: str, request: Request, known: frozenset[str]) -> None:
    """Refuse members that are not understood: a condition must never be dropped in silence.

    Raises:
        SerializationException: The request is not an object.
        ValidationException: A member is not supported.
    """
    if not isinstance(request, dict):
        raise SerializationException("Unexpected value type in payload")
    for name, value in request.items():
        if name not in known and name not in IGNORED and value is not None:
            raise ValidationException(
                f"{operation} does not support the parameter {name} in this version;"
                f" it supports {', '.join(sorted(known))}"
            )


def reject(path: str, value: object, constraint: str) -> NoReturn:
    """Complain about one member as DynamoDB's model validation does."""
    shown = "null" if value is None else f"'{value}'"
    raise ValidationException(
        f"1 validation error detected: Value {shown} at '{path}' failed to satisfy constraint:"
        f" {constraint}"
    )


def required(request: Request, name: str) -> Any:
    """Take a member that must be there.

    Raises:
        ValidationException: It is not.
    """
    value = request.get(name)
    if value is None:
        reject(name[0].lower() + name[1:], None, "Member must not be null")
    return value


def positive_limit(request: Request, maximum: int | None = None) -> int | None:
    """Take the Limit member; None when it is not given.

    Raises:
        ValidationException: Below 1, or above the maximum.
        SerializationException: Not a whole number.
    """
    limit = request.get("Limit")
    if limit is None:
        return None
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise SerializationException("STRING_VALUE cannot be converted to Integer")
    if limit < 1:
        reject("limit", limit, "Member must have value greater than or equal to 1")
    if maximum is not None and limit > maximum:
        reject("limit", limit, f"Member must have value less than or equal to {maximum}")
    return limit
