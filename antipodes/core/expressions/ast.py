"""What the parser makes of an expression.

The same classes serve before and after binding. Before it, a part of a path that begins with ``#``
and a `Value` are placeholders; after it, parts are names as stored, and `Constant` stands in the
place of `Value`. Parentheses leave no trace.
"""

from dataclasses import dataclass
from typing import TypeAlias

from antipodes.core.attributes import AttributeValue

PathPart: TypeAlias = str | int
"""A member of a map, or an index of a list."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value stands in an item: ``a.b[0]``."""

    parts: tuple[PathPart, ...]
    """The first is the name of an attribute."""


@dataclass(frozen=True, slots=True)
class Value:
    """A placeholder for a value: ``:v``."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value of the request, in normal form."""

    value: AttributeValue


@dataclass(frozen=True, slots=True)
class Function:
    """A call: ``size(a)``; as a condition or as an operand."""

    name: str
    args: "tuple[Operand, ...]"


Operand: TypeAlias = Path | Value | Constant | Function


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands and one of ``= <> < <= > >=``."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Between:
    """``operand BETWEEN low AND high``, both ends included."""

    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class In:
    """``operand IN (choices)``."""

    operand: Operand
    choices: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more terms."""

    terms: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more terms."""

    terms: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of a term."""

    term: "Condition"


Condition: TypeAlias = Comparison | Between | In | And | Or | Not | Function


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left + right`` or ``left - right``, in SET only."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Set:
    """``path = value``."""

    path: Path
    value: Operand | Arithmetic


@dataclass(frozen=True, slots=True)
class Remove:
    """The path alone."""

    path: Path


@dataclass(frozen=True, slots=True)
class Add:
    """``path :value``: add a number, or elements to a set."""

    path: Path
    value: Value | Constant


@dataclass(frozen=True, slots=True)
class Delete:
    """``path :value``: take elements out of a set."""

    path: Path
    value: Value | Constant


Action: TypeAlias = Set | Remove | Add | Delete


@dataclass(frozen=True, slots=True)
class Section:
    """SET, REMOVE, ADD or DELETE with its actions."""

    keyword: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """A whole update expression."""

    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Projection:
    """A whole projection expression."""

    paths: tuple[Path, ...]
