"""Native Python values to and from DynamoDB's JSON.

    str              S         set of str              SS
    int, Decimal     N         set of int, Decimal     NS
    bytes            B         set of bytes            BS
    bool             BOOL      list, tuple             L
    None             NULL      mapping                 M

Reading gives back the left side, with the exact number as an int when it is whole and as a Decimal
when it is not. Limits (38 digits, 400 KiB, 32 levels) are the node's to check.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson

from antipodes.core.errors import ValidationException

Item = dict[str, Any]
"""An item or a key in native values."""


def encode_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the attributes of an item or a key into DynamoDB's JSON shape.

    Args:
        attributes: Native values by attribute name.

    Raises:
        TypeError: A value has a type that DynamoDB does not know; the message names the attribute.
        ValidationException: An empty set, or a number that is not finite.
    """
    encoded: dict[str, Any] = {}
    for name, value in attributes.items():
        kind = type(value)
        if kind is str:
            encoded[name] = {"S": value}
        elif kind is int:
            encoded[name] = {"N": str(value)}
        else:
            try:
                encoded[name] = encode_value(value)
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
    return encoded


def encode_value(value: object) -> dict[str, Any]:
    """Turn one native value into DynamoDB's JSON shape.

    Raises:
        TypeError: Of a type that DynamoDB does not know.
        ValidationException: An empty set, or a number that is not finite.
    """
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value)
    # Subclasses, for example of dict or IntEnum, and other mappings.
    for kind, encoder in _FALLBACKS:
        if isinstance(value, kind):
            return encoder(value)
    if isinstance(value, float):
        raise TypeError(
            f"a float is not exact and cannot be stored; use decimal.Decimal({str(value)!r})"
        )
    raise TypeError(f"{type(value).__name__} is not a type that can be stored")


def decode_attributes(attributes: Mapping[str, Any]) -> Item:
    """Turn DynamoDB's JSON shape into native values by attribute name."""
    decoded: Item = {}
    for name, value in attributes.items():
        [(kind, content)] = value.items()
        if kind == "S":
            decoded[name] = content
        else:
            decoded[name] = _DECODERS[kind](content)
    return decoded


def decode_value(value: Mapping[str, Any]) -> Any:
    """Turn one value in DynamoDB's JSON shape into a native one."""
    [(kind, content)] = value.items()
    return _DECODERS[kind](content)


def print_attributes(attributes: Mapping[str, Any]) -> bytes:
    """Print native attributes as DynamoDB's JSON.

    Raises:
        TypeError: As `encode_attributes`; also a name that is not a text.
        ValidationException: As `encode_attributes`.
    """
    return orjson.dumps(encode_attributes(attributes))


def _encode_string(value: str) -> dict[str, Any]:
    return {"S": value}


def _encode_int(value: int) -> dict[str, Any]:
    return {"N": str(int(value))}


def _encode_decimal(value: Decimal) -> dict[str, Any]:
    return {"N": _decimal_text(value)}


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        raise ValidationException(f"{value} cannot be stored: a number must be finite")
    return str(value)


def _encode_binary(value: bytes | bytearray) -> dict[str, Any]:
    return {"B": b2a_base64(value, newline=False).decode()}


def _encode_bool(value: bool) -> dict[str, Any]:
    return {"BOOL": value}


def _encode_none(_: None) -> dict[str, Any]:
    return {"NULL": True}


def _encode_list(value: Iterable[Any]) -> dict[str, Any]:
    return {"L": [encode_value(element) for element in value]}


def _encode_map(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"M": encode_attributes(value)}


def _encode_set(value: frozenset[Any] | set[Any]) -> dict[str, Any]:
    if not value:
        raise ValidationException(
            "One or more parameter values were invalid: a set may not be empty"
        )
    if all(isinstance(element, str) for element in value):
        return {"SS": list(value)}
    if all(isinstance(element, bytes) for element in value):
        return {"BS": [b2a_base64(element, newline=False).decode() for element in value]}
    if all(isinstance(element, int | Decimal) and type(element) is not bool for element in value):
        return {"NS": [encode_value(element)["N"] for element in value]}
    kinds = ", ".join(sorted({type(element).__name__ for element in value}))
    raise TypeError(
        f"a set holds texts, or numbers (int, Decimal), or bytes, and no mixture; this has {kinds}"
    )


_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    str: _encode_string,
    int: _encode_int,
    Decimal: _encode_decimal,
    bytes: _encode_binary,
    bytearray: _encode_binary,
    bool: _encode_bool,
    type(None): _encode_none,
    set: _encode_set,
    frozenset: _encode_set,
    list: _encode_list,
    tuple: _encode_list,
    dict: _encode_map,
}

_FALLBACKS: tuple[tuple[type, Callable[[Any], dict[str, Any]]], ...] = (
    *((kind, encoder) for kind, encoder in _ENCODERS.items() if kind is not bool),
    (Mapping, _encode_map),
)


def _decode_number(text: str) -> int | Decimal:
    if "." not in text:
        try:
            return int(text)
        except ValueError:
            pass  # With an exponent.
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else number


def _decode_as_is(content: Any) -> Any:
    return content


def _decode_null(_: object) -> None:
    return None


def _decode_list(content: list[Any]) -> list[Any]:
    return [decode_value(element) for element in content]


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "S": _decode_as_is,
    "N": _decode_number,
    "B": a2b_base64,
    "BOOL": _decode_as_is,
    "NULL": _decode_null,
    "SS": set,
    "NS": lambda content: {_decode_number(text) for text in content},
    "BS": lambda content: {a2b_base64(text) for text in content},
    "L": _decode_list,
    "M": decode_attributes,
}
