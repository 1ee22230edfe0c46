"""Attribute values: DynamoDB's JSON shape to protobuf and back."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, MutableMapping
from typing import Any

from antipodes.core.attributes import Attributes, AttributeValue
from antipodes.v1 import types_pb2


def to_json(value: types_pb2.AttributeValue) -> AttributeValue:
    """Give a protobuf value the JSON shape; a value without a member gives an empty dict."""
    match value.WhichOneof("value"):
        case "s":
            return {"S": value.s}
        case "n":
            return {"N": value.n}
        case "b":
            return {"B": b64encode(value.b).decode()}
        case "boolean":
            return {"BOOL": value.boolean}
        case "null":
            return {"NULL": value.null}
        case "m":
            return {"M": attributes_to_json(value.m.entries)}
        case "l":
            return {"L": [to_json(element) for element in value.l.values]}
        case "ss":
            return {"SS": list(value.ss.values)}
        case "ns":
            return {"NS": list(value.ns.values)}
        case "bs":
            return {"BS": [b64encode(element).decode() for element in value.bs.values]}
        case None:
            return {}


def attributes_to_json(attributes: Mapping[str, types_pb2.AttributeValue]) -> Attributes:
    """Give an item or a key the JSON shape."""
    shaped: Attributes = {}
    for name, value in attributes.items():
        kind = value.WhichOneof("value")  # the two common types without a further call
        if kind == "s":
            shaped[name] = {"S": value.s}
        elif kind == "n":
            shaped[name] = {"N": value.n}
        else:
            shaped[name] = to_json(value)
    return shaped


def fill(target: types_pb2.AttributeValue, value: AttributeValue) -> None:
    """Write a value of JSON shape, known to be right, into a protobuf value."""
    [(kind, content)] = value.items()
    match kind:
        case "S":
            target.s = content
        case "N":
            target.n = content
        case "B":
            target.b = b64decode(content)
        case "BOOL":
            target.boolean = content
        case "NULL":
            target.null = content
        case "M":
            target.m.SetInParent()
            fill_attributes(target.m.entries, content)
        case "L":
            target.l.SetInParent()
            for element in content:
                fill(target.l.values.add(), element)
        case "SS":
            target.ss.values.extend(content)
        case "NS":
            target.ns.values.extend(content)
        case "BS":
            target.bs.values.extend(map(b64decode, content))
        case _:
            raise AssertionError(f"no such type: {kind}")


def fill_attributes(
    target: MutableMapping[str, types_pb2.AttributeValue], attributes: Mapping[str, Any]
) -> None:
    """Write an item or a key of JSON shape into a protobuf map."""
    for name, value in attributes.items():
        if "S" in value:
            target[name].s = value["S"]
        elif "N" in value:
            target[name].n = value["N"]
        else:
            fill(target[name], value)
