"""Attribute values: checking, normal form, size.

A value has the shape that DynamoDB's JSON gives it: a dict with one member, named by the type:
``{"S": "text"}``, ``{"N": "3.14"}``, ``{"M": {"name": {...}}}``. The normal form is unique, so that
two values are equal exactly when their normal forms, printed with sorted keys, are equal bytes.
"""

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson

from antipodes.core import limits, shapes
from antipodes.core.errors import SerializationException, ValidationException

AttributeValue = dict[str, Any]
"""A value in DynamoDB's JSON shape."""
Attributes = dict[str, AttributeValue]
"""An item or a key in DynamoDB's JSON shape."""

_INVALID = "One or more parameter values were invalid: "
_NUMBER = re.compile(r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_PLAIN_INTEGER = re.compile(r"-?[1-9][0-9]{0,37}")


class Number(NamedTuple):
    """A number taken apart: ``0.DIGITS`` times ten to the power ``exponent + 1``."""

    negative: bool
    digits: str
    """Without leading and trailing zeros; empty for zero."""
    exponent: int
    """Decimal exponent of the leading digit."""


def parse_number(text: str) -> Number:
    """Take a number apart.

    Args:
        text: Decimal notation, with or without an exponent.

    Raises:
        ValidationException: Not a number, or outside DynamoDB's range or precision.

    Source: DynamoDB developer guide, "Data types", Number.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValidationException(
            f"The parameter cannot be converted to a numeric value: {text}"
            if text
            else "The parameter cannot be converted to a numeric value"
        )
    sign, whole, fraction, power = match.groups(default="")
    significant = (whole + fraction).lstrip("0")
    # The exponent's own text may be absurdly long; beyond eight digits only its sign matters.
    magnitude = power.lstrip("+-").lstrip("0")
    shift = int(magnitude or 0) if len(magnitude) <= 8 else 10**9
    if power.startswith("-"):
        shift = -shift
    exponent = len(significant) - 1 - len(fraction) + shift
    digits = significant.rstrip("0")
    if not digits:
        return Number(False, "", 0)
    if len(digits) > limits.NUMBER_DIGITS_MAX:
        raise ValidationException("Attempting to store more than 38 significant digits in a Number")
    if exponent > limits.NUMBER_EXPONENT_MAX:
        raise ValidationException(
            "Number overflow. Attempting to store a number with magnitude larger than supported"
            " range"
        )
    if exponent < limits.NUMBER_EXPONENT_MIN:
        raise ValidationException(
            "Number underflow. Attempting to store a number with magnitude smaller than supported"
            " range"
        )
    return Number(sign == "-", digits, exponent)


def normal_number(text: str) -> str:
    """Write a number as DynamoDB does: plain notation, no superfluous zeros, no plus sign.

    Raises:
        ValidationException: As for `parse_number`.
    """
    if _PLAIN_INTEGER.fullmatch(text):
        return text
    negative, digits, exponent = parse_number(text)
    if not digits:
        return "0"
    point = exponent + 1
    if point >= len(digits):
        plain = digits + "0" * (point - len(digits))
    elif point > 0:
        plain = f"{digits[:point]}.{digits[point:]}"
    else:
        plain = "0." + "0" * -point + digits
    return "-" + plain if negative else plain


def number_size(text: str) -> int:
    """Count the bytes that DynamoDB charges for a number: one for two digits, and one more."""
    negative, digits, exponent = parse_number(text)
    if not digits:
        return 1
    count = len(digits)
    return 1 + (count + 1) // 2 + (count % 2 == 0 and exponent % 2 == 0) + negative


def decode_binary(text: str) -> bytes:
    """Decode a binary value from base64.

    Raises:
        SerializationException: Not base64.
    """
    if len(text) % 4:
        raise SerializationException(
            f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(text)}"
        )
    try:
        return a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError) as error:
        raise SerializationException(
            "only base-64-encoded strings are convertible to bytes"
        ) from error


def _normal_string(value: object, _depth: int) -> tuple[str, int]:
    content = shapes.text(value)
    return content, len(content) if content.isascii() else len(content.encode())


def _normal_number(value: object, _depth: int) -> tuple[str, int]:
    number = normal_number(shapes.text(value))
    return number, number_size(number)


def _normal_binary(value: object, _depth: int) -> tuple[str, int]:
    raw = decode_binary(shapes.text(value))
    return b64encode(raw).decode(), len(raw)


def _normal_bool(value: object, _depth: int) -> tuple[bool, int]:
    return shapes.boolean(value), 1


def _normal_null(value: object, _depth: int) -> tuple[bool, int]:
    if not shapes.boolean(value):
        raise ValidationException(
            _INVALID + "Null attribute value types must have the value of true"
        )
    return True, 1


def _normal_string_set(value: object, _depth: int) -> tuple[list[str], int]:
    texts = [shapes.text(element) for element in shapes.elements(value)]
    if not texts:
        raise ValidationException(_INVALID + "An string set  may not be empty")
    distinct = sorted(set(texts))
    if len(distinct) != len(texts):
        raise ValidationException(
            f"{_INVALID}Input collection [{', '.join(texts)}] contains duplicates."
        )
    return distinct, sum(len(text.encode()) for text in texts)


def _normal_number_set(value: object, _depth: int) -> tuple[list[str], int]:
    numbers = [normal_number(shapes.text(element)) for element in shapes.elements(value)]
    if not numbers:
        raise ValidationException(_INVALID + "An number set  may not be empty")
    if len(set(numbers)) != len(numbers):
        raise ValidationException("Input collection contains duplicates")
    return sorted(numbers, key=number_order), sum(map(number_size, numbers))


def _normal_binary_set(value: object, _depth: int) -> tuple[list[str], int]:
    texts = [shapes.text(element) for element in shapes.elements(value)]
    if not texts:
        raise ValidationException(_INVALID + "Binary sets should not be empty")
    raws = sorted(decode_binary(text) for text in texts)
    if len(set(raws)) != len(raws):
        raise ValidationException(
            f"{_INVALID}Input collection [{', '.join(texts)}]of type BS contains duplicates."
        )
    return [b64encode(raw).decode() for raw in raws], sum(map(len, raws))


def _normal_list(value: object, depth: int) -> tuple[list[AttributeValue], int]:
    normal: list[AttributeValue] = []
    size = 3
    for element in shapes.elements(value):
        element_normal, element_size = normal_value(element, depth + 1)
        normal.append(element_normal)
        size += 1 + element_size
    return normal, size


def _normal_map(value: object, depth: int) -> tuple[Attributes, int]:
    normal: Attributes = {}
    size = 3
    for name, element in shapes.structure(value).items():
        element_normal, element_size = normal_value(element, depth + 1)
        normal[name] = element_normal
        size += 1 + len(name.encode()) + element_size
    return normal, size


_NORMAL: dict[str, Callable[[Any, int], tuple[Any, int]]] = {
    "S": _normal_string,
    "N": _normal_number,
    "B": _normal_binary,
    "SS": _normal_string_set,
    "NS": _normal_number_set,
    "BS": _normal_binary_set,
    "M": _normal_map,
    "L": _normal_list,
    "NULL": _normal_null,
    "BOOL": _normal_bool,
}


def normal_value(value: object, depth: int = 0) -> tuple[AttributeValue, int]:
    """Check a value and bring it into normal form.

    Args:
        value: Anything that came in as an attribute value.
        depth: How many maps and lists enclose it.

    Returns:
        The normal form, and the size in bytes that DynamoDB charges.

    Raises:
        ValidationException: Breaks a rule of the data model; texts as DynamoDB's.
        SerializationException: Not of the right JSON shape.
    """
    value = shapes.structure(value)
    if depth > limits.NESTING_DEPTH_MAX:
        raise ValidationException("Nesting Levels have exceeded supported limits")
    if len(value) != 1:
        types = [name for name in value if name in _NORMAL and value[name] is not None]
        if len(types) != 1:
            raise ValidationException(
                "Supplied AttributeValue has more than one datatypes set, must contain exactly"
                " one of the supported datatypes"
                if types
                else "Supplied AttributeValue is empty, must contain exactly one of the"
                " supported datatypes"
            )
        value = {types[0]: value[types[0]]}
    [(kind, content)] = value.items()
    normalise = _NORMAL.get(kind)
    if normalise is None or content is None:
        raise ValidationException(
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
        )
    normal, size = normalise(content, depth)
    return {kind: normal}, size


def normal_attributes(attributes: object) -> tuple[Attributes, int]:
    """Check the attributes of an item or a key and bring them into normal form.

    Returns:
        The normal form, and the size in bytes, names included.

    Raises:
        ValidationException: As for `normal_value`, or a name is empty or too long.
        SerializationException: As for `normal_value`.
    """
    normal: Attributes = {}
    total = 0
    for name, value in shapes.structure(attributes).items():
        normal[name], size = normal_value(value)
        name_size = len(name) if name.isascii() else len(name.encode())
        if not name_size:
            raise ValidationException("Empty attribute name")
        if name_size > limits.ATTRIBUTE_NAME_BYTES_MAX:
            raise ValidationException("Attribute name is too large, must be less than 65536 bytes")
        total += name_size + size
    return normal, total


def number_order(text: str) -> tuple[int, int, tuple[int, ...]]:
    """Give a sort key for numbers: compares as the numbers do."""
    negative, digits, exponent = parse_number(text)
    if not digits:
        return (0, 0, ())
    if not negative:
        return (1, exponent, tuple(map(ord, digits)))
    # A longer text is the greater magnitude, hence the smaller number: invert, and end high.
    return (-1, -exponent, (*(-ord(digit) for digit in digits), 1))


def print_attributes(attributes: Attributes) -> bytes:
    """Print attributes in normal form as the JSON that is stored, sent and compared."""
    return orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)


def parse_attributes(stored: bytes) -> Attributes:
    """Read what `print_attributes` printed."""
    attributes: Attributes = orjson.loads(stored)
    return attributes


def key_size(names: Iterable[str], parts: Iterable[bytes], kinds: Iterable[str]) -> int:
    """Count the bytes that a key is charged with, from its raw parts."""
    return sum(
        len(name.encode()) + (number_size(part.decode()) if kind == "N" else len(part))
        for name, part, kind in zip(names, parts, kinds, strict=True)
    )
