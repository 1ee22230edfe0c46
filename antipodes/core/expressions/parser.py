"""One grammar for all expressions; parsed expressions are kept, placeholders and all.

Conditions are read with a stack of our own, so that nesting costs no recursion; only calls inside
calls recurse. Everything that the text alone shows to be wrong is reported here, in DynamoDB's
order: syntax and redundant parentheses at once, then functions, places of functions and reserved
words (an update: reserved words first), then sections used twice and the number of operators.
Source: dynalite's tests, recorded against DynamoDB.
"""

from functools import lru_cache
from typing import NoReturn

from antipodes.core.expressions.ast import (
    Action,
    Add,
    And,
    Arithmetic,
    Between,
    Comparison,
    Condition,
    Delete,
    Function,
    In,
    Not,
    Operand,
    Or,
    Path,
    PathPart,
    Projection,
    Remove,
    Section,
    Set,
    Update,
    Value,
)
from antipodes.core.expressions.operands import CONDITION_FUNCTIONS, UPDATE_FUNCTIONS
from antipodes.core.expressions.tokens import (
    END,
    INDEX,
    NAME,
    VALUE,
    WORD,
    cut,
    reject,
    reject_token,
)
from antipodes.core.reserved_words import RESERVED_WORDS

EXPRESSION_BYTES_MAX = 4096
"""Of one expression as written. Source: developer guide, "Constraints in Amazon DynamoDB"."""
OPERATORS_MAX = 300
"""Operators and functions of one expression. Source: as above."""
LIST_INDEX_MAX = 2**31 - 1
PARSED_KEPT = 512
"""Parsed expressions kept of each kind; one takes some tens of KiB at most."""

_COMPARATORS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_SECTIONS = frozenset({"SET", "REMOVE", "ADD", "DELETE"})
_REDUNDANT = "The expression has redundant parentheses;"
_MISPLACED = "The function is not allowed to be used this way in an expression; function: "
_CALL_DEPTH_MAX = 250
"""Deeper calls cannot be right: in 4 KiB at most 240 of them fit with operands that make sense."""


@lru_cache(maxsize=PARSED_KEPT)
def parse_condition(kind: str, text: str) -> Condition:
    """Parse a condition, filter or key condition expression.

    Args:
        kind: The request's parameter, for example ``FilterExpression``.
        text: The expression.

    Raises:
        ValidationException: It is wrong whatever the placeholders stand for.
    """
    parser = _Parser(kind, text)
    condition = parser.condition()
    parser.report(parser.unknown, parser.misplaced, parser.reserved, parser.beyond)
    return condition


@lru_cache(maxsize=PARSED_KEPT)
def parse_update(text: str) -> Update:
    """Parse an update expression.

    Raises:
        ValidationException: It is wrong whatever the placeholders stand for.
    """
    parser = _Parser("UpdateExpression", text)
    update = parser.update()
    twice: str | None = None
    keywords = [section.keyword for section in update.sections]
    for index, keyword in enumerate(keywords):
        if keyword in keywords[:index]:
            twice = f'The "{keyword}" section can only be used once in an update expression;'
            break
    parser.report(parser.reserved, parser.unknown, parser.misplaced, parser.beyond, twice)
    return update


@lru_cache(maxsize=PARSED_KEPT)
def parse_projection(text: str) -> Projection:
    """Parse a projection expression.

    Raises:
        ValidationException: It is wrong whatever the placeholders stand for.
    """
    parser = _Parser("ProjectionExpression", text)
    projection = parser.projection()
    parser.report(parser.reserved, parser.beyond)
    return projection


class _Frame:
    """What stands between a pair of parentheses, or in the whole expression, so far."""

    __slots__ = ("alternatives", "nots", "opened", "terms")

    def __init__(self, opened: int) -> None:
        self.opened = opened
        self.nots = 0
        self.terms: list[Condition] = []
        self.alternatives: list[Condition] = []

    def empty(self) -> bool:
        return not (self.nots or self.terms or self.alternatives)

    def take(self, term: Condition) -> None:
        while self.nots:
            term = Not(term)
            self.nots -= 1
        self.terms.append(term)

    def turn(self) -> None:
        """Begin the next alternative."""
        self.alternatives.append(self.terms[0] if len(self.terms) == 1 else And(tuple(self.terms)))
        self.terms = []

    def finish(self) -> Condition:
        self.turn()
        found = self.alternatives
        return found[0] if len(found) == 1 else Or(tuple(found))


class _Parser:
    __slots__ = (
        "_at",
        "_group",
        "_in_update",
        "_kind",
        "_kinds",
        "_operators",
        "_text",
        "_tokens",
        "beyond",
        "misplaced",
        "reserved",
        "unknown",
    )

    def __init__(self, kind: str, text: str) -> None:
        size = len(text) if text.isascii() else len(text.encode())
        if size > EXPRESSION_BYTES_MAX:
            reject(
                kind,
                f"Expression size has exceeded the maximum allowed size; expression size: {size}",
            )
        if not text.strip():
            reject(kind, "The expression can not be empty;")
        self._kind = kind
        self._text = text
        self._tokens, self._kinds = cut(text)
        self._at = 0
        self._group = (-1, -1)  # The last pair of parentheses that was closed.
        self._in_update = kind == "UpdateExpression"
        self._operators = 0
        # The first complaint of each class; what is reported depends on the kind of expression.
        self.unknown: str | None = None
        self.misplaced: str | None = None
        self.reserved: str | None = None
        self.beyond: str | None = None

    def report(self, *complaints: str | None) -> None:
        """Raise the first of the complaints, if there is one."""
        for complaint in complaints:
            if complaint is not None:
                reject(self._kind, complaint)
        if self._operators > OPERATORS_MAX:
            # Counting stops at the limit.
            reject(
                self._kind,
                f"The expression contains too many operators; operator count: {OPERATORS_MAX + 1}",
            )

    def condition(self) -> Condition:
        """Read a whole condition."""
        kinds = self._kinds
        frames: list[_Frame] = []
        frame = _Frame(-1)
        while True:
            kind = kinds[self._at]
            if kind == "NOT":
                self._at += 1
                self._operators += 1
                frame.nots += 1
                continue
            if kind == "(":
                frames.append(frame)
                frame = _Frame(self._at)
                self._at += 1
                continue
            operand = self._operand()
            while kinds[self._at] == ")" and frames and frame.empty():
                # What looked like a condition in parentheses is an operand.
                self._close(frame.opened)
                frame = frames.pop()
                if type(operand) is Path:
                    operand = self._steps(operand)
            term = self._primitive(operand)
            while True:
                frame.take(term)
                kind = kinds[self._at]
                if kind == "AND" or kind == "OR":
                    self._at += 1
                    self._operators += 1
                    if kind == "OR":
                        frame.turn()
                    break
                if kind == ")" and frames:
                    term = frame.finish()
                    self._close(frame.opened)
                    frame = frames.pop()
                    continue
                if kind == END and not frames:
                    return frame.finish()
                self._reject_token()

    def update(self) -> Update:
        """Read a whole update."""
        sections: list[Section] = []
        while True:
            keyword = self._kinds[self._at]
            if keyword not in _SECTIONS:
                self._reject_token()
            self._at += 1
            actions = [self._action(keyword)]
            while self._kinds[self._at] == ",":
                self._at += 1
                actions.append(self._action(keyword))
            sections.append(Section(keyword, tuple(actions)))
            if self._kinds[self._at] == END:
                return Update(tuple(sections))

    def projection(self) -> Projection:
        """Read a whole projection."""
        paths = [self._path()]
        while self._kinds[self._at] == ",":
            self._at += 1
            paths.append(self._path())
        self._expect(END)
        return Projection(tuple(paths))

    def _primitive(self, operand: Operand) -> Condition:
        """Read on after the first operand of a condition."""
        kind = self._kinds[self._at]
        if kind in _COMPARATORS:
            self._step_in(operand)
            right = self._operand()
            self._misplace(right)
            return Comparison(kind, operand, right)
        if kind == "BETWEEN":
            self._step_in(operand)
            low = self._operand()
            self._misplace(low)
            self._expect("AND")
            high = self._operand()
            self._misplace(high)
            return Between(operand, low, high)
        if kind == "IN":
            self._step_in(operand)
            self._expect("(")
            choices = [self._operand()]
            while self._kinds[self._at] == ",":
                self._at += 1
                choices.append(self._operand())
            self._expect(")")
            for choice in choices:
                self._misplace(choice)
            return In(operand, tuple(choices))
        if type(operand) is not Function:
            self._reject_token()
        if operand.name == "size" and self.misplaced is None:
            self.misplaced = _MISPLACED + "size"
        return operand

    def _step_in(self, operand: Operand) -> None:
        self._at += 1
        self._operators += 1
        self._misplace(operand)

    def _misplace(self, operand: Operand) -> None:
        """Note a function that stands where a value is wanted and is not one."""
        if type(operand) is Function and self.misplaced is None:
            allowed = "if_not_exists" if self._in_update else "size"
            if operand.name != allowed:
                self.misplaced = _MISPLACED + operand.name

    def _action(self, keyword: str) -> Action:
        path = self._path()
        if keyword == "REMOVE":
            return Remove(path)
        if keyword == "SET":
            self._expect("=")
            return Set(path, self._set_value())
        name = self._tokens[self._at]
        self._expect(VALUE)
        return Add(path, Value(name)) if keyword == "ADD" else Delete(path, Value(name))

    def _set_value(self, depth: int = 0) -> Operand | Arithmetic:
        left: Operand | Arithmetic
        if self._kinds[self._at] == "(":
            if depth > _CALL_DEPTH_MAX:
                reject(self._kind, _REDUNDANT)
            opened = self._at
            self._at += 1
            left = self._set_value(depth + 1)
            self._close(opened)
            if isinstance(left, Arithmetic):
                return left
        else:
            left = self._operand()
        operator = self._kinds[self._at]
        if operator != "+" and operator != "-":
            return left
        self._at += 1
        self._operators += 1
        return Arithmetic(operator, left, self._operand())

    def _operand(self, depth: int = 0) -> Operand:
        """Read a value, a path or a call, and parentheses around it."""
        kinds = self._kinds
        first = self._at
        while kinds[self._at] == "(":
            self._at += 1
        opened = self._at - first
        kind = kinds[self._at]
        found: Operand
        if kind == VALUE:
            found = Value(self._tokens[self._at])
            self._at += 1
        elif kind == WORD and kinds[self._at + 1] == "(":
            name = self._tokens[self._at]
            self._note_function(name)
            if depth > _CALL_DEPTH_MAX:
                self._operators = OPERATORS_MAX + 1
                self.report(self.unknown, self.misplaced)
            self._at += 2
            args = [self._operand(depth + 1)]
            while kinds[self._at] == ",":
                self._at += 1
                args.append(self._operand(depth + 1))
            self._expect(")")
            for arg in args:
                # A path is wanted there; that is another complaint.
                self._misplace(arg)
            found = Function(name, tuple(args))
        else:
            found = self._path()
        for index in range(opened - 1, -1, -1):
            self._close(first + index)
            if type(found) is Path and not self._in_update:
                found = self._steps(found)
        return found

    def _note_function(self, name: str) -> None:
        self._operators += 1
        here, there = CONDITION_FUNCTIONS, UPDATE_FUNCTIONS
        place = "a condition"
        if self._in_update:
            here, there = there, here
            place = "an update"
        if name in here:
            return
        if name in there:
            if self.misplaced is None:
                self.misplaced = (
                    f"The function is not allowed in {place} expression; function: {name}"
                )
        elif self.unknown is None:
            self.unknown = f"Invalid function name; function: {name}"

    def _path(self) -> Path:
        part = self._part()
        kind = self._kinds[self._at]
        if kind == "." or kind == "[":
            return self._steps(Path((part,)))
        return Path((part,))

    def _part(self) -> str:
        kind = self._kinds[self._at]
        part = self._tokens[self._at]
        if kind == WORD:
            if self.reserved is None and part.upper() in RESERVED_WORDS:
                self.reserved = f"Attribute name is a reserved keyword; reserved keyword: {part}"
        elif kind != NAME:
            self._reject_token()
        self._at += 1
        return part

    def _steps(self, path: Path) -> Path:
        """Read on where a path has begun."""
        parts: list[PathPart] = list(path.parts)
        while True:
            kind = self._kinds[self._at]
            if kind == ".":
                self._at += 1
                parts.append(self._part())
            elif kind == "[":
                self._at += 1
                index = self._tokens[self._at]
                self._expect(INDEX)
                self._expect("]")
                number = int(index)
                parts.append(number)
                if number > LIST_INDEX_MAX and self.beyond is None:
                    self.beyond = f"List index is not within the allowable range; index: [{index}]"
            else:
                return path if len(parts) == len(path.parts) else Path(tuple(parts))

    def _close(self, opened: int) -> None:
        """Read the parenthesis that belongs to an opened one."""
        self._expect(")")
        closed = self._at - 1
        if self._group == (opened + 1, closed - 1):
            reject(self._kind, _REDUNDANT)
        self._group = (opened, closed)

    def _expect(self, kind: str) -> None:
        if self._kinds[self._at] != kind:
            self._reject_token()
        self._at += 1

    def _reject_token(self) -> NoReturn:
        reject_token(self._kind, self._text, self._at)
