"""Values as error messages show them.

Scalars stand as they are, lists as ``[a, b]``, maps as ``{key=value}``, structures as
``KeySchemaElement(attributeName=a, keyType=HASH)`` with null for members that are not there.
Source: captures of paritysuite/dynamodb-conformance, us-east-1, 2026.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from antipodes.core import limits
from antipodes.core.model.schema import Shape, lower_first

ECHO_CHARACTERS_MAX = 64 * limits.KIB
"""A message need not repeat a request of megabytes. Ours."""

_ATTRIBUTE = (
    ("S", "s"), ("N", "n"), ("B", "b"), ("", "iNT"), ("", "dECIMAL"), ("", "dOUBLE"), ("SS", "sS"),
    ("NS", "nS"), ("BS", "bS"), ("", "iNTSET"), ("", "dECIMALSET"), ("", "dOUBLESET"), ("M", "m"),
    ("L", "l"), ("NULL", "nULL"), ("BOOL", "bOOL"),
)  # fmt: skip
"""Members of AttributeValue as the service prints them, with those that only it knows."""


def print_value(shape: Shape, value: Any) -> str:
    """Print a value whose JSON is of the right kinds."""
    if isinstance(value, str):
        shown = value
    elif shape.echo == "json":
        shown = _print_json(shape, value)
    else:
        shown = _print_java(shape, value)
    return shown if len(shown) <= ECHO_CHARACTERS_MAX else shown[:ECHO_CHARACTERS_MAX] + "..."


def _print_json(shape: Shape, value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # Nested more deeply than it prints, though not than it parses.
        return _print_java(shape, value)


def _print_java(shape: Shape, value: Any) -> str:
    pieces: list[str] = []
    room = ECHO_CHARACTERS_MAX
    for piece in _pieces(shape, value, 0):
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            break
    return "".join(pieces)


def _pieces(shape: Shape, value: Any, depth: int) -> Iterator[str]:
    if value is None:
        yield "null"
    elif depth > 2 * limits.NESTING_DEPTH_MAX:
        yield "..."
    elif shape.kind == "list":
        assert shape.element is not None
        yield from _enclosed("[", "]", ((("", inner), shape.element) for inner in value), depth)
    elif shape.kind == "map":
        element = shape.element
        assert element is not None
        entries = (((f"{name}=", inner), element) for name, inner in value.items())
        yield from _enclosed("{", "}", entries, depth)
    elif shape.kind == "attribute":
        members = (
            ((f"{shown}=", value.get(name)), shape.members.get(name, shape))
            for name, shown in _ATTRIBUTE
        )
        yield from _enclosed("AttributeValue(", ")", members, depth)
    elif shape.kind == "structure":
        known = [
            ((f"{lower_first(name)}=", value.get(name)), member)
            for name, member in shape.members.items()
        ]
        known += [((f"{lower_first(name)}=", None), shape) for name in shape.hidden]
        yield from _enclosed(f"{shape.name}(", ")", iter(known), depth)
    elif isinstance(value, bool):
        yield "true" if value else "false"
    else:
        yield str(value)


def _enclosed(
    opening: str, closing: str, parts: Iterator[tuple[tuple[str, Any], Shape]], depth: int
) -> Iterator[str]:
    yield opening
    for place, ((label, value), shape) in enumerate(parts):
        yield f", {label}" if place else label
        yield from _pieces(shape, value, depth + 1)
    yield closing
