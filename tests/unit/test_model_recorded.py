"""Exact answers of DynamoDB to requests that break constraints of the model.

Sources: as for test_model.py.
"""

from typing import Any

import pytest

from antipodes.core.errors import (
    ValidationException,
)
from antipodes.core.model import check

NAME = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
NULL = "Member must not be null"
LONG = "a" * 256
RETURNED = "Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"
CAPACITY = "Member must satisfy enum value set: [INDEXES, TOTAL, NONE]"
METRICS = "Member must satisfy enum value set: [SIZE, NONE]"
VIEW = "Member must satisfy enum value set: [OLD_IMAGE, KEYS_ONLY, NEW_AND_OLD_IMAGES, NEW_IMAGE]"
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
STREAM = f"{ARN}/stream/2026-01-01T00:00:00.000"
INDEX = "globalSecondaryIndexUpdates.{}.member.update"


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


ORDERED: list[tuple[str, Any, list[str]]] = [
    ("PutItem", {"Item": {"a": {"S": "b"}}}, nulls("tableName")),
    ("PutItem", {"TableName": "", "Item": {}}, [violation("", "tableName", least(1))]),
    ("PutItem", {"TableName": LONG, "Item": {}}, [violation(LONG, "tableName", most(255))]),
    (
        "PutItem",
        {"TableName": "bad table!@#", "Item": {}},
        [violation("bad table!@#", "tableName", NAME)],
    ),
    (
        "PutItem",
        {"TableName": "", "ReturnValues": "INVALID", "Item": {}},
        [violation("INVALID", "returnValues", RETURNED), violation("", "tableName", least(1))],
    ),
    (
        "PutItem",
        {
            "TableName": "abc",
            "Item": {},
            "ReturnConsumedCapacity": "INVALID",
            "ReturnItemCollectionMetrics": "INVALID",
            "ReturnValues": "INVALID",
        },
        [
            violation("INVALID", "returnValues", RETURNED),
            violation("INVALID", "returnConsumedCapacity", CAPACITY),
            violation("INVALID", "returnItemCollectionMetrics", METRICS),
        ],
    ),
    (
        "DeleteItem",
        {"TableName": "abc", "Key": {}, "ReturnValues": "I", "ReturnConsumedCapacity": "I"},
        [
            violation("I", "returnValues", RETURNED),
            violation("I", "returnConsumedCapacity", CAPACITY),
        ],
    ),
    (
        "UpdateItem",
        {"TableName": "abc", "Key": {}, "ReturnValues": "I", "ReturnConsumedCapacity": "I"},
        [
            violation("I", "returnConsumedCapacity", CAPACITY),
            violation("I", "returnValues", RETURNED),
        ],
    ),
    ("GetItem", {"TableName": LONG}, [*nulls("key"), violation(LONG, "tableName", most(255))]),
    (
        "GetItem",
        {"TableName": "abc;", "ReturnConsumedCapacity": "hi", "AttributesToGet": []},
        [
            violation("[]", "attributesToGet", least(1)),
            violation("hi", "returnConsumedCapacity", CAPACITY),
            *nulls("key"),
            violation("abc;", "tableName", NAME),
        ],
    ),
    ("BatchWriteItem", {}, nulls("requestItems")),
    (
        "BatchWriteItem",
        {"ReturnConsumedCapacity": "B", "ReturnItemCollectionMetrics": "C", "RequestItems": {}},
        [
            violation("B", "returnConsumedCapacity", CAPACITY),
            violation("C", "returnItemCollectionMetrics", METRICS),
        ],
    ),
    (
        "BatchWriteItem",
        {"RequestItems": {"bad!": [{"PutRequest": {"Item": {}}}]}, "ReturnConsumedCapacity": "B"},
        [violation("B", "returnConsumedCapacity", CAPACITY)],
    ),
    (
        "BatchWriteItem",
        {"RequestItems": {"abc": []}},
        [violation("{abc=[]}", "requestItems", BATCH_VALUES)],
    ),
    ("BatchGetItem", {}, nulls("requestItems")),
    (
        "BatchGetItem",
        {
            "RequestItems": {"bad!name": {"Keys": [{"pk": {"S": "a"}}]}},
            "ReturnConsumedCapacity": "BOGUS",
        },
        [
            violation('{"bad!name":{"Keys":[{"pk":{"S":"a"}}]}}', "requestItems", BATCH_KEYS),
            violation("BOGUS", "returnConsumedCapacity", CAPACITY),
        ],
    ),
    ("CreateTable", TABLE | {"TableName": "ab"}, [violation("ab", "tableName", least(3))]),
    ("CreateTable", TABLE | {"KeySchema": []}, [violation("[]", "keySchema", least(1))]),
    (
        "CreateTable",
        TABLE
        | {"KeySchema": [{"AttributeName": name, "KeyType": "RANGE"} for name in ("a", "b", "c")]},
        [
            violation(
                "[KeySchemaElement(attributeName=a, keyType=RANGE),"
                " KeySchemaElement(attributeName=b, keyType=RANGE),"
                " KeySchemaElement(attributeName=c, keyType=RANGE)]",
                "keySchema",
                most(2),
            )
        ],
    ),
    (
        "CreateTable",
        TABLE | {"AttributeDefinitions": [{}]},
        nulls(
            "attributeDefinitions.1.member.attributeType",
            "attributeDefinitions.1.member.attributeName",
        ),
    ),
    (
        "CreateTable",
        TABLE | {"KeySchema": [{}]},
        nulls("keySchema.1.member.attributeName", "keySchema.1.member.keyType"),
    ),
    (
        "CreateTable",
        TABLE | {"AttributeDefinitions": [{"AttributeName": "b", "AttributeType": "SS"}]},
        [
            violation(
                "SS",
                "attributeDefinitions.1.member.attributeType",
                "Member must satisfy enum value set: [B, N, S]",
            )
        ],
    ),
    (
        "CreateTable",
        TABLE | {"ProvisionedThroughput": {}},
        nulls(
            "provisionedThroughput.writeCapacityUnits", "provisionedThroughput.readCapacityUnits"
        ),
    ),
    (
        "CreateTable",
        TABLE
        | {"ProvisionedThroughput": {"ReadCapacityUnits": 1000000000001, "WriteCapacityUnits": -1}},
        [violation("-1", "provisionedThroughput.writeCapacityUnits", least(1, "value"))],
    ),
    (
        "CreateTable",
        TABLE | {"BillingMode": ""},
        [
            violation(
                "",
                "billingMode",
                "Member must satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]",
            )
        ],
    ),
    (
        "CreateTable",
        TABLE | {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": ""}},
        [violation("", "streamSpecification.streamViewType", VIEW)],
    ),
    (
        "CreateTable",
        TABLE | {"SSESpecification": {"KMSMasterKeyId": ""}},
        [violation("", "sSESpecification.kMSMasterKeyId", least(1))],
    ),
    (
        "UpdateTable",
        {"TableName": "abc", "GlobalSecondaryIndexUpdates": [{"Update": {}}]},
        nulls(INDEX.format(1) + ".indexName"),
    ),
    (
        "UpdateTable",
        {
            "TableName": "abc",
            "GlobalSecondaryIndexUpdates": [
                {"Update": {"IndexName": "a", "ProvisionedThroughput": {}}},
                {
                    "Update": {
                        "IndexName": "abc;",
                        "ProvisionedThroughput": {
                            "ReadCapacityUnits": 1000000000001,
                            "WriteCapacityUnits": 0,
                        },
                    }
                },
            ],
        },
        [
            violation("a", INDEX.format(1) + ".indexName", least(3)),
            *nulls(
                INDEX.format(1) + ".provisionedThroughput.writeCapacityUnits",
                INDEX.format(1) + ".provisionedThroughput.readCapacityUnits",
            ),
            violation("abc;", INDEX.format(2) + ".indexName", NAME),
            violation(
                "0",
                INDEX.format(2) + ".provisionedThroughput.writeCapacityUnits",
                least(1, "value"),
            ),
        ],
    ),
    (
        "UpdateTable",
        {"TableName": "abc", "ReplicaUpdates": [{"Update": {}}]},
        nulls("replicaUpdates.1.member.update.regionName"),
    ),
    (
        "DescribeTable",
        {"TableName": ""},
        [violation("", "tableName", least(3)), violation("", "tableName", NAME)],
    ),
    ("DeleteTable", {}, nulls("tableName")),
    ("DeleteTable", {"TableName": "abc;"}, [violation("abc;", "tableName", NAME)]),
    ("ListTables", {"Limit": 0}, [violation("0", "limit", least(1, "value"))]),
    ("ListTables", {"Limit": 101}, [violation("101", "limit", most(100, "value"))]),
    (
        "ListTables",
        {"ExclusiveStartTableName": ""},
        [
            violation("", "exclusiveStartTableName", NAME),
            violation("", "exclusiveStartTableName", least(3)),
        ],
    ),
    (
        "CreateBackup",
        {"TableName": "abc", "BackupName": ""},
        [violation("", "backupName", NAME), violation("", "backupName", least(3))],
    ),
    (
        "UpdateTimeToLive",
        {"TableName": "abc", "TimeToLiveSpecification": {}},
        nulls("timeToLiveSpecification.attributeName", "timeToLiveSpecification.enabled"),
    ),
    (
        "UpdateTimeToLive",
        {
            "TableName": "abc",
            "TimeToLiveSpecification": {"AttributeName": "", "Enabled": True},
        },
        [violation("", "timeToLiveSpecification.attributeName", least(1))],
    ),
    (
        "UpdateContinuousBackups",
        {
            "TableName": "abc",
            "PointInTimeRecoverySpecification": {
                "PointInTimeRecoveryEnabled": True,
                "RecoveryPeriodInDays": -1,
            },
        },
        [
            violation(
                "-1", "pointInTimeRecoverySpecification.recoveryPeriodInDays", least(1, "value")
            )
        ],
    ),
    ("TransactGetItems", {"TransactItems": []}, [violation("[]", "transactItems", least(1))]),
    ("TransactWriteItems", {"TransactItems": []}, [violation("[]", "transactItems", least(1))]),
    (
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {"TableName": "abc", "Item": {}}},
                {"Update": {"TableName": "bad!name", "Key": {}, "UpdateExpression": "SET a = :a"}},
            ]
        },
        [violation("bad!name", "transactItems.2.member.update.tableName", NAME)],
    ),
    (
        "TransactGetItems",
        {"TransactItems": [{"Get": {"TableName": "bad!name", "Key": {}}}]},
        [violation("bad!name", "transactItems.1.member.get.tableName", NAME)],
    ),
    (
        "EnableKinesisStreamingDestination",
        {"TableName": "abc", "StreamArn": ""},
        [violation("", "streamArn", least(37))],
    ),
    ("ListStreams", {"Limit": 0}, [violation("0", "limit", least(1, "value"))]),
    ("DescribeStream", {}, nulls("streamArn")),
    ("GetRecords", {}, nulls("shardIterator")),
    ("GetRecords", {"ShardIterator": ""}, [violation("", "shardIterator", least(1))]),
    (
        "GetShardIterator",
        {"StreamArn": STREAM, "ShardId": "b", "ShardIteratorType": "LATEST"},
        [violation("b", "shardId", least(28))],
    ),
]
"""Exact answers."""


@pytest.mark.parametrize(("operation", "request_", "expected"), ORDERED)
def test_check_when_constraints_are_broken_answers_as_dynamodb_does(
    operation: str, request_: Any, expected: list[str]
) -> None:
    noun = "error" if len(expected) == 1 else "errors"
    assert (
        refusal(operation, request_)
        == f"{len(expected)} validation {noun} detected: {'; '.join(expected)}"
    )
