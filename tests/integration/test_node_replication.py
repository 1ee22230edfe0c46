"""Regions that follow each other."""

import asyncio
import itertools
from typing import Any

import grpc.aio
import pytest

from antipodes.core.errors import ValidationException
from antipodes.core.tailing import (
    Batch,
    Heartbeat,
    Hello,
    Progress,
    Reject,
    RejectReason,
    Welcome,
    checksum,
)
from antipodes.core.versions import Origin
from antipodes.v1 import admin_pb2, replication_pb2_grpc
from antipodes.wire.replication import (
    request_from_wire,
    request_to_wire,
    response_from_wire,
    response_to_wire,
)
from tests.integration.nodes import ASIA, EU, US, Client, Cluster, Start, eventually, failing

pytestmark = pytest.mark.integration


def n(value: int | str) -> dict[str, Any]:
    return {"N": str(value)}


async def test_writes_of_all_regions_reach_all_regions(trio: Cluster) -> None:
    async def write(client: Client, prefix: str) -> None:
        await asyncio.gather(*(client.put(f"{prefix}{number}") for number in range(100)))

    await asyncio.gather(*(write(client, region) for region, client in trio.clients.items()))
    count, _ = await trio.converged()
    assert count == 300
    for client in trio.clients.values():
        assert (await client.status()).counters.conflicts == 0


async def test_deletes_replicate(pair: Cluster) -> None:
    await pair[US].put("x")
    await eventually(lambda: pair[EU].get("x"))
    await pair[EU].delete("x")

    async def gone() -> bool:
        return await pair[US].get("x") is None

    await eventually(gone)


async def test_largest_items_replicate(pair: Cluster) -> None:
    big = {"S": "y" * 400_000}
    await asyncio.gather(*(pair[US].put(str(number), b=big) for number in range(12)))
    assert (await pair.converged())[0] == 12
    found = await pair[EU].get("11")
    assert found is not None
    assert found["b"] == big


async def conflict(trio: Cluster) -> None:
    """Write one item in all regions while none hears of the others, then let them."""
    for region, client in trio.clients.items():
        await client.pause(*(other for other in trio.ports if other != region))
    for number, client in enumerate(trio.clients.values()):
        await client.put("x", n=n(number))
    for region, client in trio.clients.items():
        await client.resume(*(other for other in trio.ports if other != region))


async def test_concurrent_writes_end_with_one_winner_and_the_losers_listed(trio: Cluster) -> None:
    await conflict(trio)
    await trio.converged()
    items = [await client.get("x") for client in trio.clients.values()]
    assert all(found == items[0] for found in items)

    async def listed(client: Client) -> dict[str, tuple[bytes, bytes]] | None:
        found = {c.id: (c.winner.image, c.loser.image) for c in await client.conflicts()}
        return found if len(found) >= 2 else None

    found = [await eventually(lambda c=client: listed(c)) for client in trio.clients.values()]  # type: ignore[misc]
    losers = [{loser for _, loser in each.values()} for each in found]
    # Each write but the winner is a loser everywhere; which pairs met depends on the order.
    assert losers[0] == losers[1] == losers[2]
    assert len(losers[0]) == 2
    for a, b in itertools.combinations(found, 2):
        for id_ in a.keys() & b.keys():
            assert a[id_] == b[id_]


async def test_loser_of_a_conflict_has_the_same_id_at_both_regions(pair: Cluster) -> None:
    await pair[US].pause(EU)
    await pair[EU].pause(US)
    await pair[US].put("x", n=n(1))
    await pair[EU].put("x", n=n(2))
    await pair[US].resume(EU)
    await pair[EU].resume(US)
    await pair.converged()

    async def one(client: Client) -> admin_pb2.Conflict | None:
        found = await client.conflicts("things")
        return found[0] if found else None

    at_us, at_eu = [await eventually(lambda c=pair[r]: one(c)) for r in (US, EU)]  # type: ignore[misc]
    assert at_us.id == at_eu.id
    assert at_us.winner == at_eu.winner
    assert at_us.loser == at_eu.loser
    assert at_us.winner.version.dot.region == EU  # written later
    assert at_us.loser.image == b'{"n":{"N":"1"},"p":{"S":"x"},"s":{"S":"a"}}'
    assert at_us.key == b'{"p":{"S":"x"},"s":{"S":"a"}}'
    assert not at_us.equal
    assert (await pair[US].status()).counters.conflicts == 1


async def test_write_that_has_seen_the_other_is_no_conflict(pair: Cluster) -> None:
    await pair[US].put("x", n=n(1))
    await eventually(lambda: pair[EU].get("x"))
    await pair[EU].put("x", n=n(2))

    async def updated() -> bool:
        return (await pair[US].get("x") or {}).get("n") == n(2)

    await eventually(updated)
    assert await pair[US].conflicts() == []
    assert await pair[EU].conflicts() == []


async def test_delete_and_put_at_once_agree_on_the_later(pair: Cluster) -> None:
    await pair[US].put("x")
    await pair.converged()
    await pair[US].pause(EU)
    await pair[EU].pause(US)
    await pair[EU].put("x", n=n(1))
    await pair[US].delete("x")  # later, so it wins
    await pair[US].resume(EU)
    await pair[EU].resume(US)

    async def gone() -> bool:
        return await pair[EU].get("x") is None and bool(await pair[EU].conflicts())

    await eventually(gone)
    [record] = await pair[EU].conflicts()
    assert record.winner.image == b""
    assert b'"n"' in record.loser.image


async def test_write_that_changes_nothing_still_beats_an_older_concurrent_one(
    pair: Cluster,
) -> None:
    await pair[US].put("x", n=n(1))
    await eventually(lambda: pair[EU].get("x"))
    await pair[US].pause(EU)
    await pair[EU].pause(US)
    await pair[EU].put("x", n=n(2))
    await pair[US].put("x", n=n(1))  # the same as before, acknowledged after the other
    await pair[US].resume(EU)
    await pair[EU].resume(US)
    await pair.converged()
    assert (await pair[EU].get("x") or {})["n"] == n(1)


async def test_delete_of_an_absent_item_still_beats_an_older_concurrent_put(
    pair: Cluster,
) -> None:
    await pair[US].pause(EU)
    await pair[EU].pause(US)
    await pair[EU].put("x")
    await pair[US].delete("x")
    await pair[US].resume(EU)
    await pair[EU].resume(US)

    async def gone() -> bool:
        return await pair[EU].get("x") is None

    await eventually(gone)
    await pair.converged()


async def test_item_version_shows_tombstones_and_what_they_have_seen(pair: Cluster) -> None:
    await pair[US].put("x")
    await eventually(lambda: pair[EU].get("x"))
    await pair[EU].delete("x")
    request = admin_pb2.GetItemVersionRequest(
        table_name="things", key=b'{"p":{"S":"x"},"s":{"S":"a"}}'
    )
    found = await pair[EU].admin.GetItemVersion(request)
    assert found.found
    assert found.image == b""
    assert found.version.dot.region == EU
    assert {dot.region for dot in found.version.context} == {US, EU}
    request.key = b"{"
    assert isinstance(await failing(pair[EU].admin.GetItemVersion(request)), ValidationException)


async def test_paused_link_takes_nothing_and_catches_up_when_resumed(pair: Cluster) -> None:
    await pair[EU].pause(US)
    assert (await pair[EU].link(US)).state == admin_pb2.LINK_STATE_PAUSED
    for number in range(600):
        await pair[US].put(str(number))
    assert (await pair[EU].digest())[0] == 0
    await pair[EU].resume(US)
    assert (await pair.converged())[0] == 600

    async def tailing() -> bool:
        link = await pair[EU].link(US)
        return link.state == admin_pb2.LINK_STATE_TAILING and link.lag_records == 0

    await eventually(tailing)


async def test_lever_of_an_unknown_peer_names_the_known_ones(pair: Cluster) -> None:
    problem = await failing(pair[US].pause("mars-1"))
    assert isinstance(problem, ValidationException)
    assert f"its peers are {EU}" in str(problem)


async def test_link_reconnects_after_the_peer_restarts(pair: Cluster) -> None:
    await pair[US].put("before")
    await pair.converged()
    await pair.stop(EU)
    await pair[US].put("meanwhile")
    await pair.start(EU)
    await pair[EU].put("after")
    assert (await pair.converged())[0] == 3
    for client, peer in ((pair[US], EU), (pair[EU], US)):

        async def well(client: Client = client, peer: str = peer) -> bool:
            link = await client.link(peer)
            return link.last_error == "" and link.state == admin_pb2.LINK_STATE_TAILING

        await eventually(well)


async def test_caught_up_says_that_every_link_has_been(pair: Cluster) -> None:
    async def caught_up() -> bool:
        return (await pair[US].status()).caught_up

    await eventually(caught_up)
    await pair.restart(US)
    await eventually(caught_up)


async def test_restart_keeps_clock_and_log_growing(cluster: Cluster) -> None:
    await cluster[US].create()
    seen: list[tuple[int, int]] = []
    for _ in range(3):
        await cluster[US].put("x", n=n(len(seen)))
        status = await cluster[US].status()
        seen.append((status.head_lsn, status.hlc))
        await cluster.restart(US)
        status = await cluster[US].status()
        seen.append((status.head_lsn, status.hlc))
    assert [lsn for lsn, _ in seen] == [1, 1, 2, 2, 3, 3]
    assert seen == sorted(seen)


# --- peers that are not what they should be


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"cluster_id": "other"}, "belongs to cluster"),
        ({"peer": {}}, "add --peer us-east-1=HOST:PORT there"),
        ({"region": ASIA}, f"dialled {EU} but reached {ASIA}; correct its peer address"),
    ],
    ids=str,
)
async def test_peer_that_does_not_belong_is_refused(
    clusters: Start, changed: dict[str, Any], text: str
) -> None:
    cluster = await clusters(2, started=False)
    await cluster.start(US)
    if "region" in changed:
        changed = changed | {"data_dir": cluster.directory / "x", "peer": {}}
    await cluster.start(EU, **changed)

    async def refused() -> bool:
        return text in (await cluster[US].link(EU)).last_error

    await eventually(refused)
    assert (await cluster[US].link(EU)).applied_lsn == 0
    # A wrong setting is mended while this node runs, so the link keeps trying.
    assert (await cluster[US].link(EU)).state == admin_pb2.LINK_STATE_CONNECTING


PROGRESS_CAME = object()
"""Stands between messages: the next is sent when the receiver has reported."""


class FakePeer(replication_pb2_grpc.ReplicationServicer):
    """A region that says what the test wants."""

    def __init__(self, region: str, *messages: Any) -> None:
        self.origin = Origin(region, 1)
        self.messages = messages
        self.heard: list[Hello | Progress | None] = []
        self.tails = 0

    async def Tail(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        self.tails += 1
        self.heard.append(request_from_wire(await context.read()))
        for message in self.messages:
            if message is PROGRESS_CAME:
                self.heard.append(request_from_wire(await context.read()))
                continue
            await context.write(response_to_wire(message, "test", self.origin))
        while (request := await context.read()) is not grpc.aio.EOF:
            self.heard.append(request_from_wire(request))

    async def PrepareTableChange(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    DecideTableChange = GetTableDecision = PrepareTableChange

    async def serve(self, port: int) -> grpc.aio.Server:
        server = grpc.aio.server()
        replication_pb2_grpc.add_ReplicationServicer_to_server(self, server)
        assert server.add_insecure_port(f"127.0.0.1:{port}") == port
        await server.start()
        return server


EU_1 = Origin(EU, 1)
WELCOME = Welcome(EU_1, (EU_1,))
GARBAGE = (b"\x01garbage that is no log entry at all" * 9,)


@pytest.mark.parametrize(
    ("messages", "text", "state"),
    [
        ([Reject(RejectReason.PROTOCOL_VERSION, "speaks protocol 9; upgrade the older one")],
         "upgrade the older one", admin_pb2.LINK_STATE_CONNECTING),
        ([Reject(RejectReason.AMNESIA_SUSPECTED, "restore the newest one")],
         "restore the newest one", admin_pb2.LINK_STATE_STOPPED),
        ([WELCOME, Batch(0, 5, GARBAGE, 1)], "failed its checksum",
         admin_pb2.LINK_STATE_CONNECTING),
        ([WELCOME, Batch(3, 5, (), checksum(3, 5, ()))], "gap: have 0",
         admin_pb2.LINK_STATE_CONNECTING),
        ([WELCOME, Batch(0, 5, GARBAGE, checksum(0, 5, GARBAGE))], "cannot be applied",
         admin_pb2.LINK_STATE_STOPPED),
        ([WELCOME, Batch(0, 5, (), checksum(0, 5, ())), PROGRESS_CAME, Heartbeat(4, 4, 0, 0)],
         "has lost data", admin_pb2.LINK_STATE_STOPPED),
    ],
    ids=["protocol", "amnesia", "checksum", "gap", "poison", "shrunk"],
)  # fmt: skip
async def test_strange_peer_is_noticed_and_nothing_of_it_applied(
    clusters: Start, messages: list[Any], text: str, state: int
) -> None:
    cluster = await clusters(2, started=False)
    peer = FakePeer(EU, *messages)
    server = await peer.serve(cluster.ports[EU])
    await cluster.start(US)
    await cluster[US].create()

    async def noticed() -> bool:
        link = await cluster[US].link(EU)
        return text in link.last_error and link.state == state

    await eventually(noticed)
    status = await cluster[US].status()
    assert status.head_lsn == 0
    assert status.counters.applied == 0
    assert await cluster[US].put("x") == {}
    await server.stop(None)


async def test_stopped_link_is_tried_again_when_an_operator_resumes_it(clusters: Start) -> None:
    cluster = await clusters(2, started=False)
    server = await FakePeer(EU, Reject(RejectReason.AMNESIA_SUSPECTED, "no")).serve(
        cluster.ports[EU]
    )
    await cluster.start(US)

    async def stopped() -> bool:
        return (await cluster[US].link(EU)).state == admin_pb2.LINK_STATE_STOPPED

    await eventually(stopped)
    await server.stop(None)
    await cluster.start(EU)
    await cluster[US].resume(EU)
    await cluster[US].create(replicas=(EU,))
    await eventually(lambda: cluster[EU].put("x"))
    await eventually(lambda: cluster[US].get("x"))


async def test_receiver_reports_what_is_durable(clusters: Start) -> None:
    cluster = await clusters(2, started=False)
    empty = Batch(0, 5, (), checksum(0, 5, ()))
    peer = FakePeer(EU, WELCOME, empty, Heartbeat(5, 5, 0, 0))
    server = await peer.serve(cluster.ports[EU])
    await cluster.start(US)

    def reported() -> bool:
        return any(
            isinstance(m, Progress)
            and dict(m.watermarks).get(EU_1) == 5
            and m.acknowledged_bytes == empty.size_bytes
            for m in peer.heard
        )

    await eventually(reported)
    [hello, *_] = peer.heard
    assert isinstance(hello, Hello)
    assert (hello.cluster_id, hello.receiver, hello.after_lsn) == ("test", Origin(US, 1), 0)
    await server.stop(None)


async def test_write_during_a_heartbeat_does_not_wait_for_the_next(pair: Cluster) -> None:
    """Lag stays far below the second between heartbeats, whenever the write happens."""
    loop = asyncio.get_running_loop()
    slowest = 0.0
    for number in range(60):
        await pair[US].put(str(number))
        start = loop.time()
        await eventually(lambda key=str(number): pair[EU].get(key))  # type: ignore[misc]
        slowest = max(slowest, loop.time() - start)
    assert slowest < 0.5


async def test_tail_of_an_origin_ends_when_its_receiver_goes(pair: Cluster) -> None:
    stub = replication_pb2_grpc.ReplicationStub(pair[US].channel)
    call: Any = stub.Tail()
    await call.write(request_to_wire(Hello(1, "test", EU_1, Origin(US, 0), 0)))
    assert isinstance(response_from_wire(await call.read()), Welcome)
    call.cancel()
    empty: Any = stub.Tail()
    await empty.done_writing()
    assert await empty.read() is grpc.aio.EOF
    assert await pair[US].put("x") == {}


async def test_sender_waits_for_a_receiver_that_acknowledges_nothing(pair: Cluster) -> None:
    await pair.stop(EU)
    big = {"S": "y" * 400_000}
    await asyncio.gather(*(pair[US].put(str(number), b=big) for number in range(60)))
    stub = replication_pb2_grpc.ReplicationStub(pair[US].channel)
    call: Any = stub.Tail()
    await call.write(request_to_wire(Hello(1, "test", EU_1, Origin(US, 0), 0)))
    received, beats = 0, 0
    while beats < 3:  # the third heartbeat comes a second later than what there is room for
        message = response_from_wire(await call.read())
        if isinstance(message, Batch):
            received += message.size_bytes
        beats += isinstance(message, Heartbeat)
    assert 8 << 20 <= received <= 11 << 20
    progress = Progress(((Origin(US, 1), 5),), received)
    await call.write(request_to_wire(progress))
    while not isinstance(response_from_wire(await call.read()), Batch):
        pass
    call.cancel()
