"""Putting the request's names and values in the place of placeholders, and checking the result.

A condition is checked one primitive condition after the other, in the order of the text, and each
in this order: undefined placeholders, numbers of operands, equal operands, types of operands. An
update is checked as a whole: undefined names, undefined values, overlapping paths, operands of ADD
and DELETE, functions. Source: dynalite's tests, recorded against DynamoDB.
"""

from collections.abc import Iterator

from antipodes.core import limits
from antipodes.core.attributes import AttributeValue
from antipodes.core.expressions.ast import (
    Action,
    Add,
    And,
    Arithmetic,
    Between,
    Comparison,
    Condition,
    Constant,
    Function,
    In,
    Not,
    Operand,
    Or,
    Path,
    Projection,
    Remove,
    Set,
    Update,
    Value,
)
from antipodes.core.expressions.operands import (
    CONDITION_FUNCTIONS,
    UPDATE_FUNCTIONS,
    check_bounds,
    check_function,
    check_operator,
)
from antipodes.core.expressions.paths import PathTree, path_tree, show_path
from antipodes.core.expressions.placeholders import Placeholders
from antipodes.core.expressions.tokens import reject

IN_OPERANDS_MAX = 100
"""Choices of one IN. Source: developer guide, "Constraints in Amazon DynamoDB"."""

_LONG_TYPES = {
    "S": "STRING",
    "N": "NUMBER",
    "B": "BINARY",
    "NULL": "NULL",
    "BOOL": "BOOLEAN",
    "L": "LIST",
    "M": "MAP",
}


class Binder:
    """Binds the expressions of one parameter of one request."""

    __slots__ = ("_kind", "_placeholders", "heads", "nested")

    def __init__(self, kind: str, placeholders: Placeholders) -> None:
        self._kind = kind
        self._placeholders = placeholders
        self.heads: dict[str, None] = {}
        """Attributes that the expression names, in the order of the text."""
        self.nested: dict[str, None] = {}
        """Those of them into which it looks."""

    def condition(self, condition: Condition) -> Condition:
        """Bind a condition and check its operands.

        Raises:
            ValidationException: A placeholder or an operand is wrong.
        """
        match condition:
            case And(terms):
                return And(tuple([self.condition(term) for term in terms]))
            case Or(terms):
                return Or(tuple([self.condition(term) for term in terms]))
            case Not(term):
                return Not(self.condition(term))
            case Comparison(operator, left, right):
                return self._comparison(
                    Comparison(operator, self._operand(left), self._operand(right))
                )
            case Between(operand, low, high):
                return self._between(
                    Between(self._operand(operand), self._operand(low), self._operand(high))
                )
            case In(operand, choices):
                return self._in(
                    In(
                        self._operand(operand),
                        tuple([self._operand(choice) for choice in choices]),
                    )
                )
            case Function():
                bound = self._operand(condition)
                assert isinstance(bound, Function)
                self._check_functions(bound)
                return bound

    def update(self, update: Update) -> tuple[tuple[Action, ...], PathTree]:
        """Bind an update and check it.

        Returns:
            The actions in the order of the text, and their paths.

        Raises:
            ValidationException: A placeholder, a path or an operand is wrong.
        """
        actions = [action for section in update.sections for action in section.actions]
        self._check_names(actions)
        bound = tuple([self._action(action) for action in actions])
        tree = path_tree(self._kind, [action.path for action in bound])
        for action in bound:
            if not isinstance(action, Set | Remove):
                self._check_element(action)
        for action in bound:
            if isinstance(action, Set):
                self._check_set(action)
        return bound, tree

    def projection(self, projection: Projection) -> PathTree:
        """Bind a projection.

        Raises:
            ValidationException: A placeholder or a path is wrong.
        """
        return path_tree(self._kind, [self._path(path) for path in projection.paths])

    def _path(self, path: Path) -> Path:
        kind, placeholders = self._kind, self._placeholders
        parts = path.parts
        if any(isinstance(part, str) and part[0] == "#" for part in parts):
            parts = tuple(
                [
                    placeholders.name(kind, part)
                    if isinstance(part, str) and part[0] == "#"
                    else part
                    for part in parts
                ]
            )
            path = Path(parts)
        head = parts[0]
        assert isinstance(head, str), "a path begins with a name"
        self.heads[head] = None
        if len(parts) > 1:
            self.nested[head] = None
            if len(parts) > limits.NESTING_DEPTH_MAX:
                reject(
                    kind,
                    f"The document path has too many nesting levels; nesting levels: {len(parts)}",
                )
        return path

    def _operand(self, operand: Operand) -> Operand:
        match operand:
            case Path():
                return self._path(operand)
            case Value(name):
                return Constant(self._placeholders.value(self._kind, name))
            case Function(name, args):
                return Function(name, tuple([self._operand(arg) for arg in args]))
            case Constant():
                return operand

    def _comparison(self, bound: Comparison) -> Comparison:
        operator, left, right = bound.operator, bound.left, bound.right
        self._check_functions(left, right)
        self._check_distinct(operator, left, (right,))
        if operator not in ("=", "<>"):
            check_operator(self._kind, operator, (left, right))
        return bound

    def _between(self, bound: Between) -> Between:
        operands = (bound.operand, bound.low, bound.high)
        self._check_functions(*operands)
        self._check_distinct("BETWEEN", bound.operand, operands[1:])
        check_operator(self._kind, "BETWEEN", operands)
        check_bounds(self._kind, bound.low, bound.high)
        return bound

    def _in(self, bound: In) -> In:
        count = len(bound.choices)
        if count > IN_OPERANDS_MAX:
            reject(
                self._kind,
                f"The IN operator is provided with too many operands; number of operands: {count}",
            )
        self._check_functions(bound.operand, *bound.choices)
        self._check_distinct("IN", bound.operand, bound.choices)
        return bound

    def _check_functions(self, *operands: Operand) -> None:
        """Check calls, the inner before the outer: their numbers of operands first."""
        calls = [call for operand in operands for call in _calls(operand)]
        for call in calls:
            self._check_count(call)
        for call in calls:
            if len(call.args) > 1:
                self._check_distinct(call.name, call.args[0], call.args[1:])
        for call in calls:
            check_function(self._kind, call)

    def _check_count(self, call: Function) -> None:
        wanted = CONDITION_FUNCTIONS.get(call.name) or UPDATE_FUNCTIONS[call.name]
        if len(call.args) != wanted:
            reject(
                self._kind,
                "Incorrect number of operands for operator or function;"
                f" operator or function: {call.name}, number of operands: {len(call.args)}",
            )

    def _check_distinct(self, operator: str, first: Operand, rest: tuple[Operand, ...]) -> None:
        if isinstance(first, Path) and first in rest:
            reject(
                self._kind,
                "The first operand must be distinct from the remaining operands for this"
                f" operator or function; operator: {operator},"
                f" first operand: {show_path(first)}",
            )

    def _check_names(self, actions: list[Action]) -> None:
        """Check that all names of an update are defined, before any of its values."""
        for action in actions:
            self._path(action.path)
            if isinstance(action, Set):
                for operand in _leaves(action.value):
                    if isinstance(operand, Path):
                        self._path(operand)

    def _action(self, action: Action) -> Action:
        path = self._path(action.path)
        match action:
            case Remove():
                return Remove(path)
            case Set(_, Arithmetic(operator, left, right)):
                return Set(path, Arithmetic(operator, self._operand(left), self._operand(right)))
            case Set(_, value):
                assert not isinstance(value, Arithmetic)
                return Set(path, self._operand(value))
            case _:
                element = self._operand(action.value)
                assert isinstance(element, Constant)
                return type(action)(path, element)

    def _check_element(self, action: Action) -> None:
        assert not isinstance(action, Set | Remove)
        assert isinstance(action.value, Constant)
        operator = "ADD" if isinstance(action, Add) else "DELETE"
        found = kind_of(action.value.value)
        if found in _LONG_TYPES and not (operator == "ADD" and found == "N"):
            reject(
                self._kind,
                "Incorrect operand type for operator or function;"
                f" operator: {operator}, operand type: {_LONG_TYPES[found]}",
            )

    def _check_set(self, action: Set) -> None:
        value = action.value
        operands = (value.left, value.right) if isinstance(value, Arithmetic) else (value,)
        for operand in operands:
            for call in _calls(operand):
                self._check_count(call)
                check_function(self._kind, call)
        if isinstance(value, Arithmetic):
            check_operator(self._kind, value.operator, operands, allowed=("N",))


def kind_of(value: AttributeValue) -> str:
    """Give the type of a value in normal form."""
    return next(iter(value))


def _calls(operand: Operand) -> Iterator[Function]:
    """Find all calls in an operand, the inner before the outer."""
    if isinstance(operand, Function):
        for arg in operand.args:
            if isinstance(arg, Function):
                yield from _calls(arg)
        yield operand


def _leaves(value: Operand | Arithmetic) -> Iterator[Operand]:
    if isinstance(value, Arithmetic):
        yield from _leaves(value.left)
        yield from _leaves(value.right)
    elif isinstance(value, Function):
        for arg in value.args:
            yield from _leaves(arg)
    else:
        yield value
