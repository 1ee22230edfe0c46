"""Closures that tell quickly whether a value has its shape.

They answer yes or no and stop at the first fault; `kinds` and `violations` find out what is wrong.
They never say yes to a value in which those find a fault, with one exception: what is inside an
attribute value is left to `antipodes.core.attributes`, which must look at it anyway.
"""

from collections.abc import Callable
from typing import Any

from antipodes.core.model.schema import INTEGER_MAX, LONG_MAX, Shape

Accepts = Callable[[Any], bool]


def accepts(shape: Shape) -> Accepts:
    """Compile the check of a shape."""
    match shape.kind:
        case "structure":
            return _structure(shape)
        case "map":
            return _map(shape)
        case "list":
            return _list(shape)
        case "attribute":
            return _object
        case "boolean":
            return lambda value: value is True or value is False
        case "integer" | "long":
            return _whole(shape)
        case "double" | "float" | "timestamp":
            return lambda value: value.__class__ is int or value.__class__ is float
        case _:
            return _text(shape)


def _object(value: Any) -> bool:
    return value.__class__ is dict


def _text(shape: Shape) -> Accepts:
    if shape.enum:
        allowed = frozenset(shape.enum)
        return lambda value: value.__class__ is str and value in allowed
    low = shape.minimum or 0
    high = shape.maximum
    if shape.regex is None:
        if high is None and not low:
            return lambda value: value.__class__ is str
        most = LONG_MAX if high is None else high
        return lambda value: value.__class__ is str and low <= len(value) <= most
    matches = shape.regex.fullmatch
    most = LONG_MAX if high is None else high

    def text(value: Any) -> bool:
        return value.__class__ is str and (
            (low <= len(value) <= most and matches(value) is not None) or shape.accepts_arn(value)
        )

    return text


def _whole(shape: Shape) -> Accepts:
    bound = INTEGER_MAX if shape.kind == "integer" else LONG_MAX
    low = -bound - 1 if shape.minimum is None else shape.minimum
    high = bound if shape.maximum is None else shape.maximum
    return lambda value: value.__class__ is int and low <= value <= high


def _structure(shape: Shape) -> Accepts:
    members = {name: accepts(member) for name, member in shape.members.items()}
    find = members.get
    required = tuple(shape.required)

    def structure(value: Any) -> bool:
        if value.__class__ is not dict:
            return False
        for name in required:
            if name not in value:
                return False
        for name, inner in value.items():
            check = find(name)
            if (
                check is not None
                and not check(inner)
                and (inner is not None or name in shape.required)
            ):
                return False
        return True

    return structure


def _list(shape: Shape) -> Accepts:
    assert shape.element is not None
    low = shape.minimum or 0
    high = LONG_MAX if shape.maximum is None else shape.maximum
    if shape.element.kind == "attribute":
        return lambda value: value.__class__ is list and low <= len(value) <= high
    element = accepts(shape.element)

    def elements(value: Any) -> bool:
        if value.__class__ is not list or not low <= len(value) <= high:
            return False
        for inner in value:  # noqa: SIM110  # all() would cost a generator
            if not element(inner):
                return False
        return True

    return elements


def _map(shape: Shape) -> Accepts:
    assert shape.element is not None
    low = shape.minimum or 0
    high = LONG_MAX if shape.maximum is None else shape.maximum
    if shape.element.kind == "attribute" and shape.key is None:
        if not low and shape.maximum is None:
            return _object
        return lambda value: value.__class__ is dict and low <= len(value) <= high
    element = accepts(shape.element)
    key = None if shape.key is None else accepts(shape.key)

    def entries(value: Any) -> bool:
        if value.__class__ is not dict or not low <= len(value) <= high:
            return False
        for name, inner in value.items():
            if not element(inner) or (key is not None and not key(name)):
                return False
        return True

    return entries
