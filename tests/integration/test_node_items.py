"""Items of one node through both doors."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
import pytest
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antipodes.core.errors import (
    ResourceNotFoundException,
    SerializationException,
    ServiceUnavailable,
    UnknownOperationException,
    ValidationException,
)
from antipodes.v1 import items_pb2 as pb
from antipodes.v1 import items_pb2_grpc, types_pb2
from antipodes.wire.attributes import attributes_to_json, fill, fill_attributes, to_json
from tests.integration.nodes import Client, Cluster, Pipeline, eventually, failing, item

pytestmark = pytest.mark.integration

EVERY_TYPE: dict[str, Any] = {
    "p": {"S": "all"}, "s": {"S": "a"}, "text": {"S": "Zürich \U0001d54f"}, "empty": {"S": ""},
    "number": {"N": "-12.5"}, "bytes": {"B": "AP8="}, "yes": {"BOOL": True}, "none": {"NULL": True},
    "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["-1", "2"]}, "bs": {"BS": ["AA==", "/w=="]},
    "m": {"M": {"x": {"M": {}}}}, "l": {"L": [{"L": []}, {"S": "y"}]},
}  # fmt: skip

Call = Callable[..., Awaitable[dict[str, Any]]]


def wire(attributes: dict[str, Any]) -> dict[str, types_pb2.AttributeValue]:
    item_ = types_pb2.Item()
    fill_attributes(item_.attributes, attributes)
    return dict(item_.attributes)


def unary(client: Client) -> Call:
    """The unary door with the Pipeline's calling convention."""
    values = {"ALL_OLD": pb.RETURN_VALUE_ALL_OLD, "": pb.RETURN_VALUE_UNSPECIFIED}
    stub = client.items

    def page(answer: pb.QueryResponse | pb.ScanResponse) -> dict[str, Any]:
        shaped: dict[str, Any] = {
            "Items": [attributes_to_json(each.attributes) for each in answer.items],
            "Count": answer.count,
            "ScannedCount": answer.scanned_count,
        }
        if answer.HasField("last_evaluated_key"):
            shaped["LastEvaluatedKey"] = attributes_to_json(answer.last_evaluated_key.attributes)
        return shaped

    def start(request: dict[str, Any]) -> types_pb2.Key | None:
        key = request.get("ExclusiveStartKey")
        return None if key is None else types_pb2.Key(attributes=wire(key))

    async def call(operation: str, **request: Any) -> dict[str, Any]:
        table = request.get("TableName", "")
        returned = values[request.get("ReturnValues", "")]
        match operation:
            case "PutItem":
                put = await stub.PutItem(
                    pb.PutItemRequest(
                        table_name=table, item=wire(request["Item"]), return_values=returned
                    )
                )
                old = attributes_to_json(put.attributes)
                return {"Attributes": old} if old else {}
            case "DeleteItem":
                deleted = await stub.DeleteItem(
                    pb.DeleteItemRequest(
                        table_name=table, key=wire(request["Key"]), return_values=returned
                    )
                )
                old = attributes_to_json(deleted.attributes)
                return {"Attributes": old} if old else {}
            case "GetItem":
                got = await stub.GetItem(
                    pb.GetItemRequest(table_name=table, key=wire(request["Key"]))
                )
                return (
                    {"Item": attributes_to_json(got.item.attributes)}
                    if got.HasField("item")
                    else {}
                )
            case "BatchWriteItem":
                write = pb.BatchWriteItemRequest()
                for name, wishes in request["RequestItems"].items():
                    for wish in wishes:
                        added = write.request_items[name].requests.add()
                        if "PutRequest" in wish:
                            fill_attributes(added.put.attributes, wish["PutRequest"]["Item"])
                        if "DeleteRequest" in wish:
                            fill_attributes(added.delete.attributes, wish["DeleteRequest"]["Key"])
                await stub.BatchWriteItem(write)
                return {"UnprocessedItems": {}}
            case "BatchGetItem":
                read = pb.BatchGetItemRequest()
                for name, asked in request["RequestItems"].items():
                    for key in asked["Keys"]:
                        fill_attributes(read.request_items[name].keys.add().attributes, key)
                found = await stub.BatchGetItem(read)
                return {
                    "Responses": {
                        name: [attributes_to_json(each.attributes) for each in items.items]
                        for name, items in found.responses.items()
                    },
                    "UnprocessedKeys": {
                        name: {"Keys": [attributes_to_json(key.attributes) for key in left.keys]}
                        for name, left in found.unprocessed_keys.items()
                    },
                }
            case "Query":
                query = pb.QueryRequest(
                    table_name=table, limit=request.get("Limit", 0),
                    exclusive_start_key=start(request),
                    scan_index_forward=request.get("ScanIndexForward"),
                )  # fmt: skip
                for name, condition in request["KeyConditions"].items():
                    asked_for = query.key_conditions[name]
                    asked_for.comparison_operator = pb.ComparisonOperator.Value(
                        "COMPARISON_OPERATOR_" + condition["ComparisonOperator"]
                    )
                    for value in condition["AttributeValueList"]:
                        fill(asked_for.attribute_value_list.add(), value)
                return page(await stub.Query(query))
            case "Scan":
                return page(
                    await stub.Scan(
                        pb.ScanRequest(
                            table_name=table,
                            limit=request.get("Limit", 0),
                            exclusive_start_key=start(request),
                        )
                    )
                )
            case _:
                raise AssertionError(operation)

    return call


@pytest.fixture
async def client(cluster: Cluster) -> Client:
    [client] = cluster.clients.values()
    await client.create()
    return client


@pytest.fixture(params=["pipeline", "unary"])
def call(request: pytest.FixtureRequest, client: Client) -> Call:
    return client.call if request.param == "pipeline" else unary(client)


def condition(operator: str, *values: dict[str, Any]) -> dict[str, Any]:
    return {"ComparisonOperator": operator, "AttributeValueList": list(values)}


async def test_item_of_every_type_comes_back_as_it_went_in(call: Call) -> None:
    assert await call("PutItem", TableName="things", Item=EVERY_TYPE) == {}
    got = await call("GetItem", TableName="things", Key=item("all"))
    assert got == {"Item": EVERY_TYPE}


async def test_absent_item_gives_an_empty_answer(call: Call) -> None:
    assert await call("GetItem", TableName="things", Key=item("nobody")) == {}


async def test_all_old_gives_the_item_that_was_replaced_or_deleted(call: Call) -> None:
    first, second = item("x", n={"N": "1"}), item("x", n={"N": "2"})
    old = {"TableName": "things", "ReturnValues": "ALL_OLD"}
    assert await call("PutItem", Item=first, **old) == {}
    assert await call("PutItem", Item=second, **old) == {"Attributes": first}
    assert await call("DeleteItem", Key=item("x"), **old) == {"Attributes": second}
    assert await call("DeleteItem", Key=item("x"), **old) == {}
    assert await call("DeleteItem", TableName="things", Key=item("x")) == {}


async def test_batches_write_and_read_over_several_tables(client: Client, call: Call) -> None:
    await client.create("plain", sort=None)
    await call("PutItem", TableName="things", Item=item("gone"))
    await call(
        "BatchWriteItem",
        RequestItems={
            "things": [
                {"PutRequest": {"Item": item("a", n={"N": "1"})}},
                {"DeleteRequest": {"Key": item("gone")}},
            ],
            "plain": [{"PutRequest": {"Item": item("b", None)}}],
        },
    )
    answer = await call(
        "BatchGetItem",
        RequestItems={
            "things": {"Keys": [item("a"), item("gone")]},
            "plain": {"Keys": [item("b", None)]},
        },
    )
    assert answer == {
        "Responses": {"things": [item("a", n={"N": "1"})], "plain": [item("b", None)]},
        "UnprocessedKeys": {},
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, "abcd"),
        (condition("EQ", {"S": "b"}), "b"),
        (condition("LT", {"S": "b"}), "a"),
        (condition("LE", {"S": "b"}), "ab"),
        (condition("GT", {"S": "b"}), "cd"),
        (condition("GE", {"S": "b"}), "bcd"),
        (condition("BEGINS_WITH", {"S": "c"}), "c"),
        (condition("BETWEEN", {"S": "b"}, {"S": "c"}), "bc"),
    ],
)
async def test_query_finds_the_range_in_both_directions(
    call: Call, asked: dict[str, Any] | None, expected: str
) -> None:
    for s in "dbac":
        await call("PutItem", TableName="things", Item=item("x", s))
    await call("PutItem", TableName="things", Item=item("other", "b"))
    conditions = {"p": condition("EQ", {"S": "x"})} | ({"s": asked} if asked else {})
    for forward, order in ((True, expected), (False, expected[::-1])):
        found = await call(
            "Query", TableName="things", KeyConditions=conditions, ScanIndexForward=forward
        )
        assert [each["s"]["S"] for each in found["Items"]] == list(order)
        assert found["Count"] == found["ScannedCount"] == len(expected)


async def test_pages_of_query_and_scan_together_give_everything_once(call: Call) -> None:
    names = [f"{number:02}" for number in range(10)]
    for name in names:
        await call("PutItem", TableName="things", Item=item("x", name))

    async def pages(operation: str, **request: Any) -> list[list[str]]:
        found: list[list[str]] = []
        more: dict[str, Any] = {}
        while True:
            page = await call(operation, TableName="things", Limit=3, **request, **more)
            found.append([each["s"]["S"] for each in page["Items"]])
            if "LastEvaluatedKey" not in page:
                return found
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    conditions = {"p": condition("EQ", {"S": "x"})}
    forwards = await pages("Query", KeyConditions=conditions)
    assert forwards == [names[0:3], names[3:6], names[6:9], names[9:]]
    backwards = await pages("Query", KeyConditions=conditions, ScanIndexForward=False)
    assert list(itertools.chain(*backwards)) == names[::-1]
    assert sorted(itertools.chain(*await pages("Scan"))) == names


async def test_page_ends_after_one_mebibyte(call: Call) -> None:
    for name in "abcdefgh":
        await call("PutItem", TableName="things", Item=item("x", name, b={"S": "y" * 200_000}))
    conditions = {"p": condition("EQ", {"S": "x"})}
    first = await call("Query", TableName="things", KeyConditions=conditions)
    assert first["Count"] == 6
    assert first["LastEvaluatedKey"] == item("x", "f")
    more = {"ExclusiveStartKey": first["LastEvaluatedKey"]}
    second = await call("Query", TableName="things", KeyConditions=conditions, **more)
    assert second["Count"] == 2
    assert "LastEvaluatedKey" not in second


async def test_batch_get_gives_back_keys_beyond_sixteen_mebibytes(call: Call) -> None:
    keys = [item("x", f"{number:02}") for number in range(50)]
    for key in keys:
        await call("PutItem", TableName="things", Item=key | {"b": {"S": "y" * 400_000}})
    wanted: list[Any] = keys
    got: list[str] = []
    rounds = 0
    while wanted:
        answer = await call("BatchGetItem", RequestItems={"things": {"Keys": wanted}})
        got += [each["s"]["S"] for each in answer["Responses"].get("things", [])]
        wanted = answer["UnprocessedKeys"].get("things", {}).get("Keys", [])
        rounds += 1
    assert got == [key["s"]["S"] for key in keys]
    assert rounds == 2


LARGEST = "x" * (409_600 - len("p") - len("k") - len("s") - len("a") - len("b"))
NESTED_32: dict[str, Any] = {"S": "deep"}
for _ in range(32):
    NESTED_32 = {"M": {"m": NESTED_32}}


async def test_largest_and_deepest_item_is_accepted(call: Call) -> None:
    for value in ({"S": LARGEST}, NESTED_32):
        whole = item("k", b=value)
        await call("PutItem", TableName="things", Item=whole)
        assert (await call("GetItem", TableName="things", Key=item("k")))["Item"] == whole


BAD_CALLS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("PutItem", {"TableName": "nothing", "Item": item("x")}, ResourceNotFoundException,
     "Requested resource not found"),
    ("GetItem", {"TableName": "nothing", "Key": item("x")}, ResourceNotFoundException, ""),
    ("PutItem", {"TableName": "ab", "Item": item("x")}, ValidationException,
     "at least 3 characters"),
    ("PutItem", {"TableName": "things", "Item": {"p": {"N": "1"}, "s": {"S": "a"}}},
     ValidationException, "Type mismatch for key p expected: S actual: N"),
    ("PutItem", {"TableName": "things", "Item": {"p": {"S": "x"}}}, ValidationException,
     "Missing the key s in the item"),
    ("PutItem", {"TableName": "things", "Item": item("", n={"N": "1"})}, ValidationException,
     "empty string value. Key: p"),
    ("PutItem", {"TableName": "things", "Item": item("k", b={"S": LARGEST + "x"})},
     ValidationException, "Item size has exceeded the maximum allowed size"),
    ("PutItem", {"TableName": "things", "Item": item("k", b={"M": {"m": NESTED_32}})},
     ValidationException, "Nesting Levels have exceeded supported limits"),
    ("PutItem", {"TableName": "things", "Item": item("p" * 2049)}, ValidationException,
     "maximum size limit of2048 bytes"),
    ("PutItem", {"TableName": "things", "Item": item("p", "s" * 1025)}, ValidationException,
     "exceeded the size limit of 1024 bytes"),
    ("PutItem", {"TableName": "things", "Item": item("p", n={"N": "1" * 4000})},
     ValidationException, "more than 38 significant digits"),
    ("PutItem", {"TableName": "things", "Item": item("p", n={"N": "x" * 100_000})},
     ValidationException, "cannot be converted to a numeric value: xxx"),
    ("GetItem", {"TableName": "things", "Key": item("x", None)}, ValidationException,
     "The provided key element does not match the schema"),
    ("GetItem", {"TableName": "things", "Key": item("x", n={"N": "1"})}, ValidationException,
     "The provided key element does not match the schema"),
    ("BatchWriteItem", {"RequestItems": {"things": [
        {"PutRequest": {"Item": item("x")}}, {"DeleteRequest": {"Key": item("x")}}]}},
     ValidationException, "Provided list of item keys contains duplicates"),
    ("BatchWriteItem", {"RequestItems": {"things": [
        {"PutRequest": {"Item": item(str(number))}} for number in range(26)]}},
     ValidationException, "Member must have length less than or equal to 25"),
    ("BatchWriteItem", {"RequestItems": {"things": [{}]}}, ValidationException,
     "exactly one of PutRequest and DeleteRequest"),
    ("BatchWriteItem", {"RequestItems": {}}, ValidationException, "requestItems"),
    ("BatchGetItem", {"RequestItems": {"things": {"Keys": [item("x"), item("x")]}}},
     ValidationException, "Provided list of item keys contains duplicates"),
    ("BatchGetItem", {"RequestItems": {"things": {"Keys": [item(str(n)) for n in range(101)]}}},
     ValidationException, "Member must have length less than or equal to 100"),
    ("Query", {"TableName": "things", "KeyConditions": {}}, ValidationException,
     "Conditions can be of length 1 or 2 only"),
    ("Query", {"TableName": "things", "KeyConditions": {"s": condition("EQ", {"S": "x"})}},
     ValidationException, "Query condition missed key schema element: p"),
    ("Query", {"TableName": "things", "KeyConditions": {"p": condition("LT", {"S": "x"})}},
     ValidationException, "Query key condition not supported"),
    ("Query", {"TableName": "things", "KeyConditions": {"p": condition("EQ", {"N": "1"})}},
     ValidationException, "Condition parameter type does not match schema type"),
    ("Query", {"TableName": "things", "KeyConditions": {"p": condition("EQ")}},
     ValidationException, "Invalid number of argument(s)"),
    ("Query", {"TableName": "things", "KeyConditions": {
        "p": condition("EQ", {"S": "x"}), "s": condition("BETWEEN", {"S": "b"}, {"S": "a"})}},
     ValidationException, "lower bound is greater than the upper bound"),
    ("Query", {"TableName": "things", "KeyConditions": {"p": condition("EQ", {"S": "x"})},
               "ExclusiveStartKey": item("y")}, ValidationException, "outside query boundaries"),
    ("Scan", {"TableName": "things", "ExclusiveStartKey": {}}, ValidationException,
     "The provided starting key is invalid"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "request_", "error", "text"),
    BAD_CALLS,
    ids=[f"{number}-{call[0]}" for number, call in enumerate(BAD_CALLS)],
)
async def test_bad_request_is_refused_by_both_doors_alike(
    client: Client, operation: str, request_: dict[str, Any], error: type[Exception], text: str
) -> None:
    by_pipeline = await failing(client.call(operation, **request_))
    assert type(by_pipeline) is error
    assert text in str(by_pipeline)
    by_unary = await failing(unary(client)(operation, **request_))
    assert type(by_unary) is error
    assert text in str(by_unary)
    if len(str(by_pipeline)) < 1000:  # longer ones are cut by the unary door
        assert str(by_unary) == str(by_pipeline)
    assert (await client.digest())[0] == 0


async def test_enum_values_from_the_future_are_refused(client: Client) -> None:
    put = pb.PutItemRequest(table_name="things", item=wire(item("x")))
    put.return_values = 77  # type: ignore[assignment]
    assert isinstance(await failing(client.items.PutItem(put)), ValidationException)
    query = pb.QueryRequest(table_name="things")
    query.key_conditions["p"].comparison_operator = 77  # type: ignore[assignment]
    problem = await failing(client.items.Query(query))
    assert isinstance(problem, ValidationException)
    assert "'77' at 'keyConditions.p.member.comparisonOperator'" in str(problem)


async def test_message_that_cannot_be_read_is_refused(client: Client) -> None:
    put: Any = client.channel.unary_unary("/antipodes.v1.Items/PutItem")
    assert isinstance(await failing(put(b"\xff\xff\xff")), SerializationException)
    with pytest.raises(DecodeError):
        pb.PutItemRequest.FromString(b"\xff\xff\xff")


async def test_what_is_not_supported_is_refused_by_name(client: Client) -> None:
    problem = await failing(client.call("Scan", TableName="things", IndexName="by-name"))
    assert isinstance(problem, ValidationException)
    assert "does not support the parameter IndexName" in str(problem)


async def test_unknown_operation_names_the_known_ones(client: Client) -> None:
    problem = await failing(client.call("MakeCoffee", TableName="things"))
    assert isinstance(problem, UnknownOperationException)
    assert "PutItem" in str(problem)


async def test_one_bad_call_does_not_disturb_the_others_of_its_message(client: Client) -> None:
    body = orjson.dumps({"TableName": "things", "Item": item("x")})
    calls = [
        pb.Call(operation="PutItem", body=body),
        pb.Call(operation="PutItem", body=b"{"),
        pb.Call(operation="ListTables", body=b"{}"),
        pb.Call(operation="GetItem", body=b"[]"),
    ]
    answers = await client.pipeline.send(*calls)
    codes = [answer.error.code for answer in answers]
    assert codes == ["", "SerializationException", "", "SerializationException"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats(allow_nan=False)
    | st.sampled_from(["things", "p", "S", "EQ", "x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "TableName", "Item", "Key", "Keys", "RequestItems", "things", "PutRequest",
            "DeleteRequest", "KeyConditions", "ComparisonOperator", "AttributeValueList", "p", "s",
            "S", "N", "B", "M", "L", "SS", "NS", "BS", "NULL", "BOOL", "Limit", "ExclusiveStartKey",
            "ScanIndexForward", "ReturnValues", "Replicas", "RegionName", "ReplicaUpdates",
            "Create", "AllReplicas", "StreamSpecification", "StreamEnabled", "StreamViewType",
            "AttributeDefinitions", "AttributeName", "AttributeType", "KeySchema", "KeyType",
            "ExclusiveStartTableName",
        ]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
OPERATIONS = [
    "PutItem", "GetItem", "DeleteItem", "BatchWriteItem", "BatchGetItem", "Query", "Scan",
    "CreateTable", "DescribeTable", "ListTables", "UpdateTable", "DeleteTable",
]  # fmt: skip
SOUND: dict[str, dict[str, Any]] = {
    "PutItem": {"Item": item("x")},
    "GetItem": {"Key": item("x")},
    "DeleteItem": {"Key": item("x")},
    "BatchWriteItem": {"RequestItems": {"things": [{"PutRequest": {"Item": item("x")}}]}},
    "BatchGetItem": {"RequestItems": {"things": {"Keys": [item("x")]}}},
    "Query": {"KeyConditions": {"p": condition("EQ", {"S": "x"})}},
    "Scan": {"Limit": 1},
    "CreateTable": {
        "TableName": "other",
        "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        "Replicas": [{"RegionName": "us-east-1"}],
    },
    "DescribeTable": {}, "ListTables": {"Limit": 1, "ExclusiveStartTableName": "a"},
    "UpdateTable": {"ReplicaUpdates": [{"Create": {"RegionName": "us-east-1"}}]},
    "DeleteTable": {"TableName": "other", "AllReplicas": False},
}  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place within a request where something else may stand."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for name, inner in members:
        found.append((value, name))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


@st.composite
def damaged_requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """Give a request with one part replaced, or one that is nonsense altogether."""
    operation = draw(st.sampled_from(OPERATIONS))
    if draw(st.integers(0, 3)) == 0:
        return operation, draw(st.binary(max_size=40) | JSON.map(orjson.dumps))
    sound = {"TableName": "things"} if not operation.startswith("Batch") else {}
    request = orjson.loads(orjson.dumps(sound | SOUND[operation]))
    where, name = draw(st.sampled_from(places(request) or [(request, "TableName")]))
    where[name] = draw(JSON)
    return operation, orjson.dumps(request)


async def test_nonsense_is_refused_as_the_clients_mistake(client: Client) -> None:
    loop = asyncio.get_running_loop()
    refused = {
        "ValidationException", "SerializationException", "ResourceNotFoundException",
        "ResourceInUseException",
    }  # fmt: skip

    @settings(
        deadline=None,
        max_examples=600,
        suppress_health_check=cast("list[HealthCheck]", list(HealthCheck)),
    )
    @given(damaged_requests())
    def try_one(request: tuple[str, bytes]) -> None:
        answer = asyncio.run_coroutine_threadsafe(client.pipeline.raw(*request), loop).result(10)
        assert answer.error.code in refused | {""}, (request, answer.error)

    await asyncio.to_thread(try_one)
    await client.put("still-there")


async def test_write_is_applied_exactly_if_its_deadline_was_kept(client: Client) -> None:
    blocker = orjson.dumps({"TableName": "things", "Item": item("y", b={"S": LARGEST[:390_000]})})
    for turn in range(5):
        body = orjson.dumps({"TableName": "things", "Item": item(f"x{turn}")})
        *_, last = await client.pipeline.send(
            *(pb.Call(operation="PutItem", body=blocker) for _ in range(20)),
            pb.Call(operation="PutItem", body=body, timeout_ms=1),
        )
        assert last.error.code in ("", "ServiceUnavailable")
        assert (last.error.code == "") == (await client.get(f"x{turn}") is not None)


async def test_unary_write_whose_deadline_passed_is_not_applied(client: Client) -> None:
    blocker = wire(item("y", b={"S": LARGEST[:390_000]}))
    requests = [pb.PutItemRequest(table_name="things", item=blocker) for _ in range(40)]
    others = [asyncio.ensure_future(client.items.PutItem(request)) for request in requests]
    late = pb.PutItemRequest(table_name="things", item=wire(item("x")))
    with pytest.raises(aio.AioRpcError) as caught:
        await client.items.PutItem(late, timeout=0.002)
    assert caught.value.code() in (StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE)
    await asyncio.gather(*others)
    assert await client.get("x") is None


async def test_reads_see_every_write_that_was_acknowledged(client: Client) -> None:
    async def write_then_read(number: int) -> None:
        for turn in range(10):
            await client.put(str(number), n={"N": str(turn)})
            found = await client.get(str(number))
            assert found is not None
            assert found["n"] == {"N": str(turn)}

    await asyncio.gather(*map(write_then_read, range(20)))


async def test_client_that_takes_no_answers_is_not_read_without_end(
    client: Client, cluster: Cluster
) -> None:
    await client.put("x", b={"S": LARGEST[:300_000]})
    rpc: Any = client.items.Pipeline()
    body = orjson.dumps({"TableName": "things", "Key": item("x")})
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            calls = [pb.Call(id=n, operation="GetItem", body=body) for n in range(1000)]
            await rpc.write(pb.PipelineRequest(calls=calls))
            sent += len(calls)

    before = (await client.status()).resident_bytes
    flooding = asyncio.create_task(flood())

    async def has_stopped() -> bool:
        seen = sent
        await asyncio.sleep(0.3)
        return sent == seen and sent > 0

    await eventually(has_stopped)
    assert (await client.status()).resident_bytes - before < 400 << 20
    flooding.cancel()
    rpc.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    assert await client.get("x")


async def test_message_of_answers_stays_below_what_clients_accept_by_default(
    client: Client, cluster: Cluster
) -> None:
    for name in "abcdefghij":
        await client.put(name, b={"S": LARGEST})
    [port] = cluster.ports.values()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = Pipeline(items_pb2_grpc.ItemsStub(channel))
        calls = [
            pb.Call(
                operation="GetItem", body=orjson.dumps({"TableName": "things", "Key": item(name)})
            )
            for name in "abcdefghij" * 4
        ]
        answers = await stream.send(*calls)
        assert all(len(answer.body) > 400_000 for answer in answers)
        await stream.close()


async def test_stream_that_is_half_closed_gets_its_answers(client: Client) -> None:
    stream = Pipeline(client.items)
    bodies = [orjson.dumps({"TableName": "things", "Item": item(str(n))}) for n in range(100)]
    sending = asyncio.create_task(
        stream.send(*(pb.Call(operation="PutItem", body=body) for body in bodies))
    )
    await asyncio.sleep(0)
    answers = await sending
    await stream.end()
    assert [answer.error.code for answer in answers] == [""] * 100


async def test_numbers_in_the_key_are_equal_by_value(client: Client) -> None:
    await client.create("numbered", sort="N")
    put = {"TableName": "numbered", "Item": {"p": {"S": "x"}, "s": {"N": "1.0"}, "a": {"N": "1"}}}
    await client.call("PutItem", **put)
    found = await client.call(
        "GetItem", TableName="numbered", Key={"p": {"S": "x"}, "s": {"N": "1e0"}}
    )
    assert found["Item"]["s"] == {"N": "1"}
    duplicates = [{"PutRequest": {"Item": {"p": {"S": "x"}, "s": {"N": n}}}} for n in ("10", "1E1")]
    problem = await failing(client.call("BatchWriteItem", RequestItems={"numbered": duplicates}))
    assert "Provided list of item keys contains duplicates" in str(problem)


def test_values_of_every_type_survive_the_wire() -> None:
    for value in EVERY_TYPE.values():
        target = types_pb2.AttributeValue()
        fill(target, value)
        assert to_json(types_pb2.AttributeValue.FromString(target.SerializeToString())) == value


async def test_service_unavailable_is_what_a_stopping_node_answers(cluster: Cluster) -> None:
    [(region, client)] = cluster.clients.items()
    await client.create()
    other = Client(f"127.0.0.1:{cluster.ports[region]}")
    await other.call("ListTables")
    await cluster.stop(region)
    problem = await failing(other.items.GetItem(pb.GetItemRequest(table_name="things")))
    assert isinstance(problem, ServiceUnavailable)
    await other.close()
