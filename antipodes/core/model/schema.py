"""The model as it is stored: operations, and the shapes that their requests consist of."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

INTEGER_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        name: As in the ``X-Amz-Target`` header.
        service: ``dynamodb`` or ``dynamodbstreams``.
        input: Name of the request's shape.
        errors: Codes that the service declares; ValidationException is always possible and never
            declared.
    """

    name: str
    service: str
    input: str
    errors: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Shape:
    """What a value must look like. Complete, and never changed, once `shapes` has returned it.

    Attributes:
        name: As in the model; plain scalars are named by their kind, for example ``String``.
        kind: ``structure``, ``map``, ``list``, ``attribute``, or a kind of scalar.
        members: Of a structure, in the order in which the service declares them.
        ordered: The same in the order in which the service checks them, with their paths.
        required: Members that must be there.
        hidden: Members that the service prints though no request can hold them.
        element: Of a list, or the values of a map.
        key: Of a map, when there are constraints on the keys.
        minimum: Of the length, for numbers of the value.
        maximum: Likewise.
        pattern: As shown in messages.
        regex: The same, to be matched in full.
        enum: Allowed values, in the order shown in messages.
        arn: Longest ARN that may stand in the place of a name.
        pattern_first: The pattern is reported before the length.
        own: What a text of its own, sent before all others, calls the member.
        echo: ``json`` when messages show the value as it was sent.
    """

    name: str
    kind: str
    members: "dict[str, Shape]" = field(default_factory=lambda: dict[str, Shape]())
    ordered: "tuple[tuple[str, str, Shape], ...]" = ()
    required: frozenset[str] = frozenset()
    hidden: tuple[str, ...] = ()
    element: "Shape | None" = None
    key: "Shape | None" = None
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    regex: re.Pattern[str] | None = None
    enum: tuple[str, ...] = ()
    arn: int = 0
    pattern_first: bool = False
    own: str | None = None
    echo: str | None = None

    @property
    def compound(self) -> bool:
        """Constraints of its parts are reported with the part's own path."""
        return self.kind in ("structure", "map", "list")

    def accepts_arn(self, value: str) -> bool:
        """Tell whether the value is an ARN where a name is expected as well."""
        return len(value) <= self.arn and value.startswith("arn:")


@dataclass(slots=True)
class Budget:
    """How many values may still be looked at in detail.

    Looking takes a microsecond or two each, a request may hold millions, and it is refused anyway.
    """

    left: int = 100_000

    def spend(self) -> bool:
        """Take one value from the budget; False when there is none."""
        self.left -= 1
        return self.left >= 0


_SCALARS = ("String", "Boolean", "Integer", "Long", "Double", "Timestamp", "Blob")
_ATTRIBUTE = {
    "S": "String", "N": "String", "B": "Blob", "SS": "StringSet", "NS": "StringSet",
    "BS": "BinarySet", "M": "AttributeMap", "L": "AttributeList", "NULL": "Boolean",
    "BOOL": "Boolean",
}  # fmt: skip


@cache
def operations() -> Mapping[str, Operation]:
    """List the operations by name."""
    return {
        name: Operation(name, given["service"], given["input"], tuple(given["errors"]))
        for name, given in _stored()["operations"].items()
    }


@cache
def shapes() -> Mapping[str, Shape]:
    """List the shapes by name."""
    stored = _stored()["shapes"]
    made = {kind: Shape(kind, kind.lower()) for kind in _SCALARS}
    made["AttributeValue"] = attribute = Shape("AttributeValue", "attribute")
    made["StringSet"] = Shape("StringSet", "list", element=made["String"])
    made["BinarySet"] = Shape("BinarySet", "list", element=made["Blob"])
    made["AttributeList"] = Shape("AttributeList", "list", element=attribute)
    made["AttributeMap"] = Shape("AttributeMap", "map", element=attribute)
    attribute.members.update((name, made[shape]) for name, shape in _ATTRIBUTE.items())
    for name, given in stored.items():
        pattern = given.get("pattern")
        made[name] = Shape(
            name,
            given["type"],
            required=frozenset(given.get("required", ())),
            hidden=tuple(given.get("hidden", ())),
            minimum=given.get("min"),
            maximum=given.get("max"),
            pattern=pattern,
            regex=re.compile(given.get("regex", pattern), re.ASCII) if pattern else None,
            enum=tuple(given.get("enum", ())),
            arn=given.get("arn", 0),
            pattern_first=given.get("pattern_first", False),
            own=given.get("own"),
            echo=given.get("echo"),
        )
    for name, given in stored.items():
        shape = made[name]
        shape.members.update((member, made[to]) for member, to in given.get("members", {}).items())
        shape.ordered = tuple(
            (member, lower_first(member), shape.members[member])
            for member in java_order(shape.members)
        )
        shape.element = made[given["element"]] if "element" in given else None
        shape.key = made[given["key"]] if "key" in given else None
    return made


def lower_first(name: str) -> str:
    """Write a member's name as paths do."""
    return name[0].lower() + name[1:]


def java_order(members: Iterable[str]) -> list[str]:
    """Sort members as a Java ``HashMap`` does whose keys are their names in paths.

    That is the order in which the service reports violations: it explains every pair of members
    whose order has been recorded in 2026 (PutItem's ReturnValues before ReturnConsumedCapacity,
    UpdateItem's, which has more members and hence another table size, the other way round).
    """
    names = list(members)
    size = 16
    while len(names) > size * 3 // 4:
        size *= 2
    return sorted(names, key=lambda name: _java_hash(lower_first(name)) & (size - 1))


def _java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value ^ (value >> 16)


@cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = orjson.loads(
        files("antipodes.core.model").joinpath("operations.json").read_bytes()
    )
    return stored
