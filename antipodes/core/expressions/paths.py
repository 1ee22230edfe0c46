"""Document paths: walking an item along them, and keeping them out of each other's way."""

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

from antipodes.core.attributes import Attributes, AttributeValue
from antipodes.core.expressions.ast import Path, PathPart
from antipodes.core.expressions.tokens import reject

PathTree: TypeAlias = dict[PathPart, "PathTree | int"]
"""Paths by their parts; at the end of a path its position in the expression."""

Source: TypeAlias = Callable[[Attributes], AttributeValue | None]
"""Takes a value out of an item; None when there is none."""


def show_path(path: Path) -> str:
    """Print a path as DynamoDB's messages do: ``[a, [0], b]``."""
    shown = (f"[{part}]" if isinstance(part, int) else part for part in path.parts)
    return f"[{', '.join(shown)}]"


def path_source(path: Path) -> Source:
    """Make a function that walks an item along a bound path."""
    head, steps = path.parts[0], path.parts[1:]
    assert isinstance(head, str), "a path begins with a name"
    if not steps:

        def attribute(item: Attributes) -> AttributeValue | None:
            return item.get(head)

        return attribute

    def walk(item: Attributes) -> AttributeValue | None:
        value = item.get(head)
        for step in steps:
            if value is None:
                return None
            if isinstance(step, str):
                members = value.get("M")
                value = None if members is None else members.get(step)
            else:
                elements = value.get("L")
                value = None if elements is None or step >= len(elements) else elements[step]
        return value

    return walk


def path_tree(kind: str, paths: Sequence[Path]) -> PathTree:
    """Put the paths of one expression into a tree.

    Args:
        kind: The request's parameter, for the message.
        paths: Bound, in the order of the expression.

    Raises:
        ValidationException: One path is another, or leads into it; or they take one value for a
            map and for a list. The former is reported first.
    """
    tree: PathTree = {}
    heads: dict[int, int] = {}  # For each branch of the tree, by identity: its first path.
    conflict: tuple[int, int] | None = None
    for index, path in enumerate(paths):
        branch: PathTree = tree
        last = len(path.parts) - 1
        for depth, part in enumerate(path.parts):
            if depth:
                other = next(iter(branch), part)
                if isinstance(other, str) != isinstance(part, str) and conflict is None:
                    conflict = (heads[id(branch)], index)
            found = branch.get(part)
            if isinstance(found, int):
                _reject_pair(kind, "overlap", paths[found], path)
            if found is not None and depth == last:
                _reject_pair(kind, "overlap", paths[heads[id(found)]], path)
            if depth == last:
                branch[part] = index
            elif found is None:
                deeper: PathTree = {}
                branch[part] = deeper
                heads[id(deeper)] = index
                branch = deeper
            else:
                branch = found
    if conflict is not None:
        _reject_pair(kind, "conflict", paths[conflict[0]], paths[conflict[1]])
    return tree


def _reject_pair(kind: str, how: str, one: Path, two: Path) -> NoReturn:
    reject(
        kind,
        f"Two document paths {how} with each other; must remove or rewrite one of these paths;"
        f" path one: {show_path(one)}, path two: {show_path(two)}",
    )
