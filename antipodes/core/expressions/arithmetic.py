"""Adding numbers and sets: exact, in normal form, within DynamoDB's range."""

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

from antipodes.core import limits
from antipodes.core.attributes import decode_binary, normal_number, number_order
from antipodes.core.errors import ValidationException

# Wide enough for the exact sum of any two numbers: from 1E+125 down to the 38th digit of 1E-130.
_EXACT = Context(prec=400)
_SHORT = 18
"""So many characters, and both numbers whole: their sum is in range."""


def add_numbers(left: str, right: str, *, subtract: bool = False) -> str:
    """Add two numbers, or subtract the second from the first.

    Args:
        left: In normal notation.
        right: Likewise.
        subtract: Give the difference.

    Raises:
        ValidationException: The result has too great or too small a magnitude, or more than 38
            digits, which DynamoDB calls an overflow too.

    Source: Scylla's test_number.py, run against DynamoDB.
    """
    if len(left) <= _SHORT and len(right) <= _SHORT and "." not in left and "." not in right:
        return str(int(left) - int(right) if subtract else int(left) + int(right))
    one, other = Decimal(left), Decimal(right)
    result = _EXACT.subtract(one, other) if subtract else _EXACT.add(one, other)
    if len(result.normalize(_EXACT).as_tuple().digits) > limits.NUMBER_DIGITS_MAX:
        raise ValidationException(
            "Number overflow. Attempting to store a number with magnitude larger than supported"
            " range"
        )
    return normal_number(f"{result:f}")


def add_sets(kind: str, left: list[str], right: list[str]) -> list[str]:
    """Unite two sets of one type.

    Args:
        kind: SS, NS or BS.
        left: Elements in normal form.
        right: Likewise.
    """
    return sorted({*left, *right}, key=_ORDER[kind])


def subtract_sets(left: list[str], right: list[str]) -> list[str]:
    """Give the elements of one set that are not in another of the same type."""
    return [element for element in left if element not in right]


def _text_order(element: str) -> str:
    return element


_ORDER: dict[str, Callable[[str], Any]] = {
    "SS": _text_order,
    "NS": number_order,
    "BS": decode_binary,
}
