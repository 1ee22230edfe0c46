"""Projections: the part of an item that is asked for."""

from dataclasses import dataclass
from typing import Any

from antipodes.core.attributes import Attributes, AttributeValue
from antipodes.core.expressions.paths import PathTree


@dataclass(frozen=True, slots=True)
class BoundProjection:
    """A projection that can be applied to items.

    Attributes:
        tree: The paths.
        heads: Attributes that it names, in the order of the text.
        nested: Those of them into which it looks.
    """

    tree: PathTree
    heads: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()


def project(projection: BoundProjection, item: Attributes) -> Attributes:
    """Take what a projection asks for out of an item.

    What the item does not have is left out; elements of lists move together, in their order. The
    result shares values with the item.

    Args:
        projection: The projection.
        item: In normal form.
    """
    return project_tree(projection.tree, item)


def project_tree(tree: PathTree, members: dict[str, Any]) -> Attributes:
    """Take the paths of a tree out of the members of an item or a map."""
    projected: Attributes = {}
    for part, branch in tree.items():
        assert isinstance(part, str), "members have names"
        value = members.get(part)
        if value is None:
            continue
        if not isinstance(branch, int):
            value = _project_value(branch, value)
            if value is None:
                continue
        projected[part] = value
    return projected


def _project_value(tree: PathTree, value: AttributeValue) -> AttributeValue | None:
    if isinstance(next(iter(tree)), str):
        members = value.get("M")
        projected = project_tree(tree, members) if members else None
        return {"M": projected} if projected else None
    elements = value.get("L")
    if not elements:
        return None
    chosen: list[AttributeValue] = []
    for index, branch in sorted(tree.items()):
        assert isinstance(index, int), "elements have indexes"
        if index >= len(elements):
            break
        element = elements[index]
        if not isinstance(branch, int):
            element = _project_value(branch, element)
        if element is not None:
            chosen.append(element)
    return {"L": chosen} if chosen else None
