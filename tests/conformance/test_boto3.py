"""An application written for DynamoDB points boto3 at a node and notices no difference."""

import itertools
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

pytestmark = pytest.mark.integration

_names = (f"table-{number}" for number in itertools.count())


@pytest.fixture
def table(boto_resource: Any) -> Any:
    """A fresh table with the partition key ``p`` (S) and the sort key ``s`` (N)."""
    made = boto_resource.create_table(
        TableName=next(_names),
        AttributeDefinitions=[
            {"AttributeName": "p", "AttributeType": "S"},
            {"AttributeName": "s", "AttributeType": "N"},
        ],
        KeySchema=[
            {"AttributeName": "p", "KeyType": "HASH"},
            {"AttributeName": "s", "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    made.wait_until_exists()
    return made


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    shown: Any = error.value.response
    return str(shown["Error"]["Code"])


def message_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    shown: Any = error.value.response
    return str(shown["Error"]["Message"])


def test_values_of_all_types_come_back_as_they_went(table: Any) -> None:
    item = {
        "p": "a", "s": Decimal("1.5"), "text": "ü日本", "binary": b"\x00\xff", "yes": True,
        "nothing": None, "list": [1, "x", {"deep": [Decimal("1E-130")]}], "map": {"k": {"l": "m"}},
        "strings": {"x", "y"}, "numbers": {Decimal(1), Decimal("2.5")}, "binaries": {b"a", b"b"},
        "empty": "", "empty_list": [], "empty_map": {},
    }  # fmt: skip
    table.put_item(Item=item)
    got = table.get_item(Key={"p": "a", "s": Decimal("1.5")}, ConsistentRead=True)["Item"]
    got["binary"] = bytes(got["binary"])
    got["binaries"] = {bytes(value) for value in got["binaries"]}
    assert got == item


def test_update_returns_each_kind_of_values(table: Any) -> None:
    key = {"p": "a", "s": 1}

    def update(returned: str) -> Any:
        return table.update_item(
            Key=key, UpdateExpression="SET n = if_not_exists(n, :zero) + :one, l = :l",
            ExpressionAttributeValues={":zero": 0, ":one": 1, ":l": [1]}, ReturnValues=returned,
        ).get("Attributes")  # fmt: skip

    assert update("NONE") is None
    assert update("ALL_OLD") == {**key, "n": 1, "l": [1]}
    assert update("UPDATED_OLD") == {"n": 2, "l": [1]}
    assert update("ALL_NEW") == {**key, "n": 4, "l": [1]}
    assert update("UPDATED_NEW") == {"n": 5, "l": [1]}


def test_update_of_a_missing_item_makes_it_and_remove_alone_does_not(table: Any) -> None:
    table.update_item(Key={"p": "a", "s": 1}, UpdateExpression="REMOVE x")
    assert "Item" not in table.get_item(Key={"p": "a", "s": 1})
    table.update_item(Key={"p": "a", "s": 1})
    assert table.get_item(Key={"p": "a", "s": 1})["Item"] == {"p": "a", "s": 1}


def test_failed_condition_changes_nothing_and_can_show_the_item(table: Any) -> None:
    table.put_item(Item={"p": "a", "s": 1, "n": 1})
    with pytest.raises(ClientError) as error:
        table.put_item(
            Item={"p": "a", "s": 1, "n": 2}, ConditionExpression=Attr("p").not_exists(),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )  # fmt: skip
    assert code_of(error) == "ConditionalCheckFailedException"
    assert message_of(error) == "The conditional request failed"
    shown: Any = error.value.response
    assert shown["Item"] == {"p": {"S": "a"}, "s": {"N": "1"}, "n": {"N": "1"}}
    with pytest.raises(ClientError):
        table.delete_item(Key={"p": "a", "s": 1}, ConditionExpression=Attr("n").gt(1))
    with pytest.raises(ClientError):
        table.update_item(
            Key={"p": "a", "s": 1}, UpdateExpression="SET n = :n",
            ConditionExpression="n > :n", ExpressionAttributeValues={":n": 1},
        )  # fmt: skip
    assert table.get_item(Key={"p": "a", "s": 1})["Item"]["n"] == 1


def test_legacy_parameters_do_the_same(table: Any, boto_client: Any) -> None:
    name = table.name
    boto_client.put_item(
        TableName=name, Item={"p": {"S": "a"}, "s": {"N": "1"}}, Expected={"p": {"Exists": False}}
    )
    with pytest.raises(ClientError) as error:
        boto_client.put_item(
            TableName=name, Item={"p": {"S": "a"}, "s": {"N": "1"}},
            Expected={"p": {"Exists": False}},
        )  # fmt: skip
    assert code_of(error) == "ConditionalCheckFailedException"
    boto_client.update_item(
        TableName=name, Key={"p": {"S": "a"}, "s": {"N": "1"}},
        AttributeUpdates={"n": {"Action": "ADD", "Value": {"N": "5"}}},
    )  # fmt: skip
    found = boto_client.query(
        TableName=name,
        KeyConditions={"p": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "a"}]}},
        AttributesToGet=["n"],
    )
    assert found["Items"] == [{"n": {"N": "5"}}]


def test_query_pages_filters_and_projects(table: Any) -> None:
    with table.batch_writer() as batch:
        for number in range(30):
            batch.put_item(Item={"p": "a", "s": number, "even": number % 2 == 0, "x": {"y": 1}})
    first = table.query(KeyConditionExpression=Key("p").eq("a") & Key("s").gte(5), Limit=10)
    assert [item["s"] for item in first["Items"]] == list(range(5, 15))
    assert first["LastEvaluatedKey"] == {"p": "a", "s": 14}
    rest = table.query(
        KeyConditionExpression=Key("p").eq("a"), ExclusiveStartKey=first["LastEvaluatedKey"]
    )
    assert [item["s"] for item in rest["Items"]] == list(range(15, 30))
    assert "LastEvaluatedKey" not in rest
    back = table.query(
        KeyConditionExpression=Key("p").eq("a") & Key("s").between(3, 8), ScanIndexForward=False,
        FilterExpression=Attr("even").eq(True), ProjectionExpression="s, x.y",
    )  # fmt: skip
    assert back["Items"] == [{"s": n, "x": {"y": 1}} for n in (8, 6, 4)]
    assert (back["Count"], back["ScannedCount"]) == (3, 6)
    counted = table.query(KeyConditionExpression=Key("p").eq("a"), Select="COUNT")
    assert counted["Count"] == 30
    assert "Items" not in counted


def test_segments_of_a_scan_are_the_whole_table_once(table: Any) -> None:
    with table.batch_writer() as batch:
        for number in range(60):
            batch.put_item(Item={"p": f"p{number}", "s": 0})
    seen: list[str] = []
    for segment in range(4):
        found = table.scan(Segment=segment, TotalSegments=4, FilterExpression=Attr("s").eq(0))
        seen += [item["p"] for item in found["Items"]]
    assert sorted(seen) == sorted(f"p{number}" for number in range(60))


def test_transaction_is_done_wholly_or_not_at_all(table: Any, boto_client: Any) -> None:
    name = table.name

    def key(number: int) -> dict[str, Any]:
        return {"p": {"S": "t"}, "s": {"N": str(number)}}

    put = {"Put": {"TableName": name, "Item": {**key(1), "n": {"N": "1"}}}}
    update = {
        "Update": {
            "TableName": name, "Key": key(2), "UpdateExpression": "ADD n :n",
            "ExpressionAttributeValues": {":n": {"N": "1"}},
        }
    }  # fmt: skip
    check = {
        "ConditionCheck": {
            "TableName": name, "Key": key(3), "ConditionExpression": "attribute_exists(p)",
        }
    }  # fmt: skip
    with pytest.raises(ClientError) as error:
        boto_client.transact_write_items(TransactItems=[put, update, check])
    assert code_of(error) == "TransactionCanceledException"
    assert message_of(error).endswith("[None, None, ConditionalCheckFailed]")
    shown: Any = error.value.response
    assert [reason["Code"] for reason in shown["CancellationReasons"]] == [
        "None", "None", "ConditionalCheckFailed",
    ]  # fmt: skip
    assert table.scan()["Count"] == 0

    for _ in range(2):  # the token makes the second one a repetition without effect
        boto_client.transact_write_items(
            TransactItems=[put, update], ClientRequestToken=f"token-{name}"
        )
    got = boto_client.transact_get_items(
        TransactItems=[{"Get": {"TableName": name, "Key": key(n)}} for n in (1, 2, 3)]
    )
    assert [answer.get("Item", {}).get("n") for answer in got["Responses"]] == [
        {"N": "1"}, {"N": "1"}, None,
    ]  # fmt: skip
    with pytest.raises(ClientError) as error:
        boto_client.transact_write_items(TransactItems=[put], ClientRequestToken=f"token-{name}")
    assert code_of(error) == "IdempotentParameterMismatchException"


def test_batch_get_projects_and_reports_capacity(table: Any, boto_client: Any) -> None:
    with table.batch_writer() as batch:
        for number in range(5):
            batch.put_item(Item={"p": "a", "s": number, "n": number})
    found = boto_client.batch_get_item(
        RequestItems={
            table.name: {
                "Keys": [{"p": {"S": "a"}, "s": {"N": str(n)}} for n in range(7)],
                "ProjectionExpression": "n",
                "ConsistentRead": True,
            }
        },
        ReturnConsumedCapacity="TOTAL",
    )
    assert sorted(i["n"]["N"] for i in found["Responses"][table.name]) == list("01234")
    assert found["ConsumedCapacity"] == [{"TableName": table.name, "CapacityUnits": 7.0}]
    assert found["UnprocessedKeys"] == {}


@pytest.mark.parametrize(
    ("operation", "request_", "code", "text"),
    [
        ("get_item", {"TableName": "no-such-table", "Key": {"p": {"S": "x"}}},
         "ResourceNotFoundException", "Requested resource not found"),
        ("describe_table", {"TableName": "no-such-table"}, "ResourceNotFoundException",
         "Requested resource not found: Table: no-such-table not found"),
        ("put_item", {"TableName": "no-such-table", "Item": {"p": {"S": ""}},
                      "ConditionExpression": "attribute_exists("}, "ValidationException",
         "Invalid ConditionExpression: Syntax error"),
        ("update_item", {"TableName": "no-such-table", "Key": {"p": {"S": "x"}},
                         "UpdateExpression": "SET a = :a"}, "ValidationException",
         "An expression attribute value used in expression is not defined"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_errors_are_dynamodbs(
    boto_client: Any, operation: str, request_: dict[str, Any], code: str, text: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(boto_client, operation)(**request_)
    assert code_of(error) == code
    assert text in message_of(error)
