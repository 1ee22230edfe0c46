"""The SDK against a fake: one server that plays a router with regions, or a node."""

import asyncio
import gc
import operator
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

import grpc
import orjson
import pytest
from grpc import aio

import antipodes
from antipodes import AntipodesError, InternalServerError, ServiceUnavailable
from antipodes.client.background import Background
from antipodes.core.regions import AWS_REGIONS
from antipodes.v1 import items_pb2, router_pb2, streams_pb2
from antipodes.wire import errors as wire_errors

pytestmark = pytest.mark.integration

SEQUENCE_BASE = 10**24
LONDON, TOKYO = "eu-west-2", "ap-northeast-1"
Context = Any
Request = dict[str, Any]


class Fake:
    """Answers at once, unless told otherwise; everything that happens wakes ``until``."""

    def __init__(self, *regions: str) -> None:
        self.available = dict.fromkeys(regions, True)
        self.items: dict[str, Request] = {}
        self.calls: list[tuple[str, Request]] = []
        self.messages: list[list[str]] = []
        self.metadata: list[dict[str, str]] = []
        self.timeouts: list[int] = []
        self.answers: dict[str, list[AntipodesError | Request]] = {}
        self.held: set[str] = set()
        self.breaking: list[str] = []
        self.backwards = False
        self.locates = 0
        self.log: list[tuple[str, Request]] = []
        self.subscriptions: list[tuple[str, dict[str, str]]] = []
        self.break_after: list[int] = []
        self.changed = asyncio.Condition()
        self.port = 0
        self._server: aio.Server

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> "Fake":
        self._server = aio.server(options=(("grpc.so_reuseport", 0),))
        pipeline = grpc.stream_stream_rpc_method_handler(
            self.pipeline,
            items_pb2.PipelineRequest.FromString,
            items_pb2.PipelineResponse.SerializeToString,
        )
        subscribe = grpc.unary_stream_rpc_method_handler(
            self.subscribe,
            streams_pb2.SubscribeRequest.FromString,
            streams_pb2.SubscribeResponse.SerializeToString,
        )
        watch = grpc.unary_stream_rpc_method_handler(
            self.watch,
            router_pb2.WatchTopologyRequest.FromString,
            router_pb2.WatchTopologyResponse.SerializeToString,
        )
        locate = grpc.unary_unary_rpc_method_handler(
            self.locate,
            router_pb2.LocateRequest.FromString,
            router_pb2.LocateResponse.SerializeToString,
        )
        services: dict[str, dict[str, Any]] = {
            "Items": {"Pipeline": pipeline},
            "Streams": {"Subscribe": subscribe},
        }
        if self.available:
            services["Router"] = {"WatchTopology": watch, "Locate": locate}
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(f"antipodes.v1.{name}", methods)
                for name, methods in services.items()
            ]
        )
        self.port = self._server.add_insecure_port(self.endpoint)
        await self._server.start()
        return self

    async def stop(self) -> None:
        await self._server.stop(0)

    async def happen(self, change: Callable[[], object] = lambda: None) -> None:
        async with self.changed:
            change()
            self.changed.notify_all()

    async def until(self, condition: Callable[[], object]) -> None:
        async with self.changed:
            await self.changed.wait_for(condition)

    def operations(self, name: str) -> int:
        return sum(operation == name for operation, _ in self.calls)

    async def choose(self, context: Context) -> str:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        await self.happen(lambda: self.metadata.append(metadata))
        if not self.available:
            return ""
        wished = metadata.get("antipodes-region", LONDON if "antipodes-near" in metadata else "")
        order = sorted(self.available, key=lambda r: (not self.available[r], r != wished, r))
        if metadata.get("antipodes-failover") == "never" and wished:
            order = [wished]
        if not self.available[order[0]]:
            refused = (("antipodes-refused", "true"),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no region is available", refused)
        await context.send_initial_metadata((("antipodes-served-by", order[0]),))
        return order[0]

    async def pipeline(self, _: object, context: Context) -> None:
        region = await self.choose(context)
        answering: set[asyncio.Task[None]] = set()
        writing = asyncio.Lock()  # gRPC takes one message at a time.
        while (message := await context.read()) is not aio.EOF:
            self.messages.append([c.operation for c in message.calls])
            await self.happen()
            if broken := [c for c in message.calls if c.operation in self.breaking]:
                self.calls += [(c.operation, orjson.loads(c.body)) for c in message.calls]
                self.breaking.remove(broken[0].operation)
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"{region} went away")
            calls = list(message.calls)
            for call in reversed(calls) if self.backwards else calls:
                task = asyncio.create_task(self.answer(call, context, writing))
                answering.add(task)
                task.add_done_callback(answering.discard)

    async def answer(self, call: items_pb2.Call, context: Context, writing: asyncio.Lock) -> None:
        request = orjson.loads(call.body)
        self.timeouts.append(call.timeout_ms)
        await self.happen(lambda: self.calls.append((call.operation, request)))
        await self.until(lambda: call.operation not in self.held)
        prepared = self.answers.get(call.operation)
        answer = prepared.pop(0) if prepared else self.act(call.operation, request)
        printed = items_pb2.Answer(id=call.id)
        if isinstance(answer, AntipodesError):
            printed.error.CopyFrom(wire_errors.to_message(answer))
        else:
            printed.body = orjson.dumps(answer)
        async with writing:
            await context.write(items_pb2.PipelineResponse(answers=[printed]))

    def act(self, operation: str, request: Request) -> Request:
        match operation:
            case "PutItem":
                self.items[request["Item"]["id"]["S"]] = request["Item"]
                return {}
            case "GetItem":
                found = self.items.get(request["Key"]["id"]["S"])
                return {"Item": found} if found else {}
            case "BatchWriteItem":
                [writes] = request["RequestItems"].values()
                for write in writes:
                    item = write["PutRequest"]["Item"]
                    self.items[item["id"]["S"]] = item
                return {"UnprocessedItems": {}}
            case "BatchGetItem":
                [(table, keys)] = request["RequestItems"].items()
                items = [self.items.get(key["id"]["S"]) for key in keys["Keys"]]
                return {"Responses": {table: [item for item in items if item]}}
            case "Query" | "Scan":
                return {"Items": list(self.items.values())}
            case "ListTables":
                if "ExclusiveStartTableName" in request:
                    return {"TableNames": ["c"]}
                return {"TableNames": ["a", "b"], "LastEvaluatedTableName": "b"}
            case _:
                name = "Table" if operation == "DescribeTable" else "TableDescription"
                return {name: describe(request["TableName"])}

    def statuses(self) -> list[router_pb2.RegionStatus]:
        return [
            router_pb2.RegionStatus(
                region=name,
                coordinates=router_pb2.Coordinates(
                    latitude=AWS_REGIONS[name].latitude, longitude=AWS_REGIONS[name].longitude
                ),
                healthy=up,
                available=up,
                round_trip_ms=-1,
                distance_km=-1,
            )
            for name, up in sorted(self.available.items(), key=lambda pair: (not pair[1], pair[0]))
        ]

    async def watch(
        self, _: object, context: Context
    ) -> AsyncIterator[router_pb2.WatchTopologyResponse]:
        sent: dict[str, bool] = {}
        while True:
            await self.until(partial(operator.ne, self.available, sent))
            sent = dict(self.available)
            yield router_pb2.WatchTopologyResponse(regions=self.statuses())

    async def locate(self, _: object, context: Context) -> router_pb2.LocateResponse:
        self.locates += 1
        return router_pb2.LocateResponse(regions=self.statuses())

    async def subscribe(
        self, request: streams_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[streams_pb2.SubscribeResponse]:
        region = await self.choose(context)
        after = request.after_sequence_number or str(SEQUENCE_BASE)
        if request.HasField("now") and self.log:
            after = self.log[-1][0]
        kind = request.WhichOneof("position") or ""
        await self.happen(lambda: self.subscriptions.append((kind, self.metadata[-1])))
        yield streams_pb2.SubscribeResponse(position=after)
        left = self.break_after.pop(0) if self.break_after else len(self.log) + 10**6
        while True:
            await self.until(partial(self.is_behind, after))
            page = [(n, record) for n, record in self.log if n > after][:3]
            if left < len(page):
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"{region} went away")
            left -= len(page)
            after = page[-1][0]
            yield streams_pb2.SubscribeResponse(
                position=after,
                records=[
                    streams_pb2.StreamRecord(
                        json=orjson.dumps(record), sequence_number=n, shard_id="s",
                        origin_region=TOKYO,
                    )
                    for n, record in page
                ],
            )  # fmt: skip

    def is_behind(self, after: str) -> bool:
        return any(number > after for number, _ in self.log)

    async def write_log(self, count: int) -> None:
        for _ in range(count):
            number = str(SEQUENCE_BASE + 1 + len(self.log))
            change = {
                "ApproximateCreationDateTime": 1_700_000_000,
                "Keys": {"id": {"S": str(len(self.log))}},
                "NewImage": {"id": {"S": str(len(self.log))}, "n": {"N": "1.5"}},
                "SequenceNumber": number,
                "SizeBytes": 9,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            }
            record = {
                "eventID": number, "eventName": "INSERT", "awsRegion": LONDON, "dynamodb": change,
            }  # fmt: skip
            self.log.append((number, record))
            await self.happen()


def describe(name: str) -> Request:
    return {
        "TableName": name,
        "TableStatus": "ACTIVE",
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "CreationDateTime": 1_700_000_000.5,
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "Replicas": [{"RegionName": TOKYO, "ReplicaStatus": "ACTIVE"}],
    }


@pytest.fixture
async def node() -> AsyncIterator[Fake]:
    fake = await Fake().start()
    yield fake
    await fake.stop()


@pytest.fixture
async def router() -> AsyncIterator[Fake]:
    fake = await Fake(TOKYO, LONDON).start()
    yield fake
    await fake.stop()


@pytest.fixture
async def client(node: Fake) -> AsyncIterator[antipodes.aio.AsyncClient]:
    async with antipodes.aio.connect(node.endpoint) as client:
        yield client


Client = antipodes.aio.AsyncClient


async def test_what_was_put_is_got(node: Fake, client: Client) -> None:
    table = client.table("cities")
    assert await table.put({"id": "Tokyo", "population": 8336599, "tags": {"a"}}) is None
    expected = {"id": "Tokyo", "population": 8336599, "tags": {"a"}}
    assert await table.get({"id": "Tokyo"}) == expected
    assert await table.get("Tokyo") == expected
    assert await table.get("Oslo") is None
    assert node.operations("DescribeTable") == 1
    assert client.served_by is None


async def test_calls_that_are_ready_together_travel_together(node: Fake, client: Client) -> None:
    table = client.table("cities")
    await asyncio.gather(*(table.put({"id": str(n)}) for n in range(600)))
    assert len(node.items) == 600
    assert sum(map(len, node.messages)) == 600
    assert len(node.messages) < 30
    assert max(map(len, node.messages)) <= 256


async def test_a_message_stays_below_its_size(node: Fake, client: Client) -> None:
    table = client.table("cities")
    await asyncio.gather(*(table.put({"id": str(n), "x": "x" * 400_000}) for n in range(8)))
    assert max(map(len, node.messages)) == 2


async def test_answers_may_come_in_any_order(node: Fake, client: Client) -> None:
    node.backwards = True
    table = client.table("cities")
    await asyncio.gather(*(table.put({"id": str(n), "n": n}) for n in range(50)))
    found = await asyncio.gather(*(table.get({"id": str(n)}) for n in range(50)))
    assert [item and item["n"] for item in found] == list(range(50))


async def test_an_error_is_raised_as_its_class(node: Fake, client: Client) -> None:
    node.answers["GetItem"] = [antipodes.ResourceNotFoundException("Requested resource not found")]
    with pytest.raises(antipodes.ResourceNotFoundException, match="Requested resource not found"):
        await client.table("cities").get({"id": "x"})


async def test_a_call_without_an_answer_times_out(node: Fake) -> None:
    node.held.add("PutItem")
    async with antipodes.aio.connect(node.endpoint, timeout_s=0.2) as client:
        with pytest.raises(antipodes.RequestTimeout, match=r"PutItem in time; whether it was"):
            await client.table("cities").put({"id": "x"})
        assert await client.table("cities").get({"id": "x"}) is None  # The stream goes on.
    assert 0 < node.timeouts[0] <= 200


async def test_a_cancelled_call_leaves_the_others_alone(node: Fake, client: Client) -> None:
    node.held.add("GetItem")
    table = client.table("cities")
    first, second = (asyncio.create_task(table.get({"id": "x"})) for _ in range(2))
    await node.until(lambda: node.operations("GetItem") == 2)
    first.cancel()
    await node.happen(node.held.clear)
    assert await second is None
    assert first.cancelled() or await asyncio.wait([first])


async def test_a_break_repeats_what_is_safe_once(node: Fake, client: Client) -> None:
    node.held.add("GetItem")
    table = client.table("cities")
    read = asyncio.create_task(table.get({"id": "x"}))
    await node.until(lambda: node.operations("GetItem") == 1)
    node.breaking.append("PutItem")
    node.held.clear()
    await table.put({"id": "x"})
    assert await read in ({"id": "x"}, None)
    assert node.operations("PutItem") == 2
    assert node.operations("GetItem") == 2


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("CreateTable", lambda client: client.create_table("cities", "id")),
        ("DeleteTable", lambda client: client.delete_table("cities")),
        ("UpdateTable", lambda client: client.add_replica("cities", TOKYO)),
        ("PutItem", lambda client: client.table("cities").put({"id": "x"}, return_old=True)),
    ],
)
async def test_a_break_does_not_repeat_what_must_happen_once(
    node: Fake, client: Client, operation: str, act: Callable[[Client], Any]
) -> None:
    node.breaking.append(operation)
    with pytest.raises(InternalServerError, match=f"{operation} was answered .*is unknown") as info:
        await act(client)
    assert info.value.applied is None
    assert node.operations(operation) == 1


async def test_what_was_refused_before_it_began_is_repeated(node: Fake, client: Client) -> None:
    node.answers["CreateTable"] = [ServiceUnavailable("not yet")]
    description = await client.create_table("cities", "id")
    assert description.replicas == (antipodes.Replica(TOKYO, "ACTIVE"),)
    assert node.operations("CreateTable") == 2


async def test_an_unreachable_endpoint_is_named_with_the_remedy(node: Fake) -> None:
    await node.stop()
    async with antipodes.aio.connect(node.endpoint, attempts_max=2) as client:
        expected = f"no router or node answers at {node.endpoint}; is `antipodes up` running"
        for act in (client.describe_table("cities"), client.create_table("cities", "id")):
            with pytest.raises(ServiceUnavailable, match=expected):
                await act
        stream = client.table("cities").stream()
        with pytest.raises(ServiceUnavailable, match=expected):
            await stream.ready()


async def test_calls_wait_for_a_node_that_starts_late(node: Fake, client: Client) -> None:
    await node.stop()
    created = asyncio.create_task(client.create_table("cities", "id"))
    await node.start()
    assert (await created).name == "cities"
    await node.stop()
    put = asyncio.create_task(client.table("cities").put({"id": "x"}))
    await node.start()
    await put


async def test_batches_of_any_size_are_cut_and_finished(node: Fake, client: Client) -> None:
    left = {"UnprocessedItems": {"cities": [{"PutRequest": {"Item": {"id": {"S": "0"}}}}]}}
    node.answers["BatchWriteItem"] = [left]
    table = client.table("cities")
    await table.batch_write(puts=[{"id": str(n)} for n in range(60)])
    assert node.operations("BatchWriteItem") == 4
    assert "0" in node.items
    node.answers["BatchGetItem"] = [{"UnprocessedKeys": {"cities": {"Keys": [{"id": {"S": "0"}}]}}}]
    assert await table.batch_get([str(n) for n in range(160)]) == [{"id": "0"}]
    assert node.operations("BatchGetItem") == 3


async def test_tables_are_described_and_listed(node: Fake, client: Client) -> None:
    description = await client.describe_table("cities")
    assert description.key == antipodes.KeyNames("id")
    assert description.stream_view_type == "NEW_AND_OLD_IMAGES"
    assert [name async for name in client.list_tables()] == ["a", "b", "c"]
    assert await client.regions() == []


async def test_a_query_names_the_partition_key(node: Fake, client: Client) -> None:
    node.items["x"] = {"id": {"S": "x"}}
    assert [item async for item in client.table("cities").query("x", limit=1)] == [{"id": "x"}]
    operation, request = node.calls[-1]
    assert operation == "Query"
    assert list(request["KeyConditions"]) == ["id"]
    assert request["Limit"] == 1


async def test_a_closed_client_says_so(node: Fake) -> None:
    client = antipodes.aio.connect(node.endpoint)
    node.held.add("GetItem")
    waiting = asyncio.create_task(client.table("cities").get({"id": "x"}))
    await node.until(lambda: node.calls)
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="closed before GetItem was answered"):
        await waiting
    with pytest.raises(RuntimeError, match="this client is closed"):
        await client.table("cities").get({"id": "x"})


async def test_the_preference_travels_as_metadata(router: Fake) -> None:
    async with antipodes.aio.connect(router.endpoint, region=LONDON, failover=False) as client:
        await client.table("cities").get({"id": "x"})
        assert client.served_by == LONDON
    assert router.metadata[0]["antipodes-region"] == LONDON
    assert router.metadata[0]["antipodes-failover"] == "never"
    async with antipodes.aio.connect(router.endpoint, near=(51.5, -0.25)) as client:
        await client.table("cities").get({"id": "x"})
    assert router.metadata[1]["antipodes-near"] == "51.5,-0.25"


async def served_by(router: Fake, client: Client) -> str | None:
    await client.table("cities").get({"id": "x"})
    return client.served_by


async def test_what_no_region_began_is_repeated(router: Fake) -> None:
    async with antipodes.aio.connect(router.endpoint, attempts_max=2) as client:
        router.available = dict.fromkeys(router.available, False)
        with pytest.raises(ServiceUnavailable, match=r"^no region is available$"):
            await client.create_table("cities", "id")
        created = asyncio.create_task(client.create_table("cities", "id"))
        await router.until(lambda: len(router.metadata) == 3)
        router.available = dict.fromkeys(router.available, True)
        assert (await created).name == "cities"


async def first_page(items: antipodes.aio.AsyncItems) -> antipodes.QueryPage:
    async for page in items.pages():
        return page
    raise AssertionError


async def until_served_by(router: Fake, client: Client, region: str) -> None:
    while await served_by(router, client) != region:
        pass


@pytest.mark.parametrize("preference", [{"region": LONDON}, {"near": (51.5, 0.0)}, {}])
async def test_traffic_fails_over_and_comes_back(router: Fake, preference: Any) -> None:
    async with antipodes.aio.connect(router.endpoint, **preference) as client:
        # The fake orders by name, so that without a preference Tokyo is first.
        preferred = LONDON if preference else TOKYO
        other = TOKYO if preference else LONDON
        await until_served_by(router, client, preferred)
        router.breaking.append("PutItem")
        router.available[preferred] = False
        await router.happen()
        await client.table("cities").put({"id": "x"})
        assert client.served_by == other
        router.held.add("Query")
        query = asyncio.create_task(first_page(client.table("cities").query({"id": "x"})))
        await router.until(lambda: router.operations("Query"))
        await router.happen(lambda: router.available.update({preferred: True}))
        await until_served_by(router, client, preferred)
        assert not query.done()  # The old stream still owes this answer.
        await router.happen(router.held.clear)
        assert (await query).items == [{"id": "x"}]
    assert router.operations("Query") == 1


async def test_near_costs_no_round_trip(router: Fake) -> None:
    async with antipodes.aio.connect(router.endpoint) as client:
        early = client.near(51.0, 0.0)
        assert await served_by(router, early) == LONDON
        assert await served_by(router, client.near(-37.8, 145.0)) == TOKYO
        locates, streams = router.locates, len(router.metadata)
        handles = {client.near(n / 600, n / 200) for n in range(34_000)}
        assert {handle.region for handle in handles} == {LONDON, TOKYO}
        assert len(handles) == 2
        assert (router.locates, len(router.metadata)) == (locates, streams)
        await router.happen(lambda: router.available.update({LONDON: False}))
        while client.near(51.0, 0.0).region != TOKYO:
            await served_by(router, client)


async def test_near_at_a_node_chooses_nothing(node: Fake, client: Client) -> None:
    assert await client.near(51.0, 0.0).table("cities").get({"id": "x"}) is None
    assert client.near(51.0, 0.0) is client


async def test_regions_are_ordered_by_the_router(router: Fake) -> None:
    async with antipodes.aio.connect(router.endpoint) as client:
        regions = await client.regions()
        assert [region.name for region in regions] == [TOKYO, LONDON]
        assert regions[0].available
        assert regions[0].round_trip_ms is None
        assert client.in_region(TOKYO) is client.in_region(TOKYO)


async def take(stream: antipodes.aio.AsyncRecords, count: int) -> list[str]:
    return [(await anext(stream)).keys["id"] for _ in range(count)]


async def test_a_stream_survives_breaks_without_loss_or_repeat(node: Fake, client: Client) -> None:
    node.break_after = [0, 3, 4, 7]
    await node.write_log(20)
    stream = client.table("cities").stream("beginning")
    assert await take(stream, 20) == [str(n) for n in range(20)]
    assert stream.position == node.log[-1][0]
    kinds = [kind for kind, _ in node.subscriptions]
    assert kinds == ["beginning", *["after_sequence_number"] * 4]
    await stream.aclose()


async def test_a_record_has_native_values(node: Fake, client: Client) -> None:
    await node.write_log(1)
    record = await anext(client.table("cities").stream("beginning"))
    assert record.event_name == "INSERT"
    assert record.new_image == {"id": "0", "n": Decimal("1.5")}
    assert record.old_image is None
    assert record.origin_region == TOKYO
    assert record.region == LONDON
    assert record.created.year == 2023


async def test_a_stream_from_now_skips_what_was_before(node: Fake, client: Client) -> None:
    await node.write_log(2)
    async with client.table("cities").stream("now") as stream:
        await node.write_log(2)
        assert await take(stream, 2) == ["2", "3"]
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await node.write_log(1)
        assert await take(stream, 1) == ["4"]  # A wait that was given up loses nothing.
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting


async def test_a_stream_stays_with_its_region(router: Fake) -> None:
    await router.write_log(4)
    router.break_after = [3]
    async with antipodes.aio.connect(router.endpoint) as client:
        stream = client.table("cities").stream("beginning", region=LONDON, patience_s=0.05)
        assert await take(stream, 3) == ["0", "1", "2"]
        assert stream.region == LONDON
        router.available[LONDON] = False
        with pytest.raises(ServiceUnavailable, match=f"{LONDON} does not serve .* position was"):
            await take(stream, 1)
        assert stream.position == router.log[2][0]
        router.available[LONDON] = True
        assert await take(stream, 1) == ["3"]
    for _, metadata in router.subscriptions:
        assert metadata["antipodes-region"] == LONDON
        assert metadata["antipodes-failover"] == "never"


async def test_a_position_without_its_region_is_refused(router: Fake) -> None:
    await router.write_log(2)
    async with antipodes.aio.connect(router.endpoint) as client:
        stream = client.table("cities").stream(router.log[0][0])
        with pytest.raises(antipodes.ValidationException, match=r"only valid in the region"):
            await anext(stream)
        stream = client.in_region(TOKYO).table("cities").stream(router.log[0][0])
        assert await take(stream, 1) == ["1"]
        assert stream.region == TOKYO


async def test_a_stream_reports_what_was_trimmed(node: Fake, client: Client) -> None:
    error = antipodes.TrimmedDataAccessException("trimmed")

    async def refuse(context: Context) -> str:
        details = wire_errors.to_status(error).SerializeToString()
        await context.abort(
            grpc.StatusCode.OUT_OF_RANGE, "trimmed", ((wire_errors.DETAILS_KEY, details),)
        )
        return ""

    node.choose = refuse  # type: ignore[method-assign]
    with pytest.raises(antipodes.TrimmedDataAccessException):
        await anext(client.table("cities").stream("7"))


@pytest.fixture
def threaded_router() -> Iterator[tuple[Fake, Background]]:
    background = Background()
    fake = background.run(start_router())
    yield fake, background
    background.stop(fake.stop())


async def start_router() -> Fake:
    return await Fake(TOKYO, LONDON).start()


Threaded = tuple[Fake, Background]


def test_the_synchronous_client_serves_many_threads(threaded_router: Threaded) -> None:
    fake, _ = threaded_router
    with antipodes.connect(fake.endpoint, region=TOKYO) as client:
        table = client.table("cities")

        def work(thread: int) -> list[Any]:
            for n in range(20):
                table.put({"id": f"{thread}-{n}", "n": n})
            return [(table.get(f"{thread}-{n}") or {})["n"] for n in range(20)]

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [list(range(20))] * 8
        assert client.served_by == TOKYO
        assert len(list(table.scan(limit=1000))) == 160
        assert client.near(51.0, 0.0).region == LONDON
        assert client.near(51.0, 0.0) is client.in_region(LONDON)
        assert client.create_table("cities", "id").name == "cities"
        assert list(client.list_tables()) == ["a", "b", "c"]
        table.batch_write(puts=({"id": str(n)} for n in range(30)))
        assert len(table.batch_get(str(n) for n in range(30))) == 30
        with pytest.raises(TypeError, match="float"):
            table.put({"id": "x", "y": 1.5})
    client.close()
    with pytest.raises(RuntimeError, match="this client is closed"):
        table.get("x")


def test_the_synchronous_stream_resumes(threaded_router: Threaded) -> None:
    fake, background = threaded_router
    fake.break_after = [3]
    background.run(fake.write_log(7))
    with antipodes.connect(fake.endpoint) as client:
        stream = client.table("cities").stream("beginning")
        assert [next(stream).keys["id"] for _ in range(5)] == list("01234")
        assert stream.position == fake.log[4][0]
        assert [next(stream).keys["id"] for _ in range(2)] == list("56")
        stream.close()
        assert list(stream) == []


def test_an_interrupt_ends_a_synchronous_iterator(threaded_router: Threaded) -> None:
    fake, background = threaded_router
    main = threading.main_thread().ident
    assert main is not None
    with antipodes.connect(fake.endpoint) as client, client.table("cities").stream() as stream:

        def interrupt() -> None:
            background.run(fake.until(lambda: fake.subscriptions))
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        thread.join()
        background.run(fake.write_log(1))
        assert next(stream).keys["id"] == "0"


def test_a_client_that_is_dropped_closes_itself(threaded_router: Threaded) -> None:
    fake, _ = threaded_router
    assert list(antipodes.connect(fake.endpoint).table("cities").scan()) == []
    gc.collect()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("antipodes-client") == 1  # The one that runs the fake.
