"""The expressions of one request: parse, bind, and at the end look for unused placeholders."""

from collections.abc import Mapping, Sequence
from typing import Any

from antipodes.core.errors import ValidationException
from antipodes.core.expressions.binding import Binder
from antipodes.core.expressions.conditions import BoundCondition, compile_condition
from antipodes.core.expressions.parser import (
    parse_condition,
    parse_projection,
    parse_update,
)
from antipodes.core.expressions.placeholders import Placeholders
from antipodes.core.expressions.projections import BoundProjection
from antipodes.core.expressions.updates import BoundUpdate, compute_actions


class ExpressionContext:
    """Reads the expressions of one request, in the order in which they are asked for."""

    __slots__ = ("_placeholders",)

    def __init__(
        self, names: Mapping[str, Any] | None = None, values: Mapping[str, Any] | None = None
    ) -> None:
        """Check the placeholders.

        Args:
            names: ExpressionAttributeNames as it came; None when it did not.
            values: ExpressionAttributeValues as it came; None when it did not.

        Raises:
            ValidationException: A map is empty, or a placeholder or what it stands for is wrong.
            SerializationException: Something has the wrong JSON shape.
        """
        self._placeholders = Placeholders(names, values)

    def condition(self, text: str, what: str = "ConditionExpression") -> BoundCondition:
        """Read a condition or filter.

        Args:
            text: The expression.
            what: The request's parameter, for messages.

        Raises:
            ValidationException: It is wrong.
        """
        binder = Binder(what, self._placeholders)
        root = binder.condition(parse_condition(what, text))
        return BoundCondition(
            root, compile_condition(root), tuple(binder.heads), tuple(binder.nested)
        )

    def key_condition(self, text: str) -> BoundCondition:
        """Read a key condition; what `key_conditions.key_condition` takes as ``root``.

        DynamoDB reads all expressions of a request and looks for unused placeholders before it
        checks the shape of the key condition.

        Raises:
            ValidationException: It is wrong as a condition.
        """
        return self.condition(text, "KeyConditionExpression")

    def update(self, text: str) -> BoundUpdate:
        """Read an update.

        Raises:
            ValidationException: It is wrong.
        """
        binder = Binder("UpdateExpression", self._placeholders)
        actions, tree = binder.update(parse_update(text))
        return BoundUpdate(
            actions, tree, compute_actions(actions), tuple(binder.heads), tuple(binder.nested)
        )

    def projection(self, text: str) -> BoundProjection:
        """Read a projection.

        Raises:
            ValidationException: It is wrong.
        """
        binder = Binder("ProjectionExpression", self._placeholders)
        tree = binder.projection(parse_projection(text))
        return BoundProjection(tree, tuple(binder.heads), tuple(binder.nested))

    def finish(self) -> None:
        """Check that all placeholders were used.

        Raises:
            ValidationException: Some were not.
        """
        self._placeholders.finish()


def check_scalar_keys(
    nested: Sequence[str], key_names: Sequence[str], index_names: Sequence[str] = ()
) -> None:
    """Check that an expression does not look into a key attribute.

    Args:
        nested: Attributes into which it looks.
        key_names: Of the table's primary key.
        index_names: Of the keys of its indexes.

    Raises:
        ValidationException: It does.
    """
    for names, what in ((key_names, "Key"), (index_names, "IndexKey")):
        for name in names:
            if name in nested:
                raise ValidationException(
                    "Key attributes must be scalars; list random access '[]' and map lookup '.'"
                    f" are not allowed: {what}: {name}"
                )


def check_filter_keys(
    heads: Sequence[str], key_names: Sequence[str], what: str = "Filter Expression"
) -> None:
    """Check that the filter of a Query leaves the key alone that the Query reads by.

    Args:
        heads: Attributes that the filter names.
        key_names: Of the table's or index's key.
        what: ``QueryFilter`` for the legacy parameter.

    Raises:
        ValidationException: It does not.
    """
    for name in key_names:
        if name in heads:
            raise ValidationException(
                f"{what} can only contain non-primary key attributes: Primary key attribute: {name}"
            )


def check_parameters(
    request: Mapping[str, Any], expressions: Sequence[str], legacy: Sequence[str]
) -> None:
    """Check that a request does not mix expressions with legacy parameters.

    Args:
        request: The request.
        expressions: The operation's expression parameters, in DynamoDB's order: for a Query
            ProjectionExpression, FilterExpression, KeyConditionExpression.
        legacy: Its legacy parameters, likewise: for a Query AttributesToGet, QueryFilter,
            ConditionalOperator, KeyConditions.

    Raises:
        ValidationException: It does, or has placeholders and no expression to use them.
    """
    used = [name for name in expressions if request.get(name) is not None]
    if used:
        # KeyConditions alone goes together with the other expressions.
        mixed = [
            name
            for name in legacy
            if request.get(name) is not None
            and not (name == "KeyConditions" and "KeyConditionExpression" not in used)
        ]
        if mixed:
            raise ValidationException(
                "Can not use both expression and non-expression parameters in the same request:"
                f" Non-expression parameters: {{{', '.join(mixed)}}}"
                f" Expression parameters: {{{', '.join(used)}}}"
            )
    elif request.get("ExpressionAttributeNames") is not None:
        raise ValidationException(
            "ExpressionAttributeNames can only be specified when using expressions"
        )
    valued = [name for name in expressions if name != "ProjectionExpression"]
    if (
        valued
        and request.get("ExpressionAttributeValues") is not None
        and not any(name in used for name in valued)
    ):
        verb = "are" if len(valued) > 1 else "is"
        raise ValidationException(
            "ExpressionAttributeValues can only be specified when using expressions:"
            f" {' and '.join(valued)} {verb} null"
        )
