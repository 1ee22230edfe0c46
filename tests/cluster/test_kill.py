"""Real processes, real sockets, real kills."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest

import antipodes
import antipodes.aio
from antipodes.cli.admin import ClusterAdmin
from antipodes.cli.local_cluster import LocalCluster
from antipodes.client.aio import AsyncClient

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

TABLE = "load"
PAUSE_S = 0.02


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, seconds_max: float = 30.0
) -> None:
    async with asyncio.timeout(seconds_max):
        while True:
            try:
                if await condition():
                    return
            except antipodes.Unavailable:
                pass
            await asyncio.sleep(PAUSE_S)
    raise AssertionError(what)


class Load:
    """Writers near each region; every value is unique, so that a read identifies its write."""

    def __init__(self, client: AsyncClient, regions: tuple[str, ...], writers: int = 3) -> None:
        self.acknowledged: dict[tuple[str, int], dict[str, Any]] = {}
        self.unknown: list[Exception] = []
        self._stop = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._write(client.in_region(region), f"{region}/{number}"))
            for region in regions
            for number in range(writers)
        ]

    async def _write(self, handle: AsyncClient, writer: str) -> None:
        number = 0
        while not self._stop.is_set():
            item = {"writer": writer, "number": number, "value": f"{writer}:{number}"}
            number += 1
            try:
                await handle.table(TABLE).put(item)
            except antipodes.Unavailable as error:
                self.unknown.append(error)
            else:
                self.acknowledged[writer, item["number"]] = item  # type: ignore[index]

    async def reaches(self, count: int) -> None:
        """Wait until so many more writes are acknowledged."""
        goal = len(self.acknowledged) + count

        async def reached() -> bool:
            return len(self.acknowledged) >= goal

        await eventually(reached, f"{count} more writes")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def finally_all_hold(
    cluster: LocalCluster, client: AsyncClient, admin: ClusterAdmin, load: Load
) -> None:
    """Converged, nothing acknowledged is missing, every stream tells exactly the table."""

    async def identical() -> bool:
        found = [await admin.digest(region, TABLE) for region in cluster.regions]
        counts = {d.item_count for d in found}
        return (
            len({d.digest for d in found}) == 1
            and len(counts) == 1
            and counts.pop() >= len(load.acknowledged)
        )

    await eventually(identical, "all regions are identical")
    for region in cluster.regions:
        handle = client.in_region(region)
        held = {(i["writer"], i["number"]): i async for i in handle.table(TABLE).scan()}
        missing = [key for key in load.acknowledged if key not in held]
        assert not missing, f"{len(missing)} acknowledged writes are missing in {region}"
        assert all(held[key] == item for key, item in load.acknowledged.items())
        assert await _fold_stream(handle, region, len(held)) == held
        status = await admin.status(region)
        assert status.counters.violations == 0


async def _fold_stream(
    handle: AsyncClient, region: str, count: int
) -> dict[tuple[str, int], dict[str, Any]]:
    folded: dict[tuple[str, int], dict[str, Any]] = {}
    seen: set[str] = set()
    async with handle.table(TABLE).stream("beginning", region=region) as records:
        async for record in records:
            assert record.event_id not in seen, "a record came twice"
            seen.add(record.event_id)
            key = (record.keys["writer"], record.keys["number"])
            assert (record.event_name == "INSERT") == (key not in folded)
            assert record.new_image is not None
            folded[key] = record.new_image
            if len(folded) == count:
                break
    return folded


async def _prepared(client: AsyncClient, cluster: LocalCluster) -> None:
    first, *others = cluster.regions
    await client.in_region(first).create_table(
        TABLE, ("writer", "S"), ("number", "N"), replicas=others
    )


async def test_region_killed_under_load_loses_no_acknowledged_write(cluster: LocalCluster) -> None:
    victim = "eu-west-2"
    async with (
        ClusterAdmin(cluster.router_address) as admin,
        antipodes.aio.connect(cluster.router_address, timeout_s=20) as client,
    ):
        await _prepared(client, cluster)

        async def back() -> bool:
            return client.in_region(victim).served_by == victim

        async with Load(client, tuple(cluster.regions)) as load:
            await load.reaches(300)
            for _ in range(2):
                cluster.kill(victim)
                await cluster.wait_ended(victim)
                await load.reaches(300)
                assert client.in_region(victim).served_by != victim
                await cluster.restart(victim)
                await eventually(back, "clients go back to the region that returned")
                await load.reaches(100)
        assert load.unknown == [], "puts are repeated until they are acknowledged"
        await finally_all_hold(cluster, client, admin, load)


async def test_all_regions_killed_at_once_come_back_with_everything(cluster: LocalCluster) -> None:
    async with (
        ClusterAdmin(cluster.router_address) as admin,
        antipodes.aio.connect(cluster.router_address, timeout_s=20) as client,
    ):
        await _prepared(client, cluster)
        async with Load(client, tuple(cluster.regions)) as load:
            await load.reaches(500)
            for region in cluster.regions:
                cluster.kill(region)
            for region in cluster.regions:
                await cluster.wait_ended(region)
            await asyncio.gather(*map(cluster.restart, cluster.regions))
            await load.reaches(200)
        await finally_all_hold(cluster, client, admin, load)


async def test_writes_on_both_sides_of_a_paused_link_converge_with_conflicts_on_record(
    cluster: LocalCluster,
) -> None:
    a, b = cluster.regions[0], cluster.regions[1]
    async with (
        ClusterAdmin(cluster.router_address) as admin,
        antipodes.aio.connect(cluster.router_address, timeout_s=20) as client,
    ):
        await _prepared(client, cluster)
        await admin.set_link(a, b, paused=True)
        await admin.set_link(b, a, paused=True)
        for region in (a, b):
            await (
                client.in_region(region)
                .table(TABLE)
                .put({"writer": "both", "number": 1, "value": region})
            )
        await admin.set_link(a, b, paused=False)
        await admin.set_link(b, a, paused=False)

        async def recorded() -> bool:
            found = [await admin.conflicts(region, TABLE) for region in cluster.regions]
            ids = {conflict.id for conflicts in found for conflict in conflicts}
            return all(len(conflicts) == 1 for conflicts in found) and len(ids) == 1

        await eventually(recorded, "every region has the conflict under one id")
        held = [
            await client.in_region(region).table(TABLE).get("both", 1) for region in cluster.regions
        ]
        assert held[0] is not None
        assert held == [held[0]] * 3


async def test_supervisor_leaves_nothing_behind(cluster: LocalCluster) -> None:
    await cluster.stop()
    assert not any(member.running for member in cluster.members.values())
    assert {await cluster.wait_ended(name) for name in cluster.members} == {0}
    await cluster.start()  # the directory is free and its data is readable
