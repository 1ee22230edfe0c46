"""Updates: a new item from an old one.

All actions read the old item. Containers on the way to a path are copied, the rest is shared, so
neither the old item nor the request's values are ever changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from antipodes.core.attributes import Attributes, AttributeValue
from antipodes.core.errors import ValidationException
from antipodes.core.expressions.arithmetic import add_numbers, add_sets, subtract_sets
from antipodes.core.expressions.ast import (
    Action,
    Add,
    Arithmetic,
    Constant,
    Delete,
    Function,
    Operand,
    Path,
    Remove,
    Set,
)
from antipodes.core.expressions.paths import PathTree, path_source
from antipodes.core.expressions.projections import project_tree

_Computed: TypeAlias = Callable[[Attributes], AttributeValue]
"""Gives the value that a SET writes, from the old item."""

_WRONG_TYPE = "An operand in the update expression has an incorrect data type"
_WRONG_TYPE_LEGACY = "Type mismatch for attribute to update"
_MISSING = "The provided expression refers to an attribute that does not exist in the item"
_NO_PLACE = "The document path provided in the update expression is invalid for update"


@dataclass(frozen=True, slots=True)
class BoundUpdate:
    """An update that can be applied to items.

    Attributes:
        actions: In the order of the text, placeholders replaced.
        tree: Their paths.
        computed: For each action that is a SET, how to compute its value.
        heads: Attributes that it names, in the order of the text, read or written.
        nested: Those of them into which it looks.
        legacy: It came as AttributeUpdates: other texts, and ADD appends to lists.
    """

    actions: tuple[Action, ...]
    tree: PathTree
    computed: tuple[_Computed | None, ...]
    heads: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    legacy: bool = False

    @property
    def creates(self) -> bool:
        """It makes an item where there is none: it puts something there, or is empty."""
        return not self.actions or any(isinstance(a, Set | Add) for a in self.actions)


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What an update makes of an item.

    Attributes:
        item: The new item, in normal form; its size is not checked. None when there was no item
            and there is nothing to create.
        old: The item before; None when there was none.
        tree: The paths that the update wrote to.
    """

    item: Attributes | None
    old: Attributes | None
    tree: PathTree

    def updated_old(self) -> Attributes:
        """Give what UPDATED_OLD returns; empty when nothing of it was there."""
        return project_tree(self.tree, self.old or {})

    def updated_new(self) -> Attributes:
        """Give what UPDATED_NEW returns; empty when nothing of it is left.

        List elements are looked up by the indexes of the expression, as DynamoDB does: an element
        that was appended beyond the end is not found, and in the place of a removed one stands
        the next.
        """
        return project_tree(self.tree, self.item or {})


def check_keys(update: BoundUpdate, key_names: Sequence[str]) -> None:
    """Check that an update leaves the primary key alone.

    Args:
        update: The update.
        key_names: Of the table's key attributes, partition key first.

    Raises:
        ValidationException: It writes to one of them.
    """
    for name in key_names:
        if name in update.tree:
            raise ValidationException(
                "One or more parameter values were invalid: Cannot update attribute"
                f" {name}. This attribute is part of the key"
            )


def apply_update(update: BoundUpdate, item: Attributes | None, key: Attributes) -> UpdateResult:
    """Apply an update to an item.

    Args:
        update: The update.
        item: In normal form; None when there is no item.
        key: The primary key, in normal form, with which a new item begins.

    Raises:
        ValidationException: It writes to the key, or does not fit the item; texts as DynamoDB's.
    """
    check_keys(update, tuple(key))
    if item is None and not update.creates:
        return UpdateResult(None, None, update.tree)
    old = key if item is None else item
    values = [None if compute is None else compute(old) for compute in update.computed]
    new = _Rewriting(update, values).members(update.tree, old)
    return UpdateResult(new, item, update.tree)


def compute_actions(actions: Sequence[Action]) -> tuple[_Computed | None, ...]:
    """Make the values of SET actions into functions of the old item."""
    return tuple([_compile_value(a.value) if isinstance(a, Set) else None for a in actions])


class _Rewriting:
    """One application of an update, its values computed."""

    __slots__ = ("_actions", "_legacy", "_values")

    def __init__(self, update: BoundUpdate, values: list[AttributeValue | None]) -> None:
        self._actions = update.actions
        self._legacy = update.legacy
        self._values = values

    def members(self, tree: PathTree, old: dict[str, Any]) -> dict[str, Any]:
        """Rewrite an item or the members of a map."""
        new = dict(old)
        for part, branch in tree.items():
            assert isinstance(part, str), "members have names"
            current = old.get(part)
            value = self._value(branch, current)
            if value is None:
                new.pop(part, None)
            else:
                new[part] = value
        return new

    def _elements(self, tree: PathTree, old: list[Any]) -> list[Any]:
        new: list[Any] = list(old)
        for index, branch in sorted(tree.items()):
            assert isinstance(index, int), "elements have indexes"
            if index < len(old):
                new[index] = self._value(branch, old[index])
            else:
                new.append(self._value(branch, None))
        return [element for element in new if element is not None]

    def _value(
        self, branch: PathTree | int, current: AttributeValue | None
    ) -> AttributeValue | None:
        """Give the value that takes the place of another; None: the place becomes empty."""
        if isinstance(branch, int):
            return self._outcome(branch, current)
        if current is not None:
            if isinstance(next(iter(branch)), str):
                members = current.get("M")
                if members is not None:
                    return {"M": self.members(branch, members)}
            else:
                elements = current.get("L")
                if elements is not None:
                    return {"L": self._elements(branch, elements)}
        raise ValidationException(_NO_PLACE)

    def _outcome(self, index: int, current: AttributeValue | None) -> AttributeValue | None:
        match self._actions[index]:
            case Set():
                return self._values[index]
            case Remove():
                return None
            case Add(_, Constant(element)):
                return element if current is None else self._sum(current, element)
            case Delete(_, Constant(element)):
                return None if current is None else self._difference(current, element)
            case action:
                raise AssertionError(f"{action} is not bound")

    def _sum(self, current: AttributeValue, element: AttributeValue) -> AttributeValue:
        [(kind, content)] = element.items()
        if kind not in current:
            self._reject_type()
        if kind == "N":
            return {"N": add_numbers(current["N"], content)}
        if kind == "L":
            return {"L": current["L"] + content}
        return {kind: add_sets(kind, current[kind], content)}

    def _difference(
        self, current: AttributeValue, element: AttributeValue
    ) -> AttributeValue | None:
        [(kind, content)] = element.items()
        if kind not in current:
            self._reject_type()
        left = subtract_sets(current[kind], content)
        return {kind: left} if left else None

    def _reject_type(self) -> NoReturn:
        raise ValidationException(_WRONG_TYPE_LEGACY if self._legacy else _WRONG_TYPE)


def _compile_value(value: Operand | Arithmetic) -> _Computed:
    match value:
        case Arithmetic(sign, left, right):
            one, other = _compile_value(left), _compile_value(right)
            subtract = sign == "-"

            def calculate(item: Attributes) -> AttributeValue:
                first = _content("N", one(item))
                return {"N": add_numbers(first, _content("N", other(item)), subtract=subtract)}

            return calculate
        case Constant(content):
            return lambda _item: content
        case Path():
            source = path_source(value)

            def read(item: Attributes) -> AttributeValue:
                found = source(item)
                if found is None:
                    raise ValidationException(_MISSING)
                return found

            return read
        case Function("if_not_exists", (Path() as path, default)):
            present, otherwise = path_source(path), _compile_value(default)

            def choose(item: Attributes) -> AttributeValue:
                found = present(item)
                return otherwise(item) if found is None else found

            return choose
        case Function("list_append", (first, second)):
            head, tail = _compile_value(first), _compile_value(second)
            return lambda item: {"L": _content("L", head(item)) + _content("L", tail(item))}
        case _:
            raise AssertionError(f"binding lets no {value} through")


def _content(kind: str, value: AttributeValue) -> Any:
    content = value.get(kind)
    if content is None:
        raise ValidationException(_WRONG_TYPE)
    return content
