"""Whether a request has the shape that its operation wants.

The order is the service's: kinds of JSON, names with texts of their own, constraints of the model
(all of them at once), and what remains of own texts. A good request passes closures that were
compiled at the first request of its operation; only a bad one is looked at in detail.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from antipodes.core.errors import UnknownOperationException, ValidationException
from antipodes.core.model.fast import accepts
from antipodes.core.model.kinds import check_kinds
from antipodes.core.model.own import LAST, check_names
from antipodes.core.model.schema import Budget, operations, shapes
from antipodes.core.model.violations import check_constraints


def check(operation: str, request: Any) -> None:
    """Check a request against the model of its operation.

    Members that the operation does not know are ignored. Attribute values are checked only as far
    as they are objects; `antipodes.core.attributes` does the rest.

    Args:
        operation: For example ``PutItem``.
        request: Parsed JSON; not changed.

    Raises:
        UnknownOperationException: There is no operation of that name.
        SerializationException: Something is JSON of the wrong kind.
        ValidationException: Constraints are broken; the message names up to ten.
    """
    accepted, last = _compiled(operation)
    if not accepted(request):
        _explain(operation, request)
    if last is not None:
        last(request)


@cache
def _compiled(
    operation: str,
) -> tuple[Callable[[Any], bool], Callable[[Mapping[str, Any]], None] | None]:
    known = operations().get(operation)
    if known is None:
        raise UnknownOperationException
    return accepts(shapes()[known.input]), LAST.get(operation)


def _explain(operation: str, request: Any) -> None:
    shape = shapes()[operations()[operation].input]
    check_kinds(shape, request, Budget(), field=False)
    check_names(shape, request)
    check_constraints(shape, request)
    # What is wrong lies beyond what is looked at in detail; nobody sends this by mistake.
    raise ValidationException("The request has too many parts to name the one that is invalid")
