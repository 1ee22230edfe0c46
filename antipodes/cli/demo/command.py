"""``antipodes demo``."""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import click
from rich.table import Table

from antipodes.cli import exits
from antipodes.cli.admin import ClusterAdmin
from antipodes.cli.demo import scenes
from antipodes.cli.demo.cities import load_cities
from antipodes.cli.demo.stage import Stage, heading
from antipodes.cli.local_cluster import DEFAULT_PORT, LocalCluster
from antipodes.cli.output import console, runs
from antipodes.client.aio import connect

QUICK_CITIES = 3000


@click.command()
@click.option("--quick", is_flag=True, help=f"With {QUICK_CITIES:,} cities instead of all.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True,
    help="gRPC port of the router; the nodes take the ports after it.",
)  # fmt: skip
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="Keep data and logs in this directory; without it they are removed.",
)  # fmt: skip
@runs
async def demo(quick: bool, port: int, keep: Path | None) -> None:
    """Start three regions, replicate the cities of the world, break things, and check everything.

    Runs on this machine only. The exit status is 0 only if every check held.
    """
    begun = perf_counter()
    cities = load_cities(QUICK_CITIES if quick else None)
    with contextlib.ExitStack() as cleanup:
        directory = keep
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="antipodes-demo-"))
            cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        cluster = LocalCluster(directory, port=port)
        heading("1. Start three regions and a router")
        start = perf_counter()
        await cluster.start()
        try:
            console.print(
                f"  {', '.join(cluster.regions)} and the router at {cluster.router_address}:"
                f" ready in {perf_counter() - start:.1f} s"
            )
            async with (
                ClusterAdmin(cluster.router_address) as admin,
                connect(cluster.router_address, timeout_s=20.0) as client,
            ):
                stage = Stage(cluster, admin, client)
                await scenes.create_table(stage)
                await scenes.fill(stage, cities)
                await scenes.compare(stage, "3. Compare the regions")
                await scenes.read(stage, cities)
                await scenes.conflict(stage)
                await scenes.kill(stage, 1.0 if quick else 2.0)
                await scenes.account(stage)
        finally:
            await cluster.stop()
        if keep is not None:
            console.print(f"\n  data and logs: {directory}")
    _show_summary(stage, perf_counter() - begun)
    if not all(check.held for check in stage.checks):
        sys.exit(exits.FAILED)


def _show_summary(stage: Stage, seconds: float) -> None:
    table = Table(title="Summary", title_justify="left", box=None, header_style="bold")
    for column in ("check", "", "figure"):
        table.add_column(column)
    for check in stage.checks:
        mark = "[green]holds[/]" if check.held else "[bold red]FAILS[/]"
        table.add_row(check.name, mark, check.detail)
    console.print()
    console.print(table)
    held = sum(check.held for check in stage.checks)
    console.print(f"\n{held} of {len(stage.checks)} checks held, in {seconds:.0f} s")
