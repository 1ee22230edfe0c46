"""Requests and the answers that DynamoDB gave to them.

Sources: dynalite's tests, which run against the service as well; captures of
paritysuite/dynamodb-conformance (us-east-1, June to October 2026); the catalogue of ack-api-quirks.
"""

import re
from typing import Any

import pytest

from antipodes.core.errors import (
    UnknownOperationException,
    ValidationException,
)
from antipodes.core.model import check, operations

NAME = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
NULL = "Member must not be null"
CAPACITY = "Member must satisfy enum value set: [INDEXES, TOTAL, NONE]"
SELECT = (
    "Member must satisfy enum value set:"
    " [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]"
)
COMPARE = (
    "Member must satisfy enum value set: [IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL,"
    " NE, LE, BEGINS_WITH, GE, CONTAINS]"
)
BATCH_KEYS = (
    "Map keys must satisfy constraint: [Member must have length less than or equal to 255,"
    f" Member must have length greater than or equal to 3, {NAME}]"
)
BATCH_VALUES = (
    "Map value must satisfy constraint: [Member must have length less than or equal to 25,"
    " Member must have length greater than or equal to 1]"
)
TABLE = {
    "TableName": "abc",
    "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
}
ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/abc"


def least(length: int, of: str = "length") -> str:
    return f"Member must have {of} greater than or equal to {length}"


def most(length: int, of: str = "length") -> str:
    return f"Member must have {of} less than or equal to {length}"


def violation(value: str | None, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def nulls(*paths: str) -> list[str]:
    return [violation(None, path, NULL) for path in paths]


def refusal(operation: str, request: Any) -> str:
    with pytest.raises(ValidationException) as caught:
        check(operation, request)
    return caught.value.message


FILTER = {"a": {}, "b": {"ComparisonOperator": ""}}
UNORDERED: list[tuple[str, Any, set[str]]] = [
    (
        "Scan",
        {
            "TableName": "abc;", "ReturnConsumedCapacity": "hi", "AttributesToGet": [],
            "IndexName": "abc;", "Segment": -1, "TotalSegments": -1, "Select": "hi", "Limit": -1,
            "ScanFilter": FILTER, "ConditionalOperator": "AN", "ExpressionAttributeNames": {},
            "ExpressionAttributeValues": {}, "ProjectionExpression": "",
        },
        {
            violation("hi", "select", SELECT),
            violation("abc;", "indexName", NAME),
            violation("-1", "totalSegments", least(1, "value")),
            violation("hi", "returnConsumedCapacity", CAPACITY),
            violation("abc;", "tableName", NAME),
            violation("AN", "conditionalOperator", "Member must satisfy enum value set: [OR, AND]"),
            violation(None, "scanFilter.a.member.comparisonOperator", NULL),
            violation("", "scanFilter.b.member.comparisonOperator", COMPARE),
            violation("-1", "segment", least(0, "value")),
            violation("-1", "limit", least(1, "value")),
        },
    ),
    (
        "Query",
        {
            "TableName": "abc;", "ReturnConsumedCapacity": "hi", "AttributesToGet": [],
            "IndexName": "abc;", "Select": "hi", "Limit": -1, "KeyConditions": FILTER,
            "ConditionalOperator": "AN", "QueryFilter": FILTER,
        },
        {
            violation("hi", "select", SELECT),
            violation("abc;", "indexName", NAME),
            violation("hi", "returnConsumedCapacity", CAPACITY),
            violation(None, "queryFilter.a.member.comparisonOperator", NULL),
            violation("", "queryFilter.b.member.comparisonOperator", COMPARE),
            violation("abc;", "tableName", NAME),
            violation("AN", "conditionalOperator", "Member must satisfy enum value set: [OR, AND]"),
            violation("[]", "attributesToGet", least(1)),
            violation("-1", "limit", least(1, "value")),
            violation(None, "keyConditions.a.member.comparisonOperator", NULL),
        },
    ),
    (
        "Query",
        {"TableName": "abc", "IndexName": "a;"},
        {violation("a;", "indexName", NAME), violation("a;", "indexName", least(3))},
    ),
    (
        "CreateTable",
        {"TableName": "abc;"},
        {
            violation("abc;", "tableName", NAME),
            *nulls("attributeDefinitions", "keySchema"),
        },
    ),
    (
        "BatchWriteItem",
        {
            "RequestItems": {"abc": [{"PutRequest": {}, "DeleteRequest": {}}]},
            "ReturnConsumedCapacity": "hi",
        },
        {
            violation("hi", "returnConsumedCapacity", CAPACITY),
            *nulls(
                "requestItems.abc.member.1.member.deleteRequest.key",
                "requestItems.abc.member.1.member.putRequest.item",
            ),
        },
    ),
    (
        "BatchGetItem",
        {"RequestItems": {"a": {"Keys": []}}},
        {
            violation('{"a":{"Keys":[]}}', "requestItems", BATCH_KEYS),
            violation("[]", "requestItems.a.member.keys", least(1)),
        },
    ),
    (
        "ListTables",
        {"ExclusiveStartTableName": "a;", "Limit": 500},
        {
            violation("500", "limit", most(100, "value")),
            violation("a;", "exclusiveStartTableName", NAME),
            violation("a;", "exclusiveStartTableName", least(3)),
        },
    ),
]  # fmt: skip
"""The same, where the order has not been recorded."""


@pytest.mark.parametrize(("operation", "request_", "expected"), UNORDERED)
def test_check_when_many_constraints_are_broken_reports_the_same_ones(
    operation: str, request_: Any, expected: set[str]
) -> None:
    head, _, found = refusal(operation, request_).partition(" detected: ")
    assert head == f"{len(expected)} validation errors"
    assert {f"Value {part}" for part in found.removeprefix("Value ").split("; Value ")} == expected


def test_check_when_a_batch_holds_26_writes_echoes_them_all() -> None:
    attribute = (
        "AttributeValue(s=b, n=null, b=null, iNT=null, dECIMAL=null, dOUBLE=null, sS=null,"
        " nS=null, bS=null, iNTSET=null, dECIMALSET=null, dOUBLESET=null, m=null, l=null,"
        " nULL=null, bOOL=null)"
    )
    write = (
        f"WriteRequest(putRequest=PutRequest(item={{a={attribute}}}, workloadProfileName=null),"
        " deleteRequest=null)"
    )
    message = refusal(
        "BatchWriteItem",
        {"RequestItems": {"abc": [{"PutRequest": {"Item": {"a": {"S": "b"}}}}] * 26}},
    )
    echo = f"{{abc=[{', '.join([write] * 26)}]}}"
    expected = violation(echo, "requestItems", BATCH_VALUES)
    assert message == f"1 validation error detected: {expected}"


def test_check_when_more_than_100_keys_are_read_names_the_table() -> None:
    keys = [{"a": {"S": str(place)}} for place in range(101)]
    assert re.fullmatch(
        r"1 validation error detected: Value '\[.+\]' at 'requestItems\.abc\.member\.keys' failed"
        r" to satisfy constraint: Member must have length less than or equal to 100",
        refusal("BatchGetItem", {"RequestItems": {"abc": {"Keys": keys}}}),
    )


OWN: list[tuple[str, Any, str]] = [
    (
        "BatchGetItem",
        {"RequestItems": {}},
        "The requestItems parameter is required for BatchGetItem",
    ),
    (
        "BatchWriteItem",
        {"RequestItems": {}},
        "The requestItems parameter is required for BatchWriteItem",
    ),
    (
        "BatchWriteItem",
        {"RequestItems": {"a!": [{"DeleteRequest": {"Key": {}}}]}},
        "1 validation error detected: "
        + violation(
            "{a!=[WriteRequest(putRequest=null, deleteRequest=DeleteRequest(key={}))]}",
            "requestItems",
            BATCH_KEYS,
        ),
    ),
    (
        "DescribeGlobalTable",
        {"GlobalTableName": ""},
        "TableName must be at least 3 characters long and at most 255 characters long",
    ),
    (
        "RestoreTableFromBackup",
        {"TargetTableName": ""},
        "TableName must be at least 3 characters long and at most 255 characters long",
    ),
    (
        "DescribeContributorInsights",
        {"TableName": "abc", "IndexName": ""},
        "IndexName must be at least 3 characters long and at most 255 characters long",
    ),
    ("TagResource", {}, "Invalid TableArn"),
    ("ListTagsOfResource", {}, "Invalid TableArn"),
    ("TagResource", {"ResourceArn": ARN}, "Atleast one Tag needs to be provided as Input."),
    (
        "TagResource",
        {"ResourceArn": ARN, "Tags": [{}]},
        "The Tag Key provided is invalid, Key: null",
    ),
    (
        "TagResource",
        {"ResourceArn": ARN, "Tags": [{"Key": "a"}]},
        "The Tag Value provided is invalid, Value: null",
    ),
    (
        "UntagResource",
        {"ResourceArn": ARN, "TagKeys": []},
        "Atleast one Tag Key needs to be provided as Input.",
    ),
    (
        "UntagResource",
        {"ResourceArn": ARN, "TagKeys": [""]},
        "The Tag Key provided is invalid, Key: ",
    ),
    ("CreateTable", TABLE | {"Tags": [{}]}, "The Tag Key provided is invalid, Key: null"),
]


@pytest.mark.parametrize(("operation", "request_", "message"), OWN)
def test_check_when_the_service_has_words_of_its_own_uses_them(
    operation: str, request_: Any, message: str
) -> None:
    assert refusal(operation, request_) == message


def test_check_when_elements_of_a_list_are_wrong_reports_the_list_once() -> None:
    projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["", ""]}
    index = {"IndexName": "abc", "KeySchema": TABLE["KeySchema"], "Projection": projection}
    assert refusal("CreateTable", TABLE | {"GlobalSecondaryIndexes": [index]}) == (
        "1 validation error detected: "
        + violation(
            "[, ]",
            "globalSecondaryIndexes.1.member.projection.nonKeyAttributes",
            f"Member must satisfy constraint: [{most(255)}, {least(1)}]",
        )
    )


def test_check_when_an_element_is_null_refuses_it() -> None:
    assert refusal("CreateTable", TABLE | {"KeySchema": [None]}) == (
        "1 validation error detected: "
        + violation("[null]", "keySchema", f"Member must satisfy constraint: [{NULL}]")
    )


def test_check_when_a_value_is_huge_shortens_the_echo() -> None:
    assert len(refusal("GetItem", {"TableName": "a" * 2**20, "Key": {}})) < 2**17
    keys = [{"a": {"L": [{"S": "b" * 1000}] * 100}}] * 101
    assert len(refusal("BatchGetItem", {"RequestItems": {"abc": {"Keys": keys}}})) < 2**17


def test_check_when_the_operation_is_unknown_says_so() -> None:
    with pytest.raises(UnknownOperationException):
        check("MakeCoffee", {})


def test_check_ignores_members_that_it_does_not_know() -> None:
    check("GetItem", {"TableName": "abc", "Key": {"a": {"S": "b"}}, "Unknown": [{}], "Limit": "x"})


def test_check_takes_null_for_a_missing_member() -> None:
    check("GetItem", {"TableName": "abc", "Key": {}, "AttributesToGet": None})
    assert refusal("GetItem", {"TableName": None, "Key": {}}).endswith(NULL)


def test_check_takes_arns_where_names_are_wanted() -> None:
    check("GetItem", {"TableName": ARN, "Key": {}})
    check("DescribeTable", {"TableName": ARN})
    check("BatchGetItem", {"RequestItems": {ARN: {"Keys": [{}]}}})
    check("BatchWriteItem", {"RequestItems": {ARN: [{"DeleteRequest": {"Key": {}}}]}})
    assert refusal("CreateTable", TABLE | {"TableName": ARN}).endswith(NAME)


def test_check_takes_the_extensions() -> None:
    check("CreateTable", TABLE | {"Replicas": [{"RegionName": "a"}]})
    check("DeleteTable", {"TableName": "abc", "AllReplicas": True})
    assert refusal("CreateTable", TABLE | {"Replicas": [{}]}).endswith(
        violation(None, "replicas.1.member.regionName", NULL)
    )


def test_operations_lists_both_services_with_their_declared_errors() -> None:
    known = operations()
    assert len([each for each in known.values() if each.service == "dynamodb"]) >= 57
    assert {name for name, each in known.items() if each.service == "dynamodbstreams"} == {
        "DescribeStream",
        "GetRecords",
        "GetShardIterator",
        "ListStreams",
    }
    assert "ConditionalCheckFailedException" in known["PutItem"].errors
    assert "TrimmedDataAccessException" in known["GetRecords"].errors
