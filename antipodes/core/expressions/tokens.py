"""Cutting an expression into tokens, and saying where one does not fit."""

import re
from typing import NoReturn

from antipodes.core.errors import ValidationException

KEYWORDS = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"})
"""Words of the grammar in every kind of expression, in any case; never names."""

WORD = "word"
NAME = "#"
"""Placeholder for an attribute name."""
VALUE = ":"
"""Placeholder for a value."""
INDEX = "0"
UNKNOWN = "?"
"""A character that no expression may contain."""
END = ""

# A word begins with a letter, a number has no leading zero; all else is a character by itself.
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_]*|[#:][A-Za-z0-9_]+|0|[1-9][0-9]*|<>|<=|>=|[^ \t\r\n]")
_PUNCTUATION = frozenset({"=", "<>", "<", "<=", ">", ">=", "(", ")", "[", "]", ",", ".", "+", "-"})
_DIGITS = frozenset("0123456789")


def cut(text: str) -> tuple[list[str], list[str]]:
    """Cut an expression into tokens.

    Returns:
        The tokens as written with ``<EOF>`` at the end, and for each its kind: punctuation and
        keywords (in upper case) stand for themselves.
    """
    tokens: list[str] = _TOKEN.findall(text)
    kinds: list[str] = []
    for token in tokens:
        first = token[0]
        if token in _PUNCTUATION:
            kinds.append(token)
        elif first == "#" or first == ":":
            kinds.append(first if len(token) > 1 else UNKNOWN)
        elif first in _DIGITS:
            kinds.append(INDEX)
        elif first.isascii() and first.isalpha():
            upper = token.upper()
            kinds.append(upper if upper in KEYWORDS else WORD)
        else:
            kinds.append(UNKNOWN)
    tokens.append("<EOF>")
    kinds.append(END)
    return tokens, kinds


def reject_token(kind: str, text: str, index: int) -> NoReturn:
    """Complain about one token, with the text from the token before it to the one after it.

    Args:
        kind: The request's parameter, for example ``FilterExpression``.
        text: The expression.
        index: Of the token.

    Raises:
        ValidationException: Always.
    """
    spans = [match.span() for match in _TOKEN.finditer(text)]
    token = text[slice(*spans[index])] if index < len(spans) else "<EOF>"
    start = spans[max(index - 1, 0)][0]
    end = spans[min(index + 1, len(spans) - 1)][1]
    reject(kind, f'Syntax error; token: "{token}", near: "{text[start:end]}"')


def reject(kind: str, message: str) -> NoReturn:
    """Complain about an expression.

    Raises:
        ValidationException: Always.
    """
    raise ValidationException(f"Invalid {kind}: {message}")
