"""Nodes that run in the test's own process, and a way to talk to them."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import orjson
from grpc_health.v1 import health_pb2, health_pb2_grpc

from antipodes.core.errors import AntipodesError
from antipodes.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    items_pb2,
    items_pb2_grpc,
    streams_pb2,
    streams_pb2_grpc,
    tables_pb2_grpc,
)
from antipodes.wire import errors as wire_errors
from antipodes_node.app import Node
from antipodes_node.settings import NodeSettings

US, EU, ASIA = "us-east-1", "eu-west-2", "ap-northeast-1"
REGIONS = (US, EU, ASIA)
DEADLINE_SECONDS = 15.0
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


async def eventually(
    condition: Callable[[], Awaitable[Any] | Any], seconds: float = DEADLINE_SECONDS
) -> Any:
    """Wait until a condition gives something but None and False; an error counts as not yet."""
    last: object = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    found = condition()
                    last = await found if isinstance(found, Awaitable) else found
                except (AntipodesError, grpc.aio.AioRpcError) as error:
                    last = error
                else:
                    if last is not None and last is not False:
                        return last
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"did not hold within {seconds} s; last: {last!r}") from None


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for each in sockets:
        each.close()
    return ports


class Pipeline:
    """One Pipeline stream, by hand."""

    def __init__(self, stub: "items_pb2_grpc.ItemsAsyncStub") -> None:
        self._rpc: Any = stub.Pipeline()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[items_pb2.Answer]] = {}
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while (message := await self._rpc.read()) is not grpc.aio.EOF:
                for answer in message.answers:
                    self._waiting.pop(answer.id).set_result(answer)
            problem = "the stream ended"
        except grpc.aio.AioRpcError as error:
            problem = str(error)
        for future in self._waiting.values():
            future.set_exception(ConnectionError(problem))

    async def send(self, *calls: items_pb2.Call) -> list[items_pb2.Answer]:
        """Send calls in one message; gives their answers."""
        assert not self._reader.done(), "the stream has ended"
        futures = []
        for call in calls:
            call.id = next(self._ids)
            self._waiting[call.id] = asyncio.get_running_loop().create_future()
            futures.append(self._waiting[call.id])
        async with self._writing:
            await self._rpc.write(items_pb2.PipelineRequest(calls=calls))
        return await asyncio.gather(*futures)

    async def raw(self, operation: str, body: bytes, timeout_ms: int = 0) -> items_pb2.Answer:
        call = items_pb2.Call(operation=operation, body=body, timeout_ms=timeout_ms)
        [answer] = await self.send(call)
        return answer

    async def call(self, operation: str, request: Any) -> dict[str, Any]:
        answer = await self.raw(operation, orjson.dumps(request))
        if answer.HasField("error"):
            raise wire_errors.from_message(answer.error)
        parsed: dict[str, Any] = orjson.loads(answer.body)
        return parsed

    async def end(self) -> None:
        await self._rpc.done_writing()
        await self._reader

    async def close(self) -> None:
        self._rpc.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


class Client:
    """Everything that one node answers."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
        self.items: items_pb2_grpc.ItemsAsyncStub = items_pb2_grpc.ItemsStub(self.channel)
        self.tables: tables_pb2_grpc.TablesAsyncStub = tables_pb2_grpc.TablesStub(self.channel)
        self.streams: streams_pb2_grpc.StreamsAsyncStub = streams_pb2_grpc.StreamsStub(self.channel)
        self.admin: admin_pb2_grpc.AdminAsyncStub = admin_pb2_grpc.AdminStub(self.channel)
        self._health: Any = health_pb2_grpc.HealthStub(self.channel)
        self._pipeline: Pipeline | None = None

    @property
    def pipeline(self) -> Pipeline:
        if self._pipeline is None:
            self._pipeline = Pipeline(self.items)
        return self._pipeline

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self.pipeline.call(operation, request)

    async def create(
        self, table: str = "things", *, replicas: tuple[str, ...] = (), sort: str | None = "S",
        view_type: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Create a table with the partition key ``p`` (S) and the sort key ``s``."""
        kinds = {"p": "S"} | ({"s": sort} if sort else {})
        request: dict[str, Any] = {
            "TableName": table,
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()
            ],
            "KeySchema": [
                {"AttributeName": name, "KeyType": kind}
                for name, kind in zip(kinds, ("HASH", "RANGE"), strict=False)
            ],
            "Replicas": [{"RegionName": region} for region in replicas],
        }
        if view_type:
            request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": view_type}
        return await self.call("CreateTable", **request)

    async def put(self, p: str, s: str = "a", table: str = "things", **more: Any) -> dict[str, Any]:
        return await self.call("PutItem", TableName=table, Item=item(p, s, **more))

    async def delete(self, p: str, s: str = "a", table: str = "things") -> dict[str, Any]:
        return await self.call("DeleteItem", TableName=table, Key=item(p, s))

    async def get(self, p: str, s: str = "a", table: str = "things") -> dict[str, Any] | None:
        return (await self.call("GetItem", TableName=table, Key=item(p, s))).get("Item")

    async def tables_listed(self) -> list[str]:
        names: list[str] = (await self.call("ListTables"))["TableNames"]
        return names

    async def status(self) -> admin_pb2.GetStatusResponse:
        return await self.admin.GetStatus(admin_pb2.GetStatusRequest())

    async def link(self, peer: str) -> admin_pb2.LinkStatus:
        return next(e for e in (await self.status()).links if e.peer_region == peer)

    async def pause(self, *peers: str) -> None:
        for peer in peers:
            await self.admin.SetLink(admin_pb2.SetLinkRequest(peer_region=peer, paused=True))

    async def resume(self, *peers: str) -> None:
        for peer in peers:
            await self.admin.SetLink(admin_pb2.SetLinkRequest(peer_region=peer, paused=False))

    async def digest(self, table: str = "things") -> tuple[int, str]:
        answer = await self.admin.GetTableDigest(admin_pb2.GetTableDigestRequest(table_name=table))
        return answer.item_count, answer.digest

    async def conflicts(self, table: str = "") -> list[admin_pb2.Conflict]:
        request = admin_pb2.ListConflictsRequest(table_name=table)
        return list((await self.admin.ListConflicts(request)).conflicts)

    async def serving(self) -> bool:
        answer = await self._health.Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def subscribe(self, stream: str = "things", **position: Any) -> "Subscription":
        request = streams_pb2.SubscribeRequest(stream=stream, **position)
        return Subscription(self.streams.Subscribe(request))

    async def close(self) -> None:
        if self._pipeline is not None:
            await self._pipeline.close()
        await self.channel.close()


class Subscription:
    """Records as they come."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc
        self._records: list[streams_pb2.StreamRecord] = []
        self.position = ""

    async def next(self) -> dict[str, Any]:
        """Give the next record, parsed."""
        record: dict[str, Any] = orjson.loads((await self.next_record()).json)
        return record

    async def next_record(self) -> streams_pb2.StreamRecord:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not self._records:
                await self.read()
        return self._records.pop(0)

    async def read(self) -> streams_pb2.SubscribeResponse:
        message: Any = await self._rpc.read()
        assert message is not grpc.aio.EOF, "the subscription ended"
        self._records += message.records
        self.position = message.position
        response: streams_pb2.SubscribeResponse = message
        return response

    async def failure(self) -> AntipodesError:
        """Read on until the subscription fails; gives the error."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            try:
                while True:
                    await self.read()
            except grpc.aio.AioRpcError as error:
                return wire_errors.from_call(error)

    def cancel(self) -> None:
        self._rpc.cancel()


class Cluster:
    """Nodes that know each other."""

    def __init__(self, directory: Path, regions: tuple[str, ...]) -> None:
        self.directory = directory
        self.ports = dict(zip(regions, free_ports(len(regions)), strict=True))
        self.nodes: dict[str, Node] = {}
        self.clients: dict[str, Client] = {}

    def __getitem__(self, region: str) -> Client:
        return self.clients[region]

    def settings(self, region: str, /, **changed: Any) -> NodeSettings:
        values: dict[str, Any] = {
            "region": region,
            "cluster_id": "test",
            "data_dir": self.directory / region,
            "listen": f"127.0.0.1:{self.ports[region]}",
            "peer": {r: f"127.0.0.1:{p}" for r, p in self.ports.items() if r != region},
            "map_bytes": 64 << 20,
            "drain_seconds": 1.0,
        }
        return NodeSettings(**(values | changed))

    async def start(self, *regions: str, **changed: Any) -> None:
        for region in regions or self.ports:
            node = Node(self.settings(region, **changed))
            await node.start()
            self.nodes[region] = node
            if region not in self.clients:
                self.clients[region] = Client(f"127.0.0.1:{self.ports[region]}")

    async def stop(self, *regions: str) -> None:
        for region in regions or tuple(self.nodes):
            if (client := self.clients.pop(region, None)) is not None:
                await client.close()
            await self.nodes.pop(region).stop()

    async def restart(self, region: str, **changed: Any) -> None:
        await self.stop(region)
        await self.start(region, **changed)

    async def converged(self, table: str = "things") -> tuple[int, str]:
        """Wait until all running nodes hold the same versions; gives count and digest."""

        async def same() -> list[tuple[int, str]] | None:
            found = [await client.digest(table) for client in self.clients.values()]
            return found if len(set(found)) == 1 else None

        found: list[tuple[int, str]] = await eventually(same)
        return found[0]


def item(p: str, s: str | None = "a", **more: Any) -> dict[str, Any]:
    """An item, or a key when nothing more is given."""
    key: dict[str, Any] = {"p": {"S": p}} | ({} if s is None else {"s": {"S": s}})
    return key | more


async def failing(call: Awaitable[Any]) -> AntipodesError:
    """Give the error with which a call fails, of either door."""
    try:
        answer = await call
    except AntipodesError as error:
        return error
    except grpc.aio.AioRpcError as error:
        return wire_errors.from_call(error)
    raise AssertionError(f"it was answered: {answer!r}")


Start = Callable[..., Awaitable[Cluster]]
Starting = AsyncIterator[Start]
