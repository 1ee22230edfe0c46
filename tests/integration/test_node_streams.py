"""Subscriptions to the changes of a table."""

import asyncio
from typing import Any

import grpc.aio
import pytest

from antipodes.core.errors import (
    ResourceNotFoundException,
    ServiceUnavailable,
    ValidationException,
)
from antipodes.v1 import streams_pb2
from tests.integration.nodes import EU, US, Client, Cluster, Subscription, eventually, item

pytestmark = pytest.mark.integration

BEGINNING: dict[str, Any] = {"beginning": streams_pb2.SubscribeRequest.Beginning()}
NOW: dict[str, Any] = {"now": streams_pb2.SubscribeRequest.Now()}
BOTH = "NEW_AND_OLD_IMAGES"


@pytest.fixture
async def client(cluster: Cluster) -> Client:
    [client] = cluster.clients.values()
    return client


async def keys(subscription: Subscription, count: int) -> list[str]:
    return [(await subscription.next())["dynamodb"]["Keys"]["p"]["S"] for _ in range(count)]


@pytest.mark.parametrize(
    ("view_type", "images"),
    [("KEYS_ONLY", ""), ("NEW_IMAGE", "N"), ("OLD_IMAGE", "O"), (BOTH, "NO")],
)
async def test_records_show_what_the_view_type_says(
    client: Client, view_type: str, images: str
) -> None:
    await client.create(view_type=view_type)
    await client.put("x", n={"N": "1"})
    await client.put("x", n={"N": "2"})
    await client.put("x", n={"N": "2"})  # changes nothing, gives no record
    await client.delete("x")
    await client.delete("x")
    await client.put("end")
    subscription = client.subscribe(**BEGINNING)
    records = [await subscription.next() for _ in range(4)]
    assert [r["eventName"] for r in records] == ["INSERT", "MODIFY", "REMOVE", "INSERT"]
    one, two = item("x", n={"N": "1"}), item("x", n={"N": "2"})
    expected = [("INSERT", one, None), ("MODIFY", two, one), ("REMOVE", None, two)]
    for record, (_, new, old) in zip(records, expected, strict=False):
        assert record["eventSource"] == "aws:dynamodb"
        assert record["awsRegion"] == US
        assert record["dynamodb"]["Keys"] == item("x")
        assert record["dynamodb"]["StreamViewType"] == view_type
        assert record["dynamodb"].get("NewImage") == (new if "N" in images else None)
        assert record["dynamodb"].get("OldImage") == (old if "O" in images else None)
    numbers = [int(r["dynamodb"]["SequenceNumber"]) for r in records]
    assert numbers == sorted(set(numbers))
    subscription.cancel()


async def test_subscription_from_now_gives_only_what_follows(client: Client) -> None:
    await client.create(view_type=BOTH)
    await client.put("before")
    subscription = client.subscribe(**NOW)
    await subscription.read()
    assert subscription.position
    await client.put("after")
    assert await keys(subscription, 1) == ["after"]
    subscription.cancel()


async def test_subscription_goes_on_after_a_broken_one_without_loss_or_repeat(
    client: Client,
) -> None:
    await client.create(view_type="KEYS_ONLY")
    names = [f"{number:03}" for number in range(200)]

    async def write() -> None:
        for name in names:
            await client.put(name)

    writing = asyncio.create_task(write())
    got: list[str] = []
    position: dict[str, Any] = BEGINNING
    while len(got) < len(names):
        subscription = client.subscribe(**position)
        for _ in range(min(17, len(names) - len(got))):
            record = await subscription.next_record()
            position = {"after_sequence_number": record.sequence_number}
            got.append(str(record.json).split('"S":"')[1].split('"')[0])
        subscription.cancel()
    await writing
    assert got == names


async def test_position_without_records_can_be_resumed_from(client: Client) -> None:
    await client.create(view_type="KEYS_ONLY")
    first = client.subscribe(**NOW)
    await first.read()
    first.cancel()
    await client.put("x")
    second = client.subscribe(after_sequence_number=first.position)
    assert await keys(second, 1) == ["x"]
    second.cancel()


async def test_large_stream_comes_in_pages_in_order(client: Client) -> None:
    await client.create(view_type=BOTH)
    names = [f"{number:02}" for number in range(40)]
    for name in names:
        await client.put(name, b={"S": "y" * 100_000})
    subscription = client.subscribe(**BEGINNING)
    assert await keys(subscription, len(names)) == names
    subscription.cancel()


async def test_replicated_changes_appear_with_their_origin(pair: Cluster) -> None:
    subscription = pair[EU].subscribe(**BEGINNING)
    await pair[US].put("x", n={"N": "1"})
    record = await subscription.next_record()
    assert record.origin_region == US
    assert record.shard_id.startswith("shardId-")
    await pair[EU].put("x", n={"N": "2"})
    second = await subscription.next()
    assert second["eventName"] == "MODIFY"
    assert second["awsRegion"] == EU
    assert second["dynamodb"]["OldImage"]["n"] == {"N": "1"}
    subscription.cancel()


async def test_replicated_write_that_loses_is_not_shown(pair: Cluster) -> None:
    await pair[US].pause(EU)
    await pair[EU].pause(US)
    await pair[US].put("x", n={"N": "1"})
    await pair[EU].put("x", n={"N": "2"})
    await pair[EU].put("end")
    await pair[US].resume(EU)
    await pair[EU].resume(US)
    await pair.converged()
    winners = pair[EU].subscribe(**BEGINNING)
    assert await keys(winners, 2) == ["x", "end"]
    losers = pair[US].subscribe(**BEGINNING)
    changes = [await losers.next() for _ in range(3)]
    assert [c["eventName"] for c in changes] == ["INSERT", "MODIFY", "INSERT"]
    winners.cancel()
    losers.cancel()


async def test_deleted_table_ends_its_subscriptions_at_once(client: Client) -> None:
    await client.create(view_type=BOTH)
    subscription = client.subscribe(**BEGINNING)
    await subscription.read()
    started = asyncio.get_running_loop().time()
    await client.call("DeleteTable", TableName="things")
    problem = await subscription.failure()
    assert isinstance(problem, ResourceNotFoundException)
    assert "table things was deleted" in str(problem)
    assert asyncio.get_running_loop().time() - started < 2


async def test_stream_is_found_by_table_name_and_by_arn(client: Client) -> None:
    await client.create(view_type=BOTH)
    described = (await client.call("DescribeTable", TableName="things"))["Table"]
    await client.put("x")
    for name in ("things", described["TableArn"], described["LatestStreamArn"]):
        subscription = client.subscribe(name, **BEGINNING)
        assert await keys(subscription, 1) == ["x"]
        subscription.cancel()


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        ("nothing", "Table: nothing not found"),
        ("silent", "table silent has no stream"),
        ("arn:aws:dynamodb:us-east-1:0:table/things/stream/1999", "not found"),
        ("", "not found"),
    ],
)
async def test_unknown_stream_is_not_found(client: Client, stream: str, text: str) -> None:
    await client.create(view_type=BOTH)
    await client.create("silent")
    problem = await client.subscribe(stream, **BEGINNING).failure()
    assert isinstance(problem, ResourceNotFoundException)
    assert text in str(problem)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("2000000000000000000000999", "sequence numbers belong to one region"),
        ("17", "Invalid SequenceNumber: 17"),
        ("abc", "Invalid SequenceNumber: abc"),
        ("", "Invalid SequenceNumber"),
        ("9" * 50, "Invalid SequenceNumber"),
        ("\u0663" * 25, "Invalid SequenceNumber"),
    ],
)
async def test_position_that_is_not_of_this_region_is_refused(
    client: Client, number: str, text: str
) -> None:
    await client.create(view_type=BOTH)
    problem = await client.subscribe(after_sequence_number=number).failure()
    assert isinstance(problem, ValidationException)
    assert text in str(problem)


async def test_many_subscribers_all_get_everything(client: Client) -> None:
    await client.create(view_type="NEW_IMAGE")
    subscriptions = [client.subscribe(**NOW) for _ in range(20)]
    for subscription in subscriptions:
        await subscription.read()
    for number in range(50):
        await client.put(str(number))
    everything = [str(number) for number in range(50)]
    for subscription in subscriptions:
        assert await keys(subscription, 50) == everything
        subscription.cancel()


async def test_stopping_node_ends_subscriptions_so_that_they_can_be_resumed(
    cluster: Cluster,
) -> None:
    await cluster[US].create(view_type=BOTH)
    other = Client(f"127.0.0.1:{cluster.ports[US]}")
    subscription = other.subscribe(**BEGINNING)
    await cluster[US].put("x")
    assert await keys(subscription, 1) == ["x"]
    await cluster.stop(US)
    assert isinstance(await subscription.failure(), ServiceUnavailable)
    await cluster.start(US)
    resumed = other.subscribe(after_sequence_number=subscription.position)
    await eventually(lambda: cluster[US].put("y"))
    try:
        assert await keys(resumed, 1) == ["y"]
    except grpc.aio.AioRpcError:  # the channel was still waiting to try again
        resumed = other.subscribe(after_sequence_number=subscription.position)
        assert await keys(resumed, 1) == ["y"]
    await other.close()
