"""The order of values: numbers by value, strings and binary by bytes, nothing else."""

from binascii import a2b_base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from antipodes.core.attributes import AttributeValue


def _same(text: str) -> str:
    # Python orders strings by code points, which is the order of their bytes in UTF-8.
    return text


SORT_KEYS: dict[str, Callable[[str], Any]] = {"S": _same, "N": Decimal, "B": a2b_base64}
"""For each type that has an order: from its content to something that Python orders alike."""


def sortable(value: AttributeValue) -> tuple[str, Any] | None:
    """Give the type of a value and something that orders it; None where there is no order."""
    [(kind, content)] = value.items()
    convert = SORT_KEYS.get(kind)
    return None if convert is None else (kind, convert(content))
