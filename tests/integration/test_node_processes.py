"""The real process: how it starts, refuses, fails and ends."""

import asyncio
import itertools
import json
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import lmdb
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from antipodes.cli import exits
from antipodes.cli.process import RefusedToStart
from antipodes.core.errors import AntipodesError, ServiceUnavailable
from antipodes.v1 import admin_pb2, streams_pb2
from tests.integration.nodes import (
    EU,
    US,
    Client,
    Cluster,
    Start,
    eventually,
    failing,
    free_ports,
    item,
)

pytestmark = pytest.mark.integration


class Process:
    """A node in a process of its own."""

    def __init__(self, directory: Path, region: str, port: int, *flags: str) -> None:
        self.data_dir = directory / region
        self.region = region
        self.port = port
        self.client = Client(f"127.0.0.1:{port}")
        self.log = directory / f"{region}.log"
        self._flags = flags
        self.process: asyncio.subprocess.Process | None = None

    async def launch(self, *more: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "antipodes_node", "--region", self.region,
                "--data-dir", str(self.data_dir), "--listen", f"127.0.0.1:{self.port}",
                *self._flags, *more, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        return self.process

    async def start(self, *more: str) -> None:
        process = await self.launch(*more)

        async def serving() -> bool:
            assert process.returncode is None, self.log.read_text()
            return await self.client.serving()

        await eventually(serving)

    async def refusal(self, *more: str) -> str:
        """Start it and give what it says when it refuses."""
        process = await self.launch(*more)
        async with asyncio.timeout(20):
            status = await process.wait()
        text = self.log.read_text()
        assert status == exits.NOT_STARTED, text
        assert "Traceback" not in text
        return text

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


Launch = Callable[..., Awaitable[Process]]


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Launch]:
    made: list[Process] = []

    async def make(region: str = US, *flags: str, port: int = 0, started: bool = True) -> Process:
        process = Process(tmp_path, region, port or free_ports(1)[0], *flags)
        made.append(process)
        if started:
            await process.start()
        return process

    yield make
    for process in made:
        await process.client.close()
        if process.process is not None:
            await process.end(signal.SIGKILL)


# --- refusing to start


async def test_wrong_settings_are_refused_all_at_once(processes: Launch) -> None:
    process = await processes("US East", started=False)
    text = await process.refusal("--peer", "eu=nowhere", "--map-bytes", "12")
    for part in (
        "a region is named by lower-case words and digits, like eu-west-2", "'US East'",
        "'nowhere' is not of the form HOST:PORT", "map_bytes", "remedy:",
    ):  # fmt: skip
        assert part in text


async def test_port_that_is_taken_is_refused(processes: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await processes(port=taken.getsockname()[1], started=False)
        text = await process.refusal()
    assert f"cannot listen on 127.0.0.1:{process.port}: the port is taken" in text
    assert "--listen" in text


async def test_second_process_on_the_same_directory_is_refused(processes: Launch) -> None:
    first = await processes()
    assert first.process is not None
    second = await processes(started=False)
    text = await second.refusal()
    assert f"data directory {first.data_dir} is in use by process {first.process.pid}" in text
    assert "--data-dir" in text
    assert await first.client.serving()


async def test_directory_of_another_region_is_refused(processes: Launch) -> None:
    first = await processes()
    assert await first.end() == exits.OK
    second = await processes(EU, started=False)
    text = await second.refusal("--data-dir", str(first.data_dir))
    assert f"data directory {first.data_dir} belongs to region {US}, not to {EU}" in text
    assert f"start it with --region {US}" in text


async def test_unwritable_directory_is_refused(processes: Launch) -> None:
    process = await processes(started=False)
    text = await process.refusal("--data-dir", "/proc/nowhere/data")
    assert "data directory /proc/nowhere/data cannot be written" in text
    assert "name another with --data-dir" in text


async def test_damaged_database_is_refused(processes: Launch) -> None:
    process = await processes()
    await process.client.create()
    assert await process.end() == exits.OK
    process.log.write_text("")
    database = process.data_dir / "lmdb" / "data.mdb"
    database.write_bytes(b"not a database" * 1000)
    text = await process.refusal()
    assert f"the database in {database.parent} cannot be opened" in text
    assert "restore the directory from a backup" in text


# --- running and ending


async def test_sigterm_ends_the_process_quickly_and_without_loss(processes: Launch) -> None:
    first_port, second_port = free_ports(2)
    us = await processes(US, "--peer", f"{EU}=127.0.0.1:{second_port}", port=first_port)
    await processes(EU, "--peer", f"{US}=127.0.0.1:{first_port}", port=second_port)
    await us.client.create(replicas=(EU,))
    subscription = us.client.subscribe(beginning=streams_pb2.SubscribeRequest.Beginning())
    acknowledged = []

    async def write() -> None:
        for number in itertools.count():
            await us.client.put(str(number))
            acknowledged.append(str(number))

    writing = asyncio.create_task(write())
    await eventually(lambda: len(acknowledged) > 50)
    started = asyncio.get_running_loop().time()
    assert await us.end() == exits.OK
    # The default drain time is 2 s; nothing is left to wait for.
    assert asyncio.get_running_loop().time() - started < 1.9
    await asyncio.gather(writing, return_exceptions=True)
    assert isinstance(await subscription.failure(), ServiceUnavailable)
    await us.client.close()
    us.client = Client(f"127.0.0.1:{us.port}")
    await us.start()
    for key in acknowledged:
        assert await us.client.get(key) is not None
    events = us.events()
    assert {"node_started", "node_stopping", "node_stopped", "tail_opened"} <= {
        event["event"] for event in events
    }
    assert all(event["level"] and event["timestamp"] and event["region"] for event in events)


async def test_sigkill_loses_no_acknowledged_write_and_leaves_no_part_of_a_batch(
    processes: Launch,
) -> None:
    node = await processes()
    await node.client.create()
    acknowledged: dict[str, int] = {}

    async def write(worker: int) -> None:
        for turn in itertools.count():
            wishes = [
                {"PutRequest": {"Item": item(f"w{worker}-{part}", n={"N": str(turn)})}}
                for part in range(5)
            ]
            await node.client.call("BatchWriteItem", RequestItems={"things": wishes})
            acknowledged[f"w{worker}"] = turn

    for _ in range(3):
        before = dict(acknowledged)
        workers = [asyncio.create_task(write(number)) for number in range(8)]
        await eventually(lambda before=before: len(acknowledged) == 8 and acknowledged != before)  # type: ignore[misc]
        status = await node.client.status()
        assert await node.end(signal.SIGKILL) == -signal.SIGKILL
        await asyncio.gather(*workers, return_exceptions=True)
        await node.client.close()
        node.client = Client(f"127.0.0.1:{node.port}")
        await node.start()
        again = await node.client.status()
        assert (again.head_lsn, again.hlc) >= (status.head_lsn, status.hlc)
        for worker in range(8):
            parts = [await node.client.get(f"w{worker}-{part}") for part in range(5)]
            turns = {int(part["n"]["N"]) for part in parts if part is not None}
            assert len(turns) == 1
            assert turns.pop() >= acknowledged[f"w{worker}"]


def limit_files(process: Process, size: int) -> None:
    assert process.process is not None
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def test_full_disk_refuses_writes_and_replication_and_recovers(processes: Launch) -> None:
    first_port, second_port = free_ports(2)
    us = await processes(US, "--peer", f"{EU}=127.0.0.1:{second_port}", port=first_port)
    eu = await processes(EU, "--peer", f"{US}=127.0.0.1:{first_port}", port=second_port)
    await us.client.create(replicas=(EU,))
    await us.client.put("before")
    await eventually(lambda: eu.client.get("before"))
    limit_files(us, (us.data_dir / "lmdb" / "data.mdb").stat().st_size)
    big = {"S": "y" * 300_000}
    problem = await failing(us.client.put("x", b=big))
    assert isinstance(problem, ServiceUnavailable)
    assert f"the disk of region {US} refuses writes" in str(problem)
    assert f"free space under {us.data_dir / 'lmdb'}" in str(problem)
    assert await us.client.get("x") is None
    assert await us.client.get("before") is not None
    assert (await us.client.status()).writes_refused == str(problem)

    async def unhealthy() -> bool:
        return not await us.client.serving()

    await eventually(unhealthy)
    await eu.client.put("from-eu", b=big)

    async def held() -> bool:
        return "refuses writes" in (await us.client.link(EU)).last_error

    await eventually(held)
    assert (await us.client.link(EU)).state != admin_pb2.LINK_STATE_STOPPED
    assert isinstance(await failing(us.client.put("small")), ServiceUnavailable)
    assert await us.client.get("from-eu") is None
    limit_files(us, resource.RLIM_INFINITY)
    await eventually(us.client.serving)
    await eventually(lambda: us.client.get("from-eu"))
    assert await us.client.put("x", b=big) == {}
    await eventually(lambda: eu.client.get("x"))

    async def well() -> bool:
        link = await us.client.link(EU)
        return link.state == admin_pb2.LINK_STATE_TAILING and not link.last_error

    await eventually(well)
    assert not (await us.client.status()).writes_refused


# --- in this process


async def test_health_and_reflection_are_answered(cluster: Cluster) -> None:
    assert await cluster[US].serving()
    stub: Any = cast("Any", reflection_pb2_grpc).ServerReflectionStub(cluster[US].channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call: Any = stub.ServerReflectionInfo(iter([request]))
    names = {s.name for s in (await call.read()).list_services_response.service}
    call.cancel()
    assert names >= {
        "antipodes.v1.Items", "antipodes.v1.Tables", "antipodes.v1.Streams",
        "antipodes.v1.Replication", "antipodes.v1.Admin", "grpc.health.v1.Health",
    }  # fmt: skip


async def test_node_stops_in_time_under_load(clusters: Start) -> None:
    cluster = await clusters(2)
    await cluster[US].create(replicas=(EU,))
    others = [Client(f"127.0.0.1:{cluster.ports[US]}") for _ in range(4)]
    working = asyncio.Event()

    async def work(client: Client, number: int) -> None:
        with_big: dict[str, Any] = {"b": {"S": "y" * 50_000}}
        for turn in itertools.count():
            await asyncio.gather(
                *(client.put(f"{number}-{turn}-{part}", **with_big) for part in range(20))
            )
            working.set()

    workers = [asyncio.create_task(work(c, n)) for n, c in enumerate(others)]
    subscriptions = [
        client.subscribe(beginning=streams_pb2.SubscribeRequest.Beginning()) for client in others
    ]
    idle: Any = others[0].items.Pipeline()
    await subscriptions[0].read()
    await working.wait()
    started = asyncio.get_running_loop().time()
    await cluster.stop(US)
    assert asyncio.get_running_loop().time() - started < 1.0 + 1.0
    idle.cancel()
    ended = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(end, Exception) for end in ended)
    for client in others:
        await client.close()


async def test_map_grows_while_readers_are_active(clusters: Start) -> None:
    cluster = await clusters(1, map_bytes=1 << 20)
    client = cluster[US]
    await client.create(view_type="NEW_AND_OLD_IMAGES")
    await client.put("0")
    reader = Client(f"127.0.0.1:{cluster.ports[US]}")
    reads = 0

    async def read() -> None:
        nonlocal reads
        while True:
            assert await reader.get("0") is not None
            await reader.call("Scan", TableName="things", Limit=5)
            reads += 1

    reading = [asyncio.create_task(read()) for _ in range(4)]
    subscription = reader.subscribe(beginning=streams_pb2.SubscribeRequest.Beginning())
    for start in range(0, 120, 20):
        await asyncio.gather(
            *(client.put(str(n), b={"S": "y" * 100_000}) for n in range(start, start + 20))
        )
    status = await client.status()
    assert status.storage.map_bytes >= 16 << 20
    assert not status.writes_refused
    records = [await subscription.next_record() for _ in range(120)]
    assert len({record.sequence_number for record in records}) == 120
    assert reads > 0
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    subscription.cancel()
    await reader.close()


async def test_full_map_refuses_writes_with_nothing_half_written_and_reads_go_on(
    clusters: Start,
) -> None:
    cluster = await clusters(1, map_bytes=1 << 20, map_bytes_max=4 << 20)
    client = cluster[US]
    await client.create(view_type="NEW_AND_OLD_IMAGES")
    written: list[int] = []
    problem: AntipodesError | None = None
    for number in range(200):
        wishes = [
            {"PutRequest": {"Item": item(f"{number}-{part}", b={"S": "y" * 20_000})}}
            for part in range(3)
        ]
        try:
            await client.call("BatchWriteItem", RequestItems={"things": wishes})
        except AntipodesError as error:
            problem = error
            break
        written.append(number)
    assert isinstance(problem, ServiceUnavailable)
    assert f"the database of region {US} is full (4 MiB)" in str(problem)
    assert "raise --map-bytes-max and restart" in str(problem)
    count, _ = await client.digest()
    assert count == 3 * len(written)
    for number in written:
        assert await client.get(f"{number}-2") is not None

    async def unhealthy() -> bool:
        return not await client.serving()

    await eventually(unhealthy)
    assert isinstance(await failing(client.put("small")), ServiceUnavailable)
    await cluster.restart(US, map_bytes=1 << 20, map_bytes_max=16 << 20)
    assert await cluster[US].put("small") == {}
    assert (await cluster[US].digest())[0] == count + 1


async def test_node_without_room_takes_writes_again_after_a_table_is_deleted(
    clusters: Start,
) -> None:
    cluster = await clusters(1, map_bytes=1 << 20, map_bytes_max=12 << 20)
    client = cluster[US]
    await client.create("large")
    await client.create("small")

    async def fill() -> None:
        for number in itertools.count():
            await client.put(str(number), table="large", b={"S": "y" * 409_500})

    assert "is full" in str(await failing(fill()))
    await client.call("DeleteTable", TableName="large")
    await eventually(lambda: client.put("x", table="small"))
    await eventually(client.serving)


async def test_damaged_record_gives_an_error_and_the_others_are_served(cluster: Cluster) -> None:
    await cluster[US].create()
    for key in ("good", "bad", "fine"):
        await cluster[US].put(key, b={"S": f"marker-{key}"})
    await cluster.stop(US)
    with lmdb.open(str(cluster.directory / US / "lmdb"), max_dbs=16, map_size=64 << 20) as env:
        items = env.open_db(b"items")
        with env.begin(write=True) as txn:
            damaged = 0
            for at, value in list(txn.cursor(items)):
                if b"marker-bad" in value:
                    txn.put(at, value.replace(b"marker-bad", b"marker-bat"), db=items)
                    damaged += 1
    assert damaged == 1
    await cluster.start(US)
    problem = await failing(cluster[US].get("bad"))
    assert "item record fails its checksum" in str(problem)
    assert problem.code == "InternalServerError"
    assert "fails its checksum" in str(await failing(cluster[US].put("bad")))
    assert "fails its checksum" in str(await failing(cluster[US].call("Scan", TableName="things")))
    for key in ("good", "fine"):
        assert await cluster[US].get(key) is not None
        await cluster[US].put(key, b={"S": "new"})
    # One bad write does not take its company with it.
    outcomes = await asyncio.gather(
        *(cluster[US].put(key) for key in ("a", "bad", "b")), return_exceptions=True
    )
    assert [type(outcome) is dict for outcome in outcomes] == [True, False, True]
    assert await cluster[US].serving()


async def test_damaged_log_entry_is_not_sent_on_as_truth(clusters: Start) -> None:
    cluster = await clusters(2)
    await cluster[US].create(replicas=(EU,))
    await cluster[EU].pause(US)
    await cluster[US].put("x", b={"S": "marker"})
    await cluster.stop(US)
    with lmdb.open(str(cluster.directory / US / "lmdb"), max_dbs=16, map_size=64 << 20) as env:
        entries = env.open_db(b"log")
        with env.begin(write=True) as txn:
            for key, value in list(txn.cursor(entries)):
                txn.put(key, value.replace(b"marker", b"makrer"), db=entries)
    await cluster.start(US)
    await cluster[EU].resume(US)

    async def stopped() -> bool:
        link = await cluster[EU].link(US)
        return link.state == admin_pb2.LINK_STATE_STOPPED and "checksum" in link.last_error

    await eventually(stopped)
    assert await cluster[EU].get("x") is None
    subscription = cluster[US].subscribe(beginning=streams_pb2.SubscribeRequest.Beginning())
    assert "checksum" in str(await subscription.failure())


async def test_unfinished_start_leaves_nothing_open(clusters: Start) -> None:
    cluster = await clusters(1, started=False)
    with socket.create_server(("127.0.0.1", cluster.ports[US])), pytest.raises(RefusedToStart):
        await cluster.start(US)
    await cluster.start(US)
    assert await cluster[US].serving()


async def test_peer_that_is_gone_does_not_disturb(clusters: Start) -> None:
    cluster = await clusters(2, started=False)
    await cluster.start(US)
    await cluster[US].create()
    assert await cluster[US].put("x") == {}

    async def told() -> bool:
        return "UNAVAILABLE" in (await cluster[US].link(EU)).last_error

    await eventually(told)
    assert not (await cluster[US].status()).caught_up
