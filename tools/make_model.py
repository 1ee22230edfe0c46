"""Write antipodes/core/model/operations.json from the service models that botocore ships.

    python -m venv /tmp/botocore && /tmp/botocore/bin/pip install botocore
    python tools/make_model.py /tmp/botocore/lib/python3.11/site-packages/botocore/data

botocore describes what its clients may send; the service checks a little differently. The
differences that are known from the service's own answers, and our extensions, are the tables below,
so that the data can be made again from a newer botocore. Sources in brackets: [DL] dynalite's tests
(mhart/dynalite), [CS] captures of paritysuite/dynamodb-conformance (June to October 2026), [AQ] the
catalogue of ack-api-quirks (October 2026), [O] ours.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

SERVICES = ("dynamodb", "dynamodbstreams")
OUTPUT = Path(__file__).parent.parent / "antipodes" / "core" / "model" / "operations.json"

PLAIN = {
    "string": "String",
    "boolean": "Boolean",
    "integer": "Integer",
    "long": "Long",
    "double": "Double",
    "float": "Double",
    "timestamp": "Timestamp",
    "blob": "Blob",
}
"""Scalars without constraints are named by their kind and need no entry."""

NAME = {"type": "string", "min": 3, "max": 255, "pattern": "[a-zA-Z0-9_.-]+"}

SHAPES: dict[str, dict[str, Any]] = {
    # TableArn takes names and ARNs; names obey the rules of names. [CS]
    "TableArn": NAME | {"arn": 1024},
    "ItemTable": NAME | {"min": 1, "arn": 1024},
    "BatchTable": NAME | {"arn": 1024},
    # Read before everything else, with a text of their own. [AQ]
    "OwnTableName": NAME | {"own": "TableName"},
    "OwnIndexName": NAME | {"own": "IndexName"},
    # The pattern is reported before the length. [AQ]
    "StartTableName": NAME | {"pattern_first": True},
    "BackupName": NAME | {"pattern_first": True},
    "Arn": {"type": "string", "max": 1024},
    "KmsKey": {"type": "string", "min": 1},  # [AQ]
    # Two elements for tables; indexes may have more. [CS]
    "TableKeySchema": {"type": "list", "element": "KeySchemaElement", "min": 1, "max": 2},
    "TagKeys": {"type": "list", "element": "String"},
    "ExtensionReplica": {  # [O]
        "type": "structure",
        "members": {"RegionName": "String"},
        "required": ["RegionName"],
    },
    "ExtensionReplicas": {"type": "list", "element": "ExtensionReplica"},
}
"""Shapes that replace or extend botocore's."""

CONSTRAINTS: dict[str, dict[str, Any]] = {
    "AttributeNameList": {"max": 255},  # [DL]
    # The request's echo is the JSON itself, and an empty map has a text of its own. [CS]
    "BatchGetRequestMap": {"key": "BatchTable", "min": None, "echo": "json"},
    # Keys are looked at after everything else, see own.py. [CS]
    "BatchWriteItemRequestMap": {"min": None},
    # Optional for copies of another account's table, which do not exist here. [DL, O]
    "CreateTableInput": {"required": ["AttributeDefinitions", "KeySchema", "TableName"]},
    "PutRequest": {"hidden": ["WorkloadProfileName"]},  # [CS]
    # What Java's regular expressions write differently.
    "AutoScalingPolicyName": {"regex": "[\\x20-\\x7e]+"},
    "AutoScalingRoleArn": {
        "regex": "[\\u0020-\\uD7FF\\uE000-\\uFFFD\\U00010000-\\U0010FFFF\\r\\n\\t]*"
    },
}
"""Constraints set, changed or (None) removed."""

ENUMS: dict[str, list[str]] = {
    "ReturnValue": ["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"],  # [CS]
    "ScalarAttributeType": ["B", "N", "S"],  # [AQ]
    "ProjectionType": ["ALL", "INCLUDE", "KEYS_ONLY"],  # [DL]
    "ComparisonOperator": [  # [DL]
        "IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE",
        "BEGINS_WITH", "GE", "CONTAINS",
    ],
    "Select": [  # [DL]
        "SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES",
    ],
    "ConditionalOperator": ["OR", "AND"],  # [DL]
    "StreamViewType": ["OLD_IMAGE", "KEYS_ONLY", "NEW_AND_OLD_IMAGES", "NEW_IMAGE"],  # [AQ]
    "ContributorInsightsMode": ["THROTTLED_KEYS", "ACCESSED_AND_THROTTLED_KEYS"],  # [AQ]
}  # fmt: skip
"""In which order the service lists the values."""

ITEM_INPUTS = (
    "GetItemInput", "PutItemInput", "UpdateItemInput", "DeleteItemInput", "QueryInput", "ScanInput",
    "Get", "Put", "Update", "Delete", "ConditionCheck",
)  # fmt: skip

MEMBERS: dict[tuple[str, str], str] = {
    **{(name, "TableName"): "ItemTable" for name in ITEM_INPUTS},
    ("CreateTableInput", "TableName"): "TableName",
    ("CreateTableInput", "KeySchema"): "TableKeySchema",
    ("CreateTableInput", "GlobalTableSourceArn"): "Arn",
    ("TableCreationParameters", "KeySchema"): "TableKeySchema",
    ("ListTablesInput", "ExclusiveStartTableName"): "StartTableName",
    ("ExportTableToPointInTimeInput", "TableArn"): "Arn",
    ("ListExportsInput", "TableArn"): "Arn",
    ("ListImportsInput", "TableArn"): "Arn",
    ("RestoreTableToPointInTimeInput", "SourceTableArn"): "Arn",
    ("CreateGlobalTableInput", "GlobalTableName"): "OwnTableName",
    ("UpdateGlobalTableInput", "GlobalTableName"): "OwnTableName",
    ("UpdateGlobalTableSettingsInput", "GlobalTableName"): "OwnTableName",
    ("DescribeGlobalTableInput", "GlobalTableName"): "OwnTableName",
    ("DescribeGlobalTableSettingsInput", "GlobalTableName"): "OwnTableName",
    ("RestoreTableFromBackupInput", "TargetTableName"): "OwnTableName",
    ("RestoreTableToPointInTimeInput", "TargetTableName"): "OwnTableName",
    ("DescribeContributorInsightsInput", "IndexName"): "OwnIndexName",
    ("UpdateContributorInsightsInput", "IndexName"): "OwnIndexName",
    ("SSESpecification", "KMSMasterKeyId"): "KmsKey",
    # Tags have texts of their own for everything. [AQ]
    ("Tag", "Key"): "String",
    ("Tag", "Value"): "String",
    ("TagResourceInput", "ResourceArn"): "String",
    ("UntagResourceInput", "ResourceArn"): "String",
    ("UntagResourceInput", "TagKeys"): "TagKeys",
    ("ListTagsOfResourceInput", "ResourceArn"): "String",
    # Extensions. [O]
    ("CreateTableInput", "Replicas"): "ExtensionReplicas",
    ("DeleteTableInput", "AllReplicas"): "Boolean",
}
"""Members with another shape than botocore's, and our extensions."""

EARLIER = {"ScanInput": "Limit", "QueryInput": "ReturnConsumedCapacity"}
"""Members reported before others of the same bucket, see `schema.java_order`. [DL]"""

OPTIONAL = ("Tag", "TagResourceInput", "UntagResourceInput", "ListTagsOfResourceInput")
"""Structures whose missing members are reported by texts of their own."""


def main() -> int:
    """Write the file, or with ``--check`` tell whether it is up to date."""
    parser = argparse.ArgumentParser(description="Write the model of the operations.")
    parser.add_argument("data", type=Path, help="botocore's folder 'data'")
    parser.add_argument("--check", action="store_true", help="compare only")
    arguments = parser.parse_args()
    made = _print_model(*_make(arguments.data))
    if arguments.check:
        return int(OUTPUT.read_text() != made)
    OUTPUT.write_text(made)
    return 0


def _make(data: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    operations: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    for service in SERVICES:
        model = _read(data, service)
        for name, operation in model["operations"].items():
            assert name not in operations, name
            operations[name] = {
                "service": service,
                "input": operation["input"]["shape"],
                "errors": sorted(error["shape"] for error in operation.get("errors", ())),
            }
            _take(operation["input"]["shape"], model["shapes"], shapes)
    _check_shared(data, shapes)
    return operations, shapes


def _check_shared(data: Path, shapes: dict[str, Any]) -> None:
    """Make sure that a name means the same in both services."""
    first, second = (_read(data, service)["shapes"] for service in SERVICES)
    for name in shapes.keys() & first.keys() & second.keys():
        assert _translate(name, first) == _translate(name, second), name


def _read(data: Path, service: str) -> dict[str, Any]:
    [path] = data.glob(f"{service}/*/service-2.json.gz")
    model: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return model


def _take(name: str, source: dict[str, Any], shapes: dict[str, Any]) -> str:
    """Take a shape and what it refers to; give the name under which it is known."""
    if name == "AttributeValue":
        return name
    given = SHAPES.get(name) or _translate(name, source)
    if set(given) == {"type"} and given["type"] in PLAIN:
        return PLAIN[given["type"]]
    if name in shapes:
        return name
    shapes[name] = given = dict(given)
    for reference in ("key", "element"):
        if reference in given:
            given[reference] = _reference(given[reference], source, shapes)
    if given["type"] == "map" and given["key"] == "String":
        del given["key"]
    if "members" in given:
        given["members"] = {
            member: _reference(shape, source, shapes) for member, shape in given["members"].items()
        }
    return name


def _reference(name: str, source: dict[str, Any], shapes: dict[str, Any]) -> str:
    return name if name in PLAIN.values() else _take(name, source, shapes)


def _translate(name: str, source: dict[str, Any]) -> dict[str, Any]:
    shape = source[name]
    made: dict[str, Any] = {"type": shape["type"]}
    if shape["type"] == "structure":
        members = {member: inner["shape"] for member, inner in shape["members"].items()}
        members |= {member: inner for (at, member), inner in MEMBERS.items() if at == name}
        if name in EARLIER:
            members = {EARLIER[name]: members[EARLIER[name]]} | members
        made["members"] = members
        if shape.get("required") and name not in OPTIONAL:
            made["required"] = sorted(shape["required"])
    elif shape["type"] == "list":
        made["element"] = shape["member"]["shape"]
    elif shape["type"] == "map":
        made["key"] = "String"
        made["element"] = shape["value"]["shape"]
    if name != "AttributeName":  # Names of attributes are checked with the attributes.
        made |= {key: shape[key] for key in ("min", "max", "pattern") if key in shape}
    if "enum" in shape:
        enum: list[str] = ENUMS.get(name) or shape["enum"]
        assert set(enum) == set(shape["enum"]), name
        made["enum"] = enum
    made |= CONSTRAINTS.get(name, {})
    return {key: value for key, value in made.items() if value is not None}


def _print_model(operations: dict[str, Any], shapes: dict[str, Any]) -> str:
    """Print one operation or shape per line, sorted, so that differences can be read."""

    def lines(entries: dict[str, Any]) -> str:
        return ",\n".join(
            f"{json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries)
        )

    return f'{{"operations": {{\n{lines(operations)}\n}},\n"shapes": {{\n{lines(shapes)}\n}}}}\n'


if __name__ == "__main__":
    sys.exit(main())
