"""JSON of the wrong kind, with the texts that dynalite's tests have recorded."""

from typing import Any

import pytest

from antipodes.core.errors import SerializationException
from antipodes.core.model import check

STRUCTURE = "Start of structure or map found where not expected"
PACKAGE = "com.amazonaws.dynamodb.v20120810."
CAST = (
    "class sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl cannot be cast to class"
    " java.lang.Class (sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl and"
    " java.lang.Class are in module java.base of loader 'bootstrap')"
)
NUMBERS = (23, -2147483648, 2147483648)
SCALARS: tuple[Any, ...] = ("23", True, *NUMBERS, 34.56)


def scalar(name: str) -> list[tuple[Any, str]]:
    return [
        (True, f"TRUE_VALUE cannot be converted to {name}"),
        (False, f"FALSE_VALUE cannot be converted to {name}"),
        ([], f"Unrecognized collection type class java.lang.{name}"),
        ({}, STRUCTURE),
    ]


def number(name: str) -> list[tuple[Any, str]]:
    return [*scalar(name), ("23", f"STRING_VALUE cannot be converted to {name}")]


def collection(text: str, wrong: list[tuple[Any, str]]) -> list[tuple[Any, str]]:
    return [*((value, text) for value in SCALARS), *wrong]


KINDS: dict[str, list[tuple[Any, str]]] = {
    "Boolean": [
        ("23", "Unexpected token received from parser"),
        *((value, "NUMBER_VALUE cannot be converted to Boolean") for value in NUMBERS),
        (34.56, "DECIMAL_VALUE cannot be converted to Boolean"),
        ([], "Unrecognized collection type class java.lang.Boolean"),
        ({}, STRUCTURE),
    ],
    "String": [
        *scalar("String"),
        *((value, "NUMBER_VALUE cannot be converted to String") for value in NUMBERS),
        (34.56, "DECIMAL_VALUE cannot be converted to String"),
    ],
    "Integer": number("Integer"),
    "Long": number("Long"),
    "Blob": [
        *(
            (value, "only base-64-encoded strings are convertible to bytes")
            for value in (True, *NUMBERS, 34.56)
        ),
        ([], "Unrecognized collection type class java.nio.ByteBuffer"),
        ({}, STRUCTURE),
        ("23456", "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
    ],
    "List": collection("Unexpected field type", [({}, STRUCTURE)]),
    "NestedList": collection(CAST, [({}, STRUCTURE)]),
}


def kind(name: str) -> list[tuple[Any, str]]:
    """Look up a kind; ``Map:<values>``, ``Field:<structure>``, ``Value:<structure>`` as well."""
    what, _, inner = name.partition(":")
    shown = inner if "." in inner else PACKAGE + inner
    wrong: list[tuple[Any, str]] = [
        ([], f"Unrecognized collection type java.util.Map<java.lang.String, {shown}>")
    ]
    match what:
        case "Map":
            return collection("Unexpected field type", wrong)
        case "NestedMap":
            return collection(CAST, wrong)
        case "Field":
            text = "Unexpected field type"
        case "Value":
            text = "Unexpected value type in payload"
        case _:
            return KINDS[name]
    return collection(text, [([], f"Unrecognized collection type class {PACKAGE}{inner}")])


CASES = [
    ("BatchGetItem", "RequestItems", "Map:KeysAndAttributes"),
    ("BatchGetItem", "RequestItems.a", "Value:KeysAndAttributes"),
    ("BatchGetItem", "RequestItems.a.Keys", "List"),
    ("BatchGetItem", "RequestItems.a.Keys.0", "NestedMap:AttributeValue"),
    ("BatchGetItem", "RequestItems.a.Keys.0.b", "Value:AttributeValue"),
    ("BatchGetItem", "RequestItems.a.ConsistentRead", "Boolean"),
    ("BatchGetItem", "RequestItems.a.ExpressionAttributeNames", "Map:java.lang.String"),
    ("BatchGetItem", "RequestItems.a.ExpressionAttributeNames.b", "String"),
    ("BatchWriteItem", "RequestItems", f"Map:java.util.List<{PACKAGE}WriteRequest>"),
    ("BatchWriteItem", "RequestItems.a", "NestedList"),
    ("BatchWriteItem", "RequestItems.a.0", "Value:WriteRequest"),
    ("BatchWriteItem", "RequestItems.a.0.PutRequest", "Field:PutRequest"),
    ("BatchWriteItem", "RequestItems.a.0.PutRequest.Item", "Map:AttributeValue"),
    ("CreateTable", "TableName", "String"),
    ("CreateTable", "AttributeDefinitions", "List"),
    ("CreateTable", "KeySchema.0", "Value:KeySchemaElement"),
    ("CreateTable", "ProvisionedThroughput", "Field:ProvisionedThroughput"),
    ("CreateTable", "ProvisionedThroughput.WriteCapacityUnits", "Long"),
    ("CreateTable", "GlobalSecondaryIndexes.0.Projection.NonKeyAttributes.0", "String"),
    ("PutItem", "Expected", "Map:ExpectedAttributeValue"),
    ("PutItem", "Expected.a", "Value:ExpectedAttributeValue"),
    ("PutItem", "Expected.a.Exists", "Boolean"),
    ("PutItem", "Expected.a.Value", "Field:AttributeValue"),
    ("PutItem", "ReturnValues", "String"),
    ("Query", "Limit", "Integer"),
    ("Query", "ScanIndexForward", "Boolean"),
    ("Query", "KeyConditions.a.AttributeValueList", "List"),
    ("Scan", "TotalSegments", "Integer"),
    ("TagResource", "Tags.0", "Value:Tag"),
    ("TagResource", "Tags.0.Key", "String"),
    ("UpdateTimeToLive", "TimeToLiveSpecification", "Field:TimeToLiveSpecification"),
    ("UpdateTimeToLive", "TimeToLiveSpecification.Enabled", "Boolean"),
    ("ListTables", "Limit", "Integer"),
    *(
        ("PutItem", f"Item.a.{path}", name)
        for path, name in {
            "S": "String", "N": "String", "B": "Blob", "BOOL": "Boolean", "NULL": "Boolean",
            "SS": "List", "SS.0": "String", "BS": "List", "BS.0": "Blob", "L": "List",
            "L.0": "Value:AttributeValue", "L.0.BS.0": "Blob", "M": "Map:AttributeValue",
            "M.a": "Value:AttributeValue", "M.a.BS.0": "Blob",
        }.items()
    ),
]  # fmt: skip


def request_with(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = [value] if part == "0" else {part: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(("operation", "path", "name"), CASES)
def test_check_when_json_is_of_the_wrong_kind_answers_as_dynamodb_does(
    operation: str, path: str, name: str
) -> None:
    for value, message in kind(name):
        with pytest.raises(SerializationException) as caught:
            check(operation, request_with(path, value))
        assert caught.value.message == message, value


def test_check_reports_wrong_kinds_before_broken_constraints() -> None:
    with pytest.raises(SerializationException, match="NUMBER_VALUE cannot be converted to String"):
        check("PutItem", {"TableName": "a;", "Item": {"b": {"S": 1}}})


def test_check_reports_the_wrong_kind_that_was_sent_first() -> None:
    with pytest.raises(SerializationException, match="NUMBER_VALUE cannot be converted to String"):
        check("Query", {"TableName": 1, "Limit": "1"})
    with pytest.raises(SerializationException, match="STRING_VALUE cannot be converted to Integer"):
        check("Query", {"Limit": "1", "TableName": 1})


@pytest.mark.parametrize("value", [1.5, 2**31, -(2**31) - 1])
def test_check_when_a_number_is_not_a_whole_one_of_its_size_refuses_it(value: float) -> None:
    with pytest.raises(SerializationException, match="_VALUE cannot be converted to Integer"):
        check("ListTables", {"Limit": value})


@pytest.mark.parametrize("value", [None, 1, "a"])
def test_check_when_the_request_is_not_an_object_refuses_it(value: Any) -> None:
    with pytest.raises(SerializationException, match="Unexpected value type in payload"):
        check("GetItem", value)


def test_check_when_the_request_is_a_list_names_the_class() -> None:
    with pytest.raises(SerializationException) as caught:
        check("GetItem", [])
    assert caught.value.message == f"Unrecognized collection type class {PACKAGE}GetItemInput"
