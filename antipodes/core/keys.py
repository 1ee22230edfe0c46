"""Primary keys, and the bytes under which LMDB finds them.

LMDB's keys end at 511 bytes, DynamoDB's at 2,048 + 1,024. An item is therefore stored under

    table number (4) | hash of partition key (16) | sort prefix (<= 400) | hash of sort key (16)

The sort prefix preserves the order of sort keys (strings and binary by their bytes, numbers by
value) and is cut at 400 bytes; items whose prefixes are cut and equal form a run that readers sort
by the full sort key. The full key stands in the record and is compared after each lookup.
"""

from base64 import b64encode
from hashlib import blake2b
from typing import NamedTuple

from antipodes.core import limits
from antipodes.core.attributes import (
    Attributes,
    AttributeValue,
    decode_binary,
    parse_number,
    print_attributes,
)
from antipodes.core.errors import ValidationException

SORT_PREFIX_BYTES_MAX = 400
HASH_BYTES = 16
TABLE_NUMBER_BYTES = 4
SORT_PREFIX_START = TABLE_NUMBER_BYTES + HASH_BYTES

_MISMATCH = "The provided key element does not match the schema"


class KeyAttribute(NamedTuple):
    """One attribute of a primary key."""

    name: str
    kind: str
    """S, N or B."""


class ItemKey(NamedTuple):
    """A primary key as raw bytes: strings in UTF-8, numbers in normal notation, binary as it is."""

    partition: bytes
    sort: bytes
    """Empty where the table has no sort key."""


class KeySchema(NamedTuple):
    """The primary key of a table."""

    partition: KeyAttribute
    sort: KeyAttribute | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the key attributes, partition key first."""
        return tuple(attribute.name for attribute in _attributes(self))


def key_of_item(schema: KeySchema, item: Attributes) -> ItemKey:
    """Take the primary key out of an item in normal form.

    Raises:
        ValidationException: A key attribute is missing, of the wrong type, empty or too long.
    """
    parts: list[bytes] = []
    for attribute in _attributes(schema):
        value = item.get(attribute.name)
        if value is None:
            raise ValidationException(
                "One or more parameter values were invalid:"
                f" Missing the key {attribute.name} in the item"
            )
        if attribute.kind not in value:
            raise ValidationException(
                "One or more parameter values were invalid: Type mismatch for key"
                f" {attribute.name} expected: {attribute.kind} actual: {next(iter(value))}"
            )
        parts.append(_raw(attribute, value))
    return _sized(parts)


def key_of_attributes(schema: KeySchema, key: Attributes) -> ItemKey:
    """Read a primary key given by itself, in normal form.

    Raises:
        ValidationException: Not exactly the table's key attributes, or one is empty or too long.
    """
    attributes = _attributes(schema)
    if len(key) != len(attributes):
        raise ValidationException(_MISMATCH)
    parts: list[bytes] = []
    for attribute in attributes:
        value = key.get(attribute.name)
        if value is None or attribute.kind not in value:
            raise ValidationException(_MISMATCH)
        parts.append(_raw(attribute, value))
    return _sized(parts)


def key_attributes(schema: KeySchema, key: ItemKey) -> Attributes:
    """Give a primary key back in DynamoDB's JSON shape."""
    attributes = {schema.partition.name: _value(schema.partition.kind, key.partition)}
    if schema.sort is not None:
        attributes[schema.sort.name] = _value(schema.sort.kind, key.sort)
    return attributes


def print_key(schema: KeySchema, key: ItemKey) -> bytes:
    """Print a primary key as JSON."""
    return print_attributes(key_attributes(schema, key))


def partition_prefix(table_number: bytes, partition: bytes) -> bytes:
    """Give the bytes with which all items of one partition key begin."""
    return table_number + blake2b(partition, digest_size=HASH_BYTES).digest()


def physical_key(schema: KeySchema, table_number: bytes, key: ItemKey) -> bytes:
    """Give the bytes under which an item is stored; at most 436 bytes."""
    prefix = table_number + blake2b(key.partition, digest_size=HASH_BYTES).digest()
    if schema.sort is None:
        return prefix
    return (
        prefix
        + sort_prefix(schema.sort.kind, key.sort)
        + blake2b(key.sort, digest_size=HASH_BYTES).digest()
    )


def sort_prefix(kind: str, sort: bytes) -> bytes:
    """Encode a sort key so that byte order is DynamoDB's order, up to the first 400 bytes."""
    encoded = encode_number(sort.decode()) if kind == "N" else encode_bytes(sort)
    return encoded[:SORT_PREFIX_BYTES_MAX]


def encode_bytes(raw: bytes) -> bytes:
    """Encode bytes so that no encoding is a prefix of another and order is preserved."""
    return raw.replace(b"\0", b"\0\xff") + b"\0\0"


_INVERT = bytes(255 - byte for byte in range(256))


def encode_number(text: str) -> bytes:
    """Encode a number so that byte order is numeric order.

    One byte of sign, one of exponent, one for each two digits, and an end; all but the first are
    inverted for negative numbers. At most 23 bytes.

    Args:
        text: In normal notation.
    """
    negative, digits, exponent = parse_number(text)
    if not digits:
        return b"\x01"
    if len(digits) % 2:
        digits += "0"
    magnitude = bytes(
        [exponent - limits.NUMBER_EXPONENT_MIN]
        + [int(digits[at : at + 2]) + 1 for at in range(0, len(digits), 2)]
        + [0]
    )
    return b"\x00" + magnitude.translate(_INVERT) if negative else b"\x02" + magnitude


def partition_hash(physical: bytes) -> int:
    """Give the 128-bit hash of the partition key that a physical key carries."""
    return int.from_bytes(physical[TABLE_NUMBER_BYTES:SORT_PREFIX_START])


def raw_value(kind: str, value: AttributeValue) -> bytes:
    """Turn a key value in normal form into raw bytes."""
    content = value[kind]
    return decode_binary(content) if kind == "B" else content.encode()


def _attributes(schema: KeySchema) -> tuple[KeyAttribute, ...]:
    return (schema.partition,) if schema.sort is None else (schema.partition, schema.sort)


def _raw(attribute: KeyAttribute, value: AttributeValue) -> bytes:
    raw = raw_value(attribute.kind, value)
    if not raw:
        kind = "binary" if attribute.kind == "B" else "string"
        raise ValidationException(
            "One or more parameter values are not valid. The AttributeValue for a key attribute"
            f" cannot contain an empty {kind} value. Key: {attribute.name}"
        )
    return raw


def _sized(parts: list[bytes]) -> ItemKey:
    if len(parts[0]) > limits.PARTITION_KEY_BYTES_MAX:
        raise ValidationException(
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum"
            " size limit of2048 bytes"
        )
    if len(parts) == 1:
        return ItemKey(parts[0], b"")
    if len(parts[1]) > limits.SORT_KEY_BYTES_MAX:
        raise ValidationException(
            "One or more parameter values were invalid: Aggregated size of all range keys has"
            " exceeded the size limit of 1024 bytes"
        )
    return ItemKey(parts[0], parts[1])


def _value(kind: str, raw: bytes) -> AttributeValue:
    return {kind: b64encode(raw).decode() if kind == "B" else raw.decode()}
