"""The shapes that JSON can take, with DynamoDB's complaints about wrong ones.

A value of the wrong shape is a SerializationException; a value of the right shape that breaks a
rule of the operation's model is a ValidationException. Source: DynamoDB's answers, as recorded by
dynalite's tests.
"""

from collections.abc import Mapping
from typing import Any, NoReturn, cast

from antipodes.core.errors import SerializationException, ValidationException


def text(value: object) -> str:
    """Take a string.

    Raises:
        SerializationException: It is something else.
    """
    if not isinstance(value, str):
        _refuse(value, "String")
    return value


def boolean(value: object) -> bool:
    """Take a boolean.

    Raises:
        SerializationException: It is something else.
    """
    if not isinstance(value, bool):
        _refuse(value, "Boolean")
    return value


def integer(value: object) -> int:
    """Take a whole number.

    Raises:
        SerializationException: It is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(value, "Integer")
    return value


def elements(value: object) -> list[Any]:
    """Take a list.

    Raises:
        SerializationException: It is something else.
    """
    if not isinstance(value, list):
        raise SerializationException("Unexpected field type")
    return value  # pyright: ignore[reportUnknownVariableType] - JSON holds anything


def structure(value: object) -> dict[str, Any]:
    """Take an object.

    Raises:
        SerializationException: It is something else.
    """
    if isinstance(value, list):
        raise SerializationException("Unrecognized collection type class java.lang.String")
    if not isinstance(value, dict):
        raise SerializationException("Unexpected value type in payload")
    return cast("dict[str, Any]", value)


def required(members: Mapping[str, Any], name: str, path: str = "") -> Any:
    """Take a member that must be there.

    Args:
        members: The object that holds it.
        name: As in the request, for example ``TableName``.
        path: Of the object within the request, with a dot behind it.

    Raises:
        ValidationException: It is not there.
    """
    value = members.get(name)
    if value is None:
        reject(f"{path}{name[0].lower()}{name[1:]}", None, "Member must not be null")
    return value


def reject(path: str, value: object, constraint: str) -> NoReturn:
    """Complain about one member as DynamoDB's model validation does.

    Raises:
        ValidationException: Always.
    """
    shown = "null" if value is None else f"'{value}'"
    raise ValidationException(
        f"1 validation error detected: Value {shown} at '{path}' failed to satisfy constraint:"
        f" {constraint}"
    )


def _refuse(value: object, wanted: str) -> NoReturn:
    if isinstance(value, dict):
        raise SerializationException("Start of structure or map found where not expected")
    if isinstance(value, list):
        raise SerializationException("Unrecognized collection type class java.lang.String")
    if isinstance(value, bool):
        found = "TRUE_VALUE" if value else "FALSE_VALUE"
    elif isinstance(value, int):
        found = "NUMBER_VALUE"
    elif isinstance(value, float):
        found = "DECIMAL_VALUE"
    elif isinstance(value, str):
        found = "STRING_VALUE"
    else:
        raise SerializationException("Unexpected value type in payload")
    raise SerializationException(f"{found} cannot be converted to {wanted}")
