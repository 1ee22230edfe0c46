"""Table definitions: what CreateTable asks for, what a region stores, what DescribeTable shows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson

from antipodes.core import limits, shapes
from antipodes.core.errors import ValidationException
from antipodes.core.keys import TABLE_NUMBER_BYTES, KeyAttribute, KeySchema
from antipodes.core.streams import Stream

ACCOUNT = "000000000000"
"""Account number in ARNs; this system has one account."""

VIEW_TYPES = ("KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES")
GLOBAL_VIEW_TYPE = "NEW_AND_OLD_IMAGES"
"""What every replica of a global table streams. Source: developer guide, "Global tables"."""

_INVALID = "One or more parameter values were invalid: "


@dataclass(frozen=True, slots=True)
class Table:
    """A table as one region holds it.

    Attributes:
        name: As in requests.
        id: Sixteen bytes, the same in all regions, never used again.
        number: Prefix of the table's keys in this region's storage.
        schema: The primary key.
        regions: Where it lives, this region included, sorted.
        status: CREATING, UPDATING, DELETING or ACTIVE.
        created_ms: When its first region began to create it.
        stream: The stream that is enabled; None when there is none.
    """

    name: str
    id: bytes
    number: bytes
    schema: KeySchema
    regions: tuple[str, ...]
    status: str
    created_ms: int
    stream: Stream | None = None

    @property
    def replicated(self) -> bool:
        """Other regions hold it too."""
        return len(self.regions) > 1

    def arn(self, region: str) -> str:
        """Give the table's name for all the world."""
        return f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{self.name}"

    def to_json(self) -> bytes:
        """Print the definition for storage."""
        return orjson.dumps(
            {
                "format": 1,
                "name": self.name,
                "id": self.id.hex(),
                "number": int.from_bytes(self.number),
                "schema": [[a.name, a.kind] for a in self.schema if a is not None],
                "regions": self.regions,
                "status": self.status,
                "created_ms": self.created_ms,
                "stream": self.stream and self.stream.to_dict(),
            }
        )

    @classmethod
    def from_json(cls, stored: bytes) -> "Table":
        """Read what `to_json` printed."""
        data = orjson.loads(stored)
        key = [KeyAttribute(*pair) for pair in data["schema"]]
        return cls(
            name=data["name"],
            id=bytes.fromhex(data["id"]),
            number=data["number"].to_bytes(TABLE_NUMBER_BYTES),
            schema=KeySchema(key[0], key[1] if len(key) > 1 else None),
            regions=tuple(data["regions"]),
            status=data["status"],
            created_ms=data["created_ms"],
            stream=Stream.from_dict(data["stream"]) if data["stream"] else None,
        )

    def with_status(self, status: str) -> "Table":
        """Give the same table in another state."""
        return replace(self, status=status)


@dataclass(frozen=True, slots=True)
class TableRequest:
    """A CreateTable request that passed all checks that need no storage."""

    name: str
    schema: KeySchema
    other_regions: tuple[str, ...]
    view_type: str | None
    """None when no stream is asked for."""


def parse_table_name(request: Mapping[str, Any]) -> str:
    """Take the table's name out of a request; an ARN is accepted too.

    Raises:
        ValidationException: Missing, or not a table name.
    """
    name = shapes.text(shapes.required(request, "TableName"))
    if name.startswith("arn:"):
        name = name.partition(":table/")[2].partition("/")[0]
    if not limits.TABLE_NAME_LENGTH_MIN <= len(name) <= limits.TABLE_NAME_LENGTH_MAX:
        raise ValidationException(
            "TableName must be at least 3 characters long and at most 255 characters long"
        )
    if not re.fullmatch(limits.TABLE_NAME_PATTERN, name):
        shapes.reject(
            "tableName", name,
            f"Member must satisfy regular expression pattern: {limits.TABLE_NAME_PATTERN}",
        )  # fmt: skip
    return name


def parse_create_table(request: Mapping[str, Any]) -> TableRequest:
    """Check a CreateTable request in DynamoDB's JSON shape.

    ``Replicas`` (a list of ``{"RegionName": ...}``) is ours: DynamoDB adds replicas by UpdateTable.

    Raises:
        ValidationException: With DynamoDB's text.
        SerializationException: A member has the wrong shape.
    """
    name = parse_table_name(request)
    definitions = _parse_definitions(request)
    elements = _parse_key_elements(request)
    if elements[0][1] != "HASH":
        raise ValidationException(
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"
        )
    if len(elements) == 2:
        if elements[1][1] != "RANGE":
            raise ValidationException(
                "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"
            )
        if elements[0][0] == elements[1][0]:
            raise ValidationException(
                "Both the Hash Key and the Range Key element in the KeySchema have the same name"
            )
    names = [element[0] for element in elements]
    if missing := [n for n in names if n not in definitions]:
        raise ValidationException(
            f"{_INVALID}Some index key attributes are not defined in AttributeDefinitions."
            f" Keys: [{', '.join(missing)}],"
            f" AttributeDefinitions: [{', '.join(definitions)}]"
        )
    if len(definitions) != len(names):
        raise ValidationException(
            f"{_INVALID}Number of attributes in KeySchema does not exactly match number of"
            " attributes defined in AttributeDefinitions"
        )
    regions = tuple(
        shapes.text(shapes.required(shapes.structure(replica), "RegionName", "replicas.member."))
        for replica in shapes.elements(request.get("Replicas") or [])
    )
    view_type = parse_stream_specification(request.get("StreamSpecification"))
    if regions and view_type not in (None, GLOBAL_VIEW_TYPE):
        raise ValidationException(
            f"{_INVALID}a table with replicas streams {GLOBAL_VIEW_TYPE}, not {view_type}"
        )
    key = [KeyAttribute(n, definitions[n]) for n in names]
    return TableRequest(
        name,
        KeySchema(key[0], key[1] if len(key) > 1 else None),
        regions,
        GLOBAL_VIEW_TYPE if regions else view_type,
    )


def _parse_definitions(request: Mapping[str, Any]) -> dict[str, str]:
    definitions: dict[str, str] = {}
    given = shapes.elements(request.get("AttributeDefinitions") or [])
    for position, definition in enumerate(map(shapes.structure, given), 1):
        path = f"attributeDefinitions.{position}.member."
        name = shapes.text(shapes.required(definition, "AttributeName", path))
        kind = shapes.text(shapes.required(definition, "AttributeType", path))
        if kind not in ("S", "N", "B"):
            shapes.reject(
                f"{path}attributeType", kind, "Member must satisfy enum value set: [B, N, S]"
            )
        if not 1 <= len(name.encode()) <= limits.KEY_NAME_BYTES_MAX:
            shapes.reject(
                f"{path}attributeName", name,
                f"Member must have length between 1 and {limits.KEY_NAME_BYTES_MAX}",
            )  # fmt: skip
        definitions[name] = kind
    return definitions


def _parse_key_elements(request: Mapping[str, Any]) -> list[tuple[str, str]]:
    given = shapes.elements(request.get("KeySchema") or [])
    if not 1 <= len(given) <= 2:
        shapes.reject(
            "keySchema", given,
            "Member must have length greater than or equal to 1 and less than or equal to 2",
        )  # fmt: skip
    elements: list[tuple[str, str]] = []
    for position, element in enumerate(map(shapes.structure, given), 1):
        path = f"keySchema.{position}.member."
        name = shapes.text(shapes.required(element, "AttributeName", path))
        elements.append((name, shapes.text(shapes.required(element, "KeyType", path))))
    return elements


def parse_stream_specification(specification: object) -> str | None:
    """Give the view type that is asked for; None when no stream is.

    Raises:
        ValidationException: The view type is missing, superfluous or unknown.
    """
    if specification is None:
        return None
    members = shapes.structure(specification)
    view_type = members.get("StreamViewType")
    if not shapes.boolean(shapes.required(members, "StreamEnabled", "streamSpecification.")):
        if view_type:
            raise ValidationException(
                f"{_INVALID}StreamViewType cannot be specified when StreamEnabled is false"
            )
        return None
    if view_type is None:
        raise ValidationException(
            f"{_INVALID}StreamViewType must be specified when StreamEnabled is true"
        )
    if shapes.text(view_type) not in VIEW_TYPES:
        shapes.reject(
            "streamSpecification.streamViewType", view_type,
            f"Member must satisfy enum value set: [{', '.join(sorted(VIEW_TYPES))}]",
        )  # fmt: skip
    return str(view_type)


def describe(
    table: Table,
    region: str,
    item_count: int,
    size_bytes: int,
    pending_regions: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Show a table as DescribeTable does.

    Args:
        table: The table.
        region: Where it is described; not listed among its replicas.
        item_count: Items in this region.
        size_bytes: Their size.
        pending_regions: Those that have not confirmed the table yet.
    """
    attributes = [a for a in table.schema if a is not None]
    description: dict[str, Any] = {
        "TableName": table.name,
        "TableStatus": table.status,
        "AttributeDefinitions": [
            {"AttributeName": a.name, "AttributeType": a.kind} for a in attributes
        ],
        "KeySchema": [
            {"AttributeName": a.name, "KeyType": kind}
            for a, kind in zip(attributes, ("HASH", "RANGE"), strict=False)
        ],
        "TableArn": table.arn(region),
        "TableId": str(UUID(bytes=table.id)),
        "CreationDateTime": table.created_ms / 1000,
        "ItemCount": item_count,
        "TableSizeBytes": size_bytes,
    }
    if table.stream is not None:
        description |= {
            "StreamSpecification": {
                "StreamEnabled": True,
                "StreamViewType": table.stream.view_type,
            },
            "LatestStreamLabel": table.stream.label,
            "LatestStreamArn": table.stream.arn(table.arn(region)),
        }
    if table.replicated:
        description["GlobalTableVersion"] = "2019.11.21"
        description["Replicas"] = [
            {
                "RegionName": other,
                "ReplicaStatus": "CREATING" if other in pending_regions else "ACTIVE",
                "ReplicaArn": table.arn(other),
            }
            for other in table.regions
            if other != region
        ]
    return description
