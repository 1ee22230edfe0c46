"""The scenes of the demo, in order."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from time import perf_counter

import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from antipodes.cli.demo.cities import City
from antipodes.cli.demo.stage import TABLE, Stage, heading
from antipodes.cli.output import console
from antipodes.client.aio import AsyncClient
from antipodes.core.errors import Unavailable
from antipodes.v1 import admin_pb2

WRITERS = 192
"""Writes in flight while the table is filled."""
READS = 3000
READERS = 32


async def create_table(stage: Stage) -> None:
    """Create the global table."""
    first, *others = stage.regions
    start = perf_counter()
    await stage.client.in_region(first).create_table(
        TABLE, ("country", "S"), ("city", "S"), replicas=others
    )
    console.print(
        f"  table {TABLE} in {', '.join(stage.regions)}: {1000 * (perf_counter() - start):.0f} ms"
    )


async def fill(stage: Stage, cities: list[City]) -> None:
    """Write each city to the region nearest to it, all regions at once, while a tail counts."""
    heading("2. Fill it: each city goes through the router to the region nearest to it")
    placed: Counter[str] = Counter()
    todo = iter(cities)

    async def write() -> None:
        for city in todo:
            handle = stage.client.near(city.latitude, city.longitude)
            await handle.table(TABLE).put(city.item)
            stage.acknowledged[city.key] = city.item
            placed[handle.served_by or "?"] += 1
            progress.advance(bar)

    far = stage.regions[-1]
    start = perf_counter()
    columns = (
        TextColumn("  {task.description}"), BarColumn(24), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("{task.fields[rate]}/s  {task.fields[lag]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("cities", total=len(cities), rate="0", lag="")
        showing = asyncio.create_task(_show_lag(stage, progress, bar))
        async with stage.tailing(far):
            await asyncio.gather(*(write() for _ in range(WRITERS)))
            seconds = perf_counter() - start

            async def all_counted() -> bool:
                return stage.counted.total() >= len(cities)

            behind = await stage.wait_until(all_counted)
        showing.cancel()
    console.print(
        f"  {len(cities):,} acknowledged writes in {seconds:.1f} s"
        f" ({len(cities) / seconds:,.0f}/s): "
        + ", ".join(f"{n:,} in {region}" for region, n in placed.most_common())
    )
    truth = Counter(city.item["country"] for city in cities)
    top = ", ".join(f"{country} {n:,}" for country, n in stage.counted.most_common(8))
    console.print(f"  counted live from the stream of {far}: {top} …")
    detail = f"{stage.counted.total():,} records, {len(stage.counted)} countries"
    if behind is not None:
        detail += f", {behind * 1000:.0f} ms after the last write"
    stage.check("the stream told of every city exactly once", stage.counted == truth, detail)


async def _show_lag(stage: Stage, progress: Progress, bar: object) -> None:
    while True:
        before = progress.tasks[0].completed
        await asyncio.sleep(0.5)
        lags = await stage.lags()
        text = " ".join(f"{a[:2]}→{b[:2]} {ms:.0f}ms" for (a, b), (_, ms) in sorted(lags.items()))
        rate = (progress.tasks[0].completed - before) / 0.5
        progress.update(bar, rate=f"{rate:,.0f}", lag=text)  # type: ignore[arg-type]


async def compare(stage: Stage, title: str) -> None:
    """Show that all regions hold the same."""
    heading(title)
    await stage.show_digests("all regions hold the same items in the same versions")


async def read(stage: Stage, cities: list[City]) -> None:
    """Read each city in the region nearest to it and measure."""
    heading("4. Read from the nearest region")
    times: dict[str, list[float]] = {region: [] for region in stage.regions}
    wrong = 0
    todo = iter(cities[:: max(1, len(cities) // READS)])

    async def read_some(cities: Iterator[City]) -> None:
        nonlocal wrong
        for city in cities:
            handle = stage.client.near(city.latitude, city.longitude)
            start = perf_counter()
            found = await handle.table(TABLE).get({"country": city.key[0], "city": city.key[1]})
            times[handle.served_by or stage.regions[0]].append(perf_counter() - start)
            wrong += found != city.item

    await asyncio.gather(*(read_some(todo) for _ in range(READERS)))
    for region, seconds in times.items():
        if seconds:
            seconds.sort()
            console.print(
                f"  {region:16} {len(seconds):>6,} reads   median"
                f" {seconds[len(seconds) // 2] * 1000:.1f} ms   99 % under"
                f" {seconds[len(seconds) * 99 // 100] * 1000:.1f} ms"
            )
    reads = sum(map(len, times.values()))
    stage.check("every read gave what was written", wrong == 0, f"{reads:,} reads, {wrong} wrong")


async def conflict(stage: Stage) -> None:
    """Write one item in two regions that cannot hear each other, and show what becomes of it."""
    heading("5. A conflict on purpose: one item, two regions, the link between them paused")
    a, b = stage.regions[0], stage.regions[1]
    key = {"country": "GB", "city": "London#conflict"}
    console.print(f"  pausing {a} <-> {b}")
    await _set_links(stage, a, b, paused=True)
    try:
        for region, mayor in ((a, "Ada"), (b, "Grace")):
            item = {**key, "mayor": mayor, "population": 9_000_000}
            await stage.client.in_region(region).table(TABLE).put(item)
            stage.acknowledged[key["country"], key["city"]] = item
            console.print(f"  {region:16} writes mayor = {mayor}")
    finally:
        await _set_links(stage, a, b, paused=False)
    console.print(f"  resuming {a} <-> {b}")
    await stage.wait_until(stage.all_caught_up)
    records: list[admin_pb2.Conflict] = []
    for region in stage.regions:
        records += [c for c in await stage.admin.conflicts(region, TABLE) if _is_about(c, key)]
    if not records:
        stage.check("the conflict is on record in every region", False, "no record")
        return
    winner, loser = records[0].winner, records[0].loser
    for name, side in (("won ", winner), ("lost", loser)):
        console.print(
            f"  {name}  {_mayor(side):6} from {side.version.dot.region:16}"
            f" clock {side.version.hlc >> 16} ms + {side.version.hlc & 0xFFFF}"
        )
    ahead = (winner.version.hlc >> 16) - (loser.version.hlc >> 16)
    console.print(
        "  why: neither write had seen the other, so the later hybrid timestamp wins"
        f" (by {ahead} ms; equal ones go by region name)"
    )
    ids = {record.id for record in records}
    stage.check(
        "the conflict is on record in every region",
        len(records) == len(stage.regions) and len(ids) == 1,
        f"{len(records)} records, {len(ids)} id",
    )
    held = [await stage.client.in_region(r).table(TABLE).get(key) for r in stage.regions]
    mayors = {str(item and item.get("mayor")) for item in held}
    stage.acknowledged[key["country"], key["city"]] = held[0] or {}
    stage.check("all regions agree on the winner", mayors == {_mayor(winner)}, ", ".join(mayors))


async def _set_links(stage: Stage, a: str, b: str, *, paused: bool) -> None:
    await stage.admin.set_link(a, b, paused=paused)
    await stage.admin.set_link(b, a, paused=paused)


def _is_about(conflict: admin_pb2.Conflict, key: dict[str, str]) -> bool:
    return bool(orjson.loads(conflict.key)["city"]["S"] == key["city"])


def _mayor(side: admin_pb2.ConflictingVersion) -> str:
    return str(orjson.loads(side.image)["mayor"]["S"])


class Writers:
    """Writes new items through the router from near each region, until told to stop."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._numbers = count()
        self._stop = asyncio.Event()
        self.longest: dict[str, float] = dict.fromkeys(stage.regions, 0.0)
        self.served: dict[str, Counter[str]] = {region: Counter() for region in stage.regions}
        self.unknown = 0
        self.written = 0

    async def run(self, near: str) -> None:
        """Write from near one region, one item after the other."""
        handle = self._stage.client.in_region(near)
        while not self._stop.is_set():
            number = next(self._numbers)
            item = {"country": "--", "city": f"arrival#{number:07d}", "at": Decimal(number)}
            start = perf_counter()
            try:
                await handle.table(TABLE).put(item)
            except Unavailable:
                self.unknown += 1  # not acknowledged, so it may be there or not
            else:
                self._stage.acknowledged["--", str(item["city"])] = item
                self.written += 1
                self.served[near][handle.served_by or "?"] += 1
            self.longest[near] = max(self.longest[near], perf_counter() - start)

    def stop(self) -> None:
        """End all writers after their present item."""
        self._stop.set()


async def kill(stage: Stage, seconds: float) -> None:
    """Kill a region while writes go on, see clients fail over, bring it back, compare."""
    victim = stage.regions[1]
    heading(f"6. Kill {victim} with SIGKILL while writes go on through the router")
    writers = Writers(stage)
    tasks = [asyncio.create_task(writers.run(r)) for r in stage.regions for _ in range(4)]
    handle: AsyncClient = stage.client.in_region(victim)
    await asyncio.sleep(seconds)
    before = writers.written
    stage.cluster.kill(victim)
    await stage.cluster.wait_ended(victim)
    killed = perf_counter()

    async def failed_over() -> bool:
        return handle.served_by not in (None, victim) and writers.written > before + 20

    took = await stage.wait_until(failed_over)
    now_at = handle.served_by
    await asyncio.sleep(seconds)
    console.print(f"  {writers.written - before:,} writes acknowledged while it was dead")
    stage.check(
        "clients of the dead region were served by another",
        took is not None,
        f"by {now_at}; the longest wait of a write was {1000 * writers.longest[victim]:.0f} ms",
    )
    restarted = perf_counter()
    await stage.cluster.restart(victim)
    console.print(
        f"  {victim} was down for {restarted - killed:.1f} s,"
        f" restarted in {perf_counter() - restarted:.1f} s"
    )

    async def back() -> bool:
        return handle.served_by == victim

    took = await stage.wait_until(back)
    detail = "never" if took is None else f"{perf_counter() - restarted:.1f} s after its restart"
    stage.check("clients went back once it had caught up", took is not None, detail)
    await asyncio.sleep(seconds / 2)
    writers.stop()
    await asyncio.gather(*tasks)
    console.print(
        f"  {writers.written:,} writes acknowledged in all,"
        f" {writers.unknown} ended without an answer"
    )
    took = await stage.wait_until(stage.all_caught_up)
    await stage.show_digests("all regions are identical again")


async def account(stage: Stage) -> None:
    """Look for every acknowledged write in every region."""
    heading("7. Look for every acknowledged write in every region")

    async def missing_in(region: str) -> tuple[str, int, int]:
        left = dict(stage.acknowledged)
        wrong = 0
        async for item in stage.client.in_region(region).table(TABLE).scan():
            expected = left.pop((item["country"], item["city"]), None)
            wrong += expected is not None and expected != item
        return region, len(left), wrong

    for region, missing, wrong in await asyncio.gather(*map(missing_in, stage.regions)):
        stage.check(
            f"no acknowledged write is missing in {region}",
            missing == wrong == 0,
            f"{len(stage.acknowledged):,} looked for, {missing} missing, {wrong} different",
        )
