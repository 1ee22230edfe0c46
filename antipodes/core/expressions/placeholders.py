"""ExpressionAttributeNames and ExpressionAttributeValues: checked once, used up by binding."""

import re
from collections.abc import Mapping
from typing import Any

from antipodes.core import limits, shapes
from antipodes.core.attributes import AttributeValue, normal_value
from antipodes.core.errors import ValidationException
from antipodes.core.expressions.tokens import reject

PLACEHOLDER_BYTES_MAX = 255
"""With the leading sign. Source: developer guide, "Constraints in Amazon DynamoDB"."""
VALUES_BYTES_MAX = 2 * limits.MIB
"""All values of a request together. Source: as above."""

_NAME = re.compile(r"#[A-Za-z0-9_]+")
_VALUE = re.compile(r":[A-Za-z0-9_]+")


class Placeholders:
    """What the placeholders of one request stand for, and which of them were used."""

    __slots__ = ("_names", "_unused_names", "_unused_values", "_values")

    def __init__(
        self, names: Mapping[str, Any] | None = None, values: Mapping[str, Any] | None = None
    ) -> None:
        """Check both maps as they came in the request.

        Raises:
            ValidationException: A map is empty, or a placeholder or what it stands for is wrong.
            SerializationException: Something has the wrong JSON shape.
        """
        self._names = {} if names is None else _checked_names(names)
        self._values = {} if values is None else _checked_values(values)
        self._unused_names = dict.fromkeys(self._names)
        self._unused_values = dict.fromkeys(self._values)

    def name(self, kind: str, placeholder: str) -> str:
        """Give the attribute name that a placeholder stands for.

        Raises:
            ValidationException: It is not defined.
        """
        name = self._names.get(placeholder)
        if name is None:
            reject(
                kind,
                "An expression attribute name used in the document path is not defined;"
                f" attribute name: {placeholder}",
            )
        self._unused_names.pop(placeholder, None)
        return name

    def value(self, kind: str, placeholder: str) -> AttributeValue:
        """Give the value, in normal form, that a placeholder stands for.

        Raises:
            ValidationException: It is not defined.
        """
        value = self._values.get(placeholder)
        if value is None:
            reject(
                kind,
                "An expression attribute value used in expression is not defined;"
                f" attribute value: {placeholder}",
            )
        self._unused_values.pop(placeholder, None)
        return value

    def finish(self) -> None:
        """Check that all placeholders were used.

        Raises:
            ValidationException: Some were not.
        """
        for unused, parameter in (
            (self._unused_names, "ExpressionAttributeNames"),
            (self._unused_values, "ExpressionAttributeValues"),
        ):
            if unused:
                raise ValidationException(
                    f"Value provided in {parameter} unused in expressions:"
                    f" keys: {{{', '.join(unused)}}}"
                )


def _checked_names(names: Mapping[str, Any]) -> dict[str, str]:
    _check_keys("ExpressionAttributeNames", names, _NAME)
    checked: dict[str, str] = {}
    for placeholder, name in names.items():
        checked[placeholder] = shapes.text(name)
        size = len(name) if name.isascii() else len(name.encode())
        if not 0 < size <= limits.ATTRIBUTE_NAME_BYTES_MAX:
            problem = (
                "Attribute name is too large, must be less than 65536 bytes"
                if size
                else "Empty attribute name"
            )
            raise ValidationException(
                f"ExpressionAttributeNames contains invalid value: {problem} for key {placeholder}"
            )
    return checked


def _checked_values(values: Mapping[str, Any]) -> dict[str, AttributeValue]:
    _check_keys("ExpressionAttributeValues", values, _VALUE)
    checked: dict[str, AttributeValue] = {}
    total = 0
    for placeholder, value in values.items():
        try:
            checked[placeholder], size = normal_value(value)
        except ValidationException as error:
            raise ValidationException(
                "ExpressionAttributeValues contains invalid value:"
                f" {error.message} for key {placeholder}"
            ) from error
        total += size
    if total > VALUES_BYTES_MAX:
        raise ValidationException("ExpressionAttributeValues exceeds max size")
    return checked


def _check_keys(parameter: str, given: Mapping[str, Any], pattern: re.Pattern[str]) -> None:
    if not given:
        raise ValidationException(f"{parameter} must not be empty")
    for key in given:
        size = len(key.encode())
        if size > PLACEHOLDER_BYTES_MAX:
            raise ValidationException(
                f"{parameter} contains invalid key: The expression attribute map contains a key"
                f" that is too long; size of key: {size}"
            )
        if pattern.fullmatch(key) is None:
            raise ValidationException(
                f'{parameter} contains invalid key: Syntax error; key: "{key}"'
            )
