"""Constraints of the model that a request breaks, all at once.

Paths are members in lowerCamelCase; ``.1.member`` is the first element of a list, ``.<key>.member``
an entry of a map. Constraints on scalars within lists and on keys and values of maps are reported
for the whole, once. Sources: dynalite's tests, captures of paritysuite/dynamodb-conformance.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from itertools import islice
from typing import Any

from antipodes.core.errors import ValidationException
from antipodes.core.model.echo import print_value
from antipodes.core.model.schema import Budget, Shape

REPORTED_MAX = 10
_NULL = "Member must not be null"


class _Found(list[str]):
    """What was found, and whether to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget()

    def is_enough(self) -> bool:
        return len(self) >= REPORTED_MAX or not self.budget.spend()


def check_constraints(shape: Shape, request: dict[str, Any]) -> None:
    """Refuse a request that breaks constraints; its JSON is of the right kinds.

    Raises:
        ValidationException: Names up to ten of them.
    """
    found = _Found()
    _find_members(shape, request, "", found)
    report(found)


def report(found: list[str]) -> None:
    """Raise the violations found, if any.

    Raises:
        ValidationException: There are.
    """
    if not found:
        return
    shown = found[:REPORTED_MAX]
    noun = "error" if len(shown) == 1 else "errors"
    raise ValidationException(f"{len(shown)} validation {noun} detected: {'; '.join(shown)}")


def find_keys(shape: Shape, key: Shape, value: dict[str, Any], path: str) -> list[str]:
    """Check the keys of a map."""
    if all(not _broken(key, name) for name in value):
        return []
    return [_violation(shape, value, path, f"Map keys must satisfy constraint: [{_all(key)}]")]


def _find_members(shape: Shape, value: dict[str, Any], path: str, found: _Found) -> None:
    for name, shown, member in shape.ordered:
        inner = value.get(name)
        if inner is not None:
            _find(member, inner, path + shown, found)
        elif name in shape.required:
            found.append(f"Value null at '{path}{shown}' failed to satisfy constraint: {_NULL}")


def _find(shape: Shape, value: Any, path: str, found: _Found) -> None:
    found += [_violation(shape, value, path, constraint) for constraint in _broken(shape, value)]
    _find_inside(shape, value, path, found)


def _find_inside(shape: Shape, value: Any, path: str, found: _Found) -> None:
    match shape.kind:
        case "structure":
            _find_members(shape, value, f"{path}.", found)
        case "list":
            elements: list[Any] = value
            _find_elements(shape, value, elements, enumerate(elements, 1), path, found)
        case "map":
            if shape.key is not None:
                found += find_keys(shape, shape.key, value, path)
            _find_elements(shape, value, value.values(), value.items(), path, found)
        case _:
            pass


def _find_elements(
    shape: Shape,
    value: Any,
    elements: Collection[Any],
    placed: Iterable[tuple[Any, Any]],
    path: str,
    found: _Found,
) -> None:
    element = shape.element
    assert element is not None
    if element.kind == "attribute":  # Left to antipodes.core.attributes, nulls too.
        return
    has_null = None in elements
    strict = bool(_constraints(element))
    looked_at = islice(elements, max(found.budget.left, 0))
    if has_null or (strict and any(_broken(element, each) for each in looked_at)):
        constraints = ", ".join(filter(None, (_all(element), _NULL if has_null else "")))
        what = "Member" if shape.kind == "list" else "Map value"
        found.append(
            _violation(shape, value, path, f"{what} must satisfy constraint: [{constraints}]")
        )
    if element.compound:
        for place, each in placed:
            if found.is_enough():
                break
            if each is not None:
                _find_inside(element, each, f"{path}.{place}.member", found)


def _violation(shape: Shape, value: Any, path: str, constraint: str) -> str:
    shown = print_value(shape, value)
    return f"Value '{shown}' at '{path}' failed to satisfy constraint: {constraint}"


def _all(shape: Shape) -> str:
    """List all constraints of a shape, broken or not."""
    return ", ".join(_constraints(shape).values())


@cache
def _constraints(shape: Shape) -> Mapping[str, str]:
    measure = "value" if shape.kind in ("integer", "long", "double") else "length"
    texts = {
        "max": f"Member must have {measure} less than or equal to {shape.maximum}",
        "min": f"Member must have {measure} greater than or equal to {shape.minimum}",
        "pattern": f"Member must satisfy regular expression pattern: {shape.pattern}",
        "enum": f"Member must satisfy enum value set: [{', '.join(shape.enum)}]",
    }
    given = {
        "max": shape.maximum is not None,
        "min": shape.minimum is not None,
        "pattern": shape.pattern is not None,
        "enum": bool(shape.enum),
    }
    order = ("pattern", "max", "min", "enum") if shape.pattern_first else tuple(texts)
    return {name: texts[name] for name in order if given[name]}


def _broken(shape: Shape, value: Any) -> list[str]:
    """List the constraints that a value itself breaks, without what is inside."""
    constraints = _constraints(shape)
    if value is None or not constraints or (shape.arn and shape.accepts_arn(value)):
        return []
    broken: list[str] = []
    for name, text in constraints.items():
        match name:
            case "max":
                bad = shape.maximum is not None and _size(shape, value) > shape.maximum
            case "min":
                bad = shape.minimum is not None and _size(shape, value) < shape.minimum
            case "pattern":
                # Where one character is enough, an empty name breaks that rule only.
                bad = shape.regex is not None and shape.regex.fullmatch(value) is None
                bad = bad and not (value == "" and shape.minimum == 1)
            case _:
                bad = value not in shape.enum
        if bad:
            broken.append(text)
    return broken


def _size(shape: Shape, value: Any) -> int:
    number = shape.kind in ("integer", "long", "double")
    size: int = value if number else len(value)
    return size
