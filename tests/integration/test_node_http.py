"""The HTTP door, byte by byte: what no well-behaved client sends, and what all of them rely on."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.nodes import US, Cluster, Start, eventually

pytestmark = pytest.mark.integration

JSON = "application/x-amz-json-1.0"


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Connection:
    """One connection, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    async def call(self, operation: str, request: Any, **headers: str) -> Answer:
        self.send(post(operation, orjson.dumps(request), **headers))
        return await self.answer()

    async def ended(self) -> bool:
        return await self._reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


def post(operation: str, body: bytes, **headers: str) -> bytes:
    fields = {
        "host": "localhost", "content-type": JSON, "x-amz-target": f"DynamoDB_20120810.{operation}",
        "content-length": str(len(body)), **{n.replace("_", "-"): v for n, v in headers.items()},
    }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"POST / HTTP/1.1\r\n" + head.encode() + b"\r\n" + body


@pytest.fixture
async def node(clusters: Start) -> Cluster:
    cluster = await clusters(1, http_listen="127.0.0.1:0")
    await cluster[US].create()
    return cluster


@pytest.fixture
async def http(node: Cluster) -> AsyncIterator[Connection]:
    connection = await Connection.open(node.nodes[US].http_port)
    yield connection
    await connection.close()


async def test_answer_carries_what_clients_check(http: Connection) -> None:
    answer = await http.call("ListTables", {})
    assert answer.status == 200
    assert answer.json == {"TableNames": ["things"]}
    assert answer.headers["content-type"] == JSON
    assert int(answer.headers["x-amz-crc32"]) == zlib.crc32(answer.body)
    assert len(answer.headers["x-amzn-requestid"]) == 52
    other = await http.call("ListTables", {})
    assert other.headers["x-amzn-requestid"] != answer.headers["x-amzn-requestid"]


async def test_errors_have_dynamodbs_envelope(http: Connection) -> None:
    missing = await http.call("DescribeTable", {"TableName": "nothing"})
    assert (missing.status, missing.json) == (400, {
        "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
        "message": "Requested resource not found: Table: nothing not found",
    })  # fmt: skip
    invalid = await http.call("GetItem", {"TableName": "things"})
    assert invalid.json["__type"] == "com.amazon.coral.validate#ValidationException"
    http.send(post("GetItem", b"{not json"))
    broken = await http.answer()
    assert (broken.status, broken.json) == (
        400, {"__type": "com.amazon.coral.service#SerializationException"}
    )  # fmt: skip
    unknown = await http.call("MakeCoffee", {})
    assert unknown.json["__type"] == "com.amazon.coral.service#UnknownOperationException"
    http.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
    assert (await http.answer()).json == {
        "__type": "com.amazon.coral.service#UnknownOperationException"
    }


async def test_pipelined_requests_are_answered_in_order(http: Connection) -> None:
    requests = []
    for number in range(40):
        item = {"p": {"S": "x"}, "s": {"S": str(number)}}
        requests.append(post("PutItem", orjson.dumps({"TableName": "things", "Item": item})))
        requests.append(post("GetItem", orjson.dumps({"TableName": "things", "Key": item})))
        requests.append(post("DescribeTable", b'{"TableName":"things"}'))
    http.send(b"".join(requests))
    for _ in range(40):
        assert (await http.answer()).json == {}
        assert (await http.answer()).status == 200
        assert "Table" in (await http.answer()).json


async def test_bodies_may_be_compressed_both_ways(http: Connection) -> None:
    item = {"p": {"S": "x"}, "s": {"S": "y"}, "text": {"S": "z" * 5000}}
    body = gzip.compress(orjson.dumps({"TableName": "things", "Item": item}))
    http.send(post("PutItem", body, content_encoding="gzip"))
    assert (await http.answer()).status == 200
    key = {"p": item["p"], "s": item["s"]}
    got = await http.call("GetItem", {"TableName": "things", "Key": key}, accept_encoding="gzip")
    assert got.headers["content-encoding"] == "gzip"
    assert orjson.loads(gzip.decompress(got.body)) == {"Item": item}
    http.send(post("PutItem", b"no gzip", content_encoding="gzip"))
    assert (await http.answer()).json["__type"].endswith("SerializationException")


async def test_chunked_body_is_read(http: Connection) -> None:
    head = post("ListTables", b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    http.send(head + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    assert (await http.answer()).json == {"TableNames": ["things"]}


async def test_probes_and_browsers_are_answered(http: Connection) -> None:
    http.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await http.answer()).body.startswith(b"healthy: dynamodb.us-east-1.")
    http.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await http.answer()).status == 200
    http.send(b"OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: http://page\r\n\r\n")
    assert (await http.answer()).headers["access-control-allow-origin"] == "*"
    crossed = await http.call("ListTables", {}, origin="http://page")
    assert crossed.headers["access-control-allow-origin"] == "*"
    http.send(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await http.answer()).status == 404


async def test_connection_closes_when_the_client_says_so(http: Connection) -> None:
    answer = await http.call("ListTables", {}, connection="close")
    assert answer.status == 200
    assert await http.ended()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/9.9\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nx: " + b"y" * 70_000, 431),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
    ],
    ids=["nonsense", "version", "head", "endless header", "length", "coding"],
)
async def test_broken_http_ends_the_connection_and_nothing_else(
    node: Cluster, http: Connection, sent: bytes, status: int
) -> None:
    http.send(sent)
    assert (await http.answer()).status == status
    assert await http.ended()
    other = await Connection.open(node.nodes[US].http_port)
    assert (await other.call("ListTables", {})).status == 200
    await other.close()


async def test_too_large_a_body_is_refused(http: Connection) -> None:
    http.send(post("PutItem", b"x" * ((16 << 20) + 1)))
    assert (await http.answer()).status == 413
    assert await http.ended()


async def test_zip_bomb_is_refused(http: Connection) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    http.send(post("PutItem", bomb, content_encoding="gzip"))
    answer = await http.answer()
    assert answer.json["__type"].endswith("SerializationException")


async def test_random_bodies_never_give_an_internal_error(node: Cluster) -> None:
    connection = await Connection.open(node.nodes[US].http_port)
    loop = asyncio.get_running_loop()
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["TableName", "Item", "Key", "S", "N", "M", "L", "RequestItems", "things",
                 "PutRequest", "TransactItems", "Put", "UpdateExpression", "Limit", "p", "s"]
            ), inner, max_size=4,
        ),
        max_leaves=12,
    )  # fmt: skip
    operations = st.sampled_from(
        ["PutItem", "GetItem", "UpdateItem", "DeleteItem", "Query", "Scan", "BatchWriteItem",
         "BatchGetItem", "TransactWriteItems", "TransactGetItems", "CreateTable", "UpdateTable"]
    )  # fmt: skip

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(operations, values)
    def check(operation: str, request: Any) -> None:
        if isinstance(request, dict) and "TableName" in request:
            request["TableName"] = "things"
        call = connection.call(operation, request)
        answer = asyncio.run_coroutine_threadsafe(call, loop).result(10)
        assert answer.status in (200, 400), answer.body

    await asyncio.to_thread(check)
    await connection.close()


async def test_stopping_node_answers_what_it_has_read(node: Cluster) -> None:
    connection = await Connection.open(node.nodes[US].http_port)
    assert (await connection.call("ListTables", {})).status == 200
    stopping = asyncio.create_task(node.nodes[US].stop())
    assert await connection.ended()
    await stopping
    await eventually(lambda: stopping.done())
    await connection.close()
