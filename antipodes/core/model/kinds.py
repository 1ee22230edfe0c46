"""JSON of the wrong kind: the SerializationException that the service's parser would raise.

The parser meets the members in the order in which they were sent, and stops at the first fault.
Source of the texts: dynalite's tests, recorded against the service.
"""

from collections.abc import Iterable
from typing import Any, NoReturn

from antipodes.core import limits
from antipodes.core.attributes import decode_binary
from antipodes.core.errors import SerializationException
from antipodes.core.model.schema import INTEGER_MAX, LONG_MAX, Budget, Shape

_STRUCTURE_FOUND = "Start of structure or map found where not expected"
_PACKAGE = "com.amazonaws.dynamodb.v20120810."
_NESTED_COLLECTION = (
    "class sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl cannot be cast to class"
    " java.lang.Class (sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl and"
    " java.lang.Class are in module java.base of loader 'bootstrap')"
)
_JAVA = {"string": "String", "blob": "java.nio.ByteBuffer", "timestamp": "java.util.Date"}


def check_kinds(shape: Shape, value: Any, budget: Budget, *, field: bool, depth: int = 0) -> None:
    """Refuse a value whose JSON is of the wrong kind somewhere.

    Args:
        shape: What is wanted.
        value: Not null, but for the request itself.
        budget: When it is spent, what remains is taken to be right.
        field: It is a member of a structure, not an element of a list or a map.
        depth: How many attribute values enclose it; beyond the limit it is left to
            `antipodes.core.attributes`.

    Raises:
        SerializationException: It is.
    """
    if not budget.spend():
        return
    match shape.kind:
        case "structure" | "attribute":
            _check_structure(shape, value, budget, field, depth)
        case "list":
            if _is_object(value):
                raise SerializationException(_STRUCTURE_FOUND)
            if not _is_array(value):
                raise SerializationException(_unexpected(field))
            _check_elements(shape, value, budget, depth)
        case "map":
            if _is_array(value):
                raise SerializationException(
                    f"Unrecognized collection type {_java_name(shape, argument=True)}"
                )
            if not _is_object(value):
                raise SerializationException(_unexpected(field))
            _check_elements(shape, value.values(), budget, depth)
        case _:
            _check_scalar(shape, value)


def _is_object(value: Any) -> bool:
    return value.__class__ is dict


def _is_array(value: Any) -> bool:
    return value.__class__ is list


def _unexpected(field: bool) -> str:
    return "Unexpected field type" if field else _NESTED_COLLECTION


def _check_structure(shape: Shape, value: Any, budget: Budget, field: bool, depth: int) -> None:
    if _is_array(value):
        raise SerializationException(f"Unrecognized collection type {_java_name(shape)}")
    if not _is_object(value):
        raise SerializationException(
            "Unexpected field type" if field else "Unexpected value type in payload"
        )
    if depth > limits.NESTING_DEPTH_MAX:
        return
    for name, inner in value.items():
        member = shape.members.get(name)
        if member is not None and inner is not None:
            inner_depth = depth + (shape.kind == "attribute")
            check_kinds(member, inner, budget, field=True, depth=inner_depth)


def _check_elements(shape: Shape, values: Iterable[Any], budget: Budget, depth: int) -> None:
    assert shape.element is not None
    for inner in values:
        if budget.left <= 0:
            break
        if inner is not None:
            check_kinds(shape.element, inner, budget, field=False, depth=depth)


def _check_scalar(shape: Shape, value: Any) -> None:
    if _is_object(value):
        raise SerializationException(_STRUCTURE_FOUND)
    if _is_array(value):
        raise SerializationException(f"Unrecognized collection type {_java_name(shape)}")
    match shape.kind:
        case "string" if value.__class__ is not str:
            _refuse(value, "String")
        case "boolean" if isinstance(value, str):
            raise SerializationException("Unexpected token received from parser")
        case "boolean" if not isinstance(value, bool):
            _refuse(value, "Boolean")
        case "integer" if not _is_whole(value, INTEGER_MAX):
            _refuse(value, "Integer")
        case "long" if not _is_whole(value, LONG_MAX):
            _refuse(value, "Long")
        case "double" | "float" if value.__class__ not in (int, float):
            _refuse(value, "Double")
        case "timestamp" if value.__class__ not in (int, float):
            _refuse(value, "Date")
        case "blob":
            if not isinstance(value, str):
                raise SerializationException(
                    "only base-64-encoded strings are convertible to bytes"
                )
            decode_binary(value)
        case _:
            pass


def _is_whole(value: Any, bound: int) -> bool:
    return value.__class__ is int and -bound - 1 <= value <= bound


def _refuse(value: Any, wanted: str) -> NoReturn:
    if isinstance(value, bool):
        found = "TRUE_VALUE" if value else "FALSE_VALUE"
    elif isinstance(value, str):
        found = "STRING_VALUE"
    else:
        found = "NUMBER_VALUE" if isinstance(value, int) else "DECIMAL_VALUE"
    raise SerializationException(f"{found} cannot be converted to {wanted}")


def _java_name(shape: Shape, *, argument: bool = False) -> str:
    """Name the class that the service's own code has for a shape.

    Args:
        shape: Any.
        argument: Without the word "class", as within the brackets of another type.
    """
    if shape.kind in ("list", "map"):
        assert shape.element is not None
        inner = _java_name(shape.element, argument=True)
        return f"java.util.{'List<' if shape.kind == 'list' else 'Map<java.lang.String, '}{inner}>"
    if shape.kind in ("structure", "attribute"):
        name = _PACKAGE + shape.name
    else:
        name = _JAVA.get(shape.kind, shape.kind.capitalize())
        name = name if "." in name else f"java.lang.{name}"
    return name if argument else f"class {name}"
