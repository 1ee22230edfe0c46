"""Taking requests in DynamoDB's JSON shape apart, with DynamoDB's complaints."""

from collections.abc import Mapping
from typing import Any

from antipodes.core import shapes
from antipodes.core.errors import ValidationException

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
    for name, value in shapes.structure(request).items():
        if name not in known and name not in IGNORED and value is not None:
            raise ValidationException(
                f"{operation} does not support the parameter {name} in this version;"
                f" it supports {', '.join(sorted(known))}"
            )


def positive_limit(request: Request, maximum: int | None = None) -> int | None:
    """Take the Limit member; None when it is not given.

    Raises:
        ValidationException: Below 1, or above the maximum.
        SerializationException: Not a whole number.
    """
    limit = request.get("Limit")
    if limit is None:
        return None
    count = shapes.integer(limit)
    if count < 1:
        shapes.reject("limit", limit, "Member must have value greater than or equal to 1")
    if maximum is not None and count > maximum:
        shapes.reject("limit", limit, f"Member must have value less than or equal to {maximum}")
    return count
