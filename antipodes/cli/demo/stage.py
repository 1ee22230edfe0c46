"""What the scenes of the demo share: the cluster, clients, what was acknowledged, the checks."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from antipodes.cli.admin import ClusterAdmin
from antipodes.cli.local_cluster import LocalCluster
from antipodes.cli.output import console
from antipodes.client.aio import AsyncClient
from antipodes.core.errors import AntipodesError

TABLE = "cities"
SETTLE_SECONDS_MAX = 30.0


@dataclass
class Check:
    """One thing that must hold.

    Attributes:
        name: What.
        held: Whether it did.
        detail: The figure behind it.
    """

    name: str
    held: bool
    detail: str


@dataclass
class Stage:
    """Where the scenes play.

    Attributes:
        cluster: Nodes and router as processes.
        admin: Asks the nodes, through the router.
        client: Reads and writes, through the router.
        acknowledged: Every item whose write was acknowledged, by key.
        checks: What was found to hold or not.
        counted: Cities by country, as the tail of the stream saw them.
    """

    cluster: LocalCluster
    admin: ClusterAdmin
    client: AsyncClient
    acknowledged: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    @property
    def regions(self) -> list[str]:
        """Names of the regions."""
        return list(self.cluster.regions)

    def check(self, name: str, held: bool, detail: str) -> None:
        """Note whether something holds, and show it."""
        self.checks.append(Check(name, held, detail))
        mark = "[green]holds[/]" if held else "[bold red]FAILS[/]"
        console.print(f"  {mark}  {name}: {detail}")

    async def wait_until(
        self, condition: Callable[[], Awaitable[bool]], seconds_max: float = SETTLE_SECONDS_MAX
    ) -> float | None:
        """Wait for a condition; gives the seconds it took, None if it never came."""
        start = perf_counter()
        while perf_counter() - start < seconds_max:
            with contextlib.suppress(AntipodesError):
                if await condition():
                    return perf_counter() - start
            await asyncio.sleep(0.02)
        return None

    async def lags(self) -> dict[tuple[str, str], tuple[int, float]]:
        """Give records and milliseconds by (origin, receiver), for regions that answer."""
        found: dict[tuple[str, str], tuple[int, float]] = {}
        for region in self.regions:
            try:
                status = await self.admin.status(region)
            except AntipodesError:
                continue
            for link in status.links:
                found[link.peer_region, region] = (link.lag_records, link.lag_ms)
        return found

    async def all_caught_up(self) -> bool:
        """Tell whether every region has applied every other region's newest write."""
        for region in self.regions:
            heads = {link.peer_region: link for link in (await self.admin.status(region)).links}
            if any(link.lag_records or not link.synced for link in heads.values()):
                return False
        return await self.identical()

    async def identical(self) -> bool:
        """Tell whether all regions hold the same items in the same versions."""
        digests = [await self.admin.digest(region, TABLE) for region in self.regions]
        return len({(d.item_count, d.digest) for d in digests}) == 1

    async def show_digests(self, check_name: str) -> None:
        """Show count and digest per region, and check that they are equal."""
        took = await self.wait_until(self.identical)
        found = set()
        for region in self.regions:
            digest = await self.admin.digest(region, TABLE)
            found.add((digest.item_count, digest.digest))
            console.print(f"  {region:16} {digest.item_count:>7,} items   digest {digest.digest}")
        detail = f"{len(found)} different" if took is None else f"after {took * 1000:.0f} ms"
        self.check(check_name, len(found) == 1, detail)

    @asynccontextmanager
    async def tailing(self, region: str) -> AsyncIterator[None]:
        """Count the cities of each country from a region's stream while the block runs."""
        async with self.client.table(TABLE).stream("now", region=region) as records:

            async def follow() -> None:
                async for record in records:
                    if record.event_name == "INSERT":
                        self.counted[str(record.keys["country"])] += 1

            task = asyncio.create_task(follow())
            try:
                yield
            finally:
                await records.aclose()
                await task


def heading(text: str) -> None:
    """Announce a scene."""
    console.print(f"\n[bold]{text}[/]")
