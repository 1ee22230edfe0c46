"""Capacity units: what DynamoDB would have charged.

Source: developer guide, "DynamoDB read and write operations".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from antipodes.core.limits import KIB
from antipodes_node.service.requests import Request

_READ_UNIT = 4 * KIB
_WRITE_UNIT = KIB


def write_units(size_before: int, size_after: int) -> float:
    """Charge a write: the greater of the item before and after, in steps of 1 KiB, at least 1."""
    return float(max(1, -(-max(size_before, size_after) // _WRITE_UNIT)))


def read_units(size: int, consistent: bool) -> float:
    """Charge a read: in steps of 4 KiB, at least one; half when eventually consistent."""
    return max(1, -(-size // _READ_UNIT)) * (1.0 if consistent else 0.5)


def wants_capacity(request: Request) -> bool:
    """Tell whether the answer reports capacity."""
    return (request.get("ReturnConsumedCapacity") or "NONE") != "NONE"


def describe_capacity(request: Request, table_name: str, units: float) -> dict[str, Any]:
    """Report the capacity that one table was charged."""
    report: dict[str, Any] = {"TableName": table_name, "CapacityUnits": units}
    if request.get("ReturnConsumedCapacity") == "INDEXES":
        report["Table"] = {"CapacityUnits": units}
    return report


def print_members(members: Mapping[str, Any]) -> bytes:
    """Print an answer whose values are JSON shapes, or bytes that are printed already."""
    return orjson.dumps(
        {
            name: orjson.Fragment(value) if isinstance(value, bytes) else value
            for name, value in members.items()
        }
    )
