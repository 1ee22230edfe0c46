"""Commands about the cluster: up, down, status, link, conflicts, node, router."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import orjson

from antipodes.cli import exits
from antipodes.cli.admin import ClusterAdmin
from antipodes.cli.local_cluster import (
    DEFAULT_PORT,
    DEFAULT_REGIONS,
    START_SECONDS_MAX,
    LocalCluster,
    stop_cluster,
)
from antipodes.cli.output import (
    console,
    endpoint_option,
    errors,
    fail,
    output_option,
    print_json,
    print_rows,
    reports_errors,
    runs,
)
from antipodes.cli.process import RefusedToStart
from antipodes.core.errors import AntipodesError
from antipodes.v1 import admin_pb2

DEFAULT_DIRECTORY = Path(".antipodes")

_data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DIRECTORY,
    show_default=True, help="State of region R lies in DATA_DIR/R.",
)  # fmt: skip


@click.command()
@click.option(
    "--regions", default=",".join(DEFAULT_REGIONS), show_default=True, metavar="A,B,C",
    help="Regions to start, by AWS name.",
)  # fmt: skip
@_data_dir_option
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True,
    help="gRPC port of the router; the nodes take the ports after it, in order.",
)  # fmt: skip
@click.option(
    "--http-port", default=8000, show_default=True,
    help="Port of the router for DynamoDB's HTTP protocol; the nodes take the ports after it.",
)  # fmt: skip
@click.option("--detach", is_flag=True, help="Return once the cluster is ready; it runs on.")
@reports_errors
def up(regions: str, data_dir: Path, port: int, http_port: int, detach: bool) -> None:
    """Start regions and a router on this machine and leave them running.

    Prints `ready` once every health check says SERVING. Ctrl-C or `antipodes down` stops it. The
    data stays in DATA_DIR and is there again at the next start.
    """
    cluster = LocalCluster(data_dir, [r for r in regions.split(",") if r], port, http_port)
    if detach:
        _start_detached(cluster)
    else:
        asyncio.run(_run_cluster(cluster))


async def _run_cluster(cluster: LocalCluster) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(cluster.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    _print_welcome(cluster)
    watchers = [asyncio.create_task(_report_end(cluster, name)) for name in cluster.members]
    try:
        await stopping
    finally:
        for watcher in watchers:
            watcher.cancel()
        await cluster.stop()
        errors.print("stopped")


async def _report_end(cluster: LocalCluster, name: str) -> None:
    status = await cluster.wait_ended(name)
    member = cluster.members[name]
    how = f"signal {-status}" if status < 0 else f"status {status}"
    errors.print(
        f"[red]{name} ended with {how}[/]; its log is {member.log}; to start it again:\n  "
        + " ".join(member.command),
        soft_wrap=True,
    )


def _print_welcome(cluster: LocalCluster) -> None:
    rows = [
        {"": name, "gRPC": member.address, "HTTP": f"http://{cluster.http_address(name)}"}
        for name, member in sorted(cluster.members.items(), key=lambda pair: pair[0] != "router")
    ]
    print_rows(rows, "table")
    first, *others = cluster.regions
    replicas = f" --replicas {','.join(others)}" if others else ""
    flag = "" if cluster.port == DEFAULT_PORT else f" --endpoint {cluster.router_address}"
    far = others[-1] if others else first
    lines = (
        f"antipodes table create songs --partition-key artist --sort-key title"
        f" --region {first}{replicas}{flag}",
        'antipodes item put songs \'{"artist": "No One You Know", "title": "Call Me Today"}\''
        f" --region {first}{flag}",
        f"antipodes scan songs --region {far}{flag}",
    )
    console.print("\nTry next:")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True)
    console.print(f"\nState and logs: {cluster.directory.resolve()}", soft_wrap=True)
    click.echo("ready")
    sys.stdout.flush()


def _start_detached(cluster: LocalCluster) -> None:
    """Run `up` in a session of its own and wait for what it says."""
    command = [
        sys.executable, "-m", "antipodes.cli", "up", "--regions", ",".join(cluster.regions),
        "--data-dir", str(cluster.directory), "--port", str(cluster.port),
        "--http-port", str(cluster.http_port),
    ]  # fmt: skip
    log = cluster.directory / "up.log"
    try:
        cluster.directory.mkdir(parents=True, exist_ok=True)
        out = log.open("w+b")
    except OSError as error:
        raise RefusedToStart(
            f"data directory {cluster.directory} cannot be written: {error.strerror}",
            "name a directory that this user may write to with --data-dir",
        ) from error
    with out:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        until = time.monotonic() + START_SECONDS_MAX + 5
        while time.monotonic() < until:
            said = log.read_text(errors="replace")
            if said.rstrip().endswith("ready"):
                click.echo(said, nl=False)
                return
            if (status := child.poll()) is not None:
                click.echo(said, err=True, nl=False)
                sys.exit(status)
            time.sleep(0.05)
    child.terminate()
    fail(f"the cluster did not become ready; read the logs under {cluster.directory}")


@click.command()
@_data_dir_option
@reports_errors
def down(data_dir: Path) -> None:
    """Stop the cluster that runs on a data directory. The data stays."""
    stopped = stop_cluster(data_dir)
    if not stopped:
        fail(f"no cluster runs on {data_dir}; name another with --data-dir", exits.UNREACHABLE)
    click.echo(f"stopped {', '.join(stopped)}")


@click.command()
@endpoint_option
@output_option
@runs
async def status(endpoint: str, output: str) -> None:
    """Show every region: health, items, and how far behind the others it is."""
    async with ClusterAdmin(endpoint) as admin:
        rows, links = [], []
        for region in await admin.regions():
            row: dict[str, Any] = {
                "region": region.region,
                "address": region.address,
                "available": "yes" if region.available else f"no: {region.reason}",
            }
            try:
                found = await admin.status(region.region)
            except AntipodesError as error:
                row["problem"] = str(error)
            else:
                row |= _status_row(found)
                links += [_link_row(region.region, link) for link in found.links]
            rows.append(row)
    if output == "json":
        for row in rows:
            print_json({**row, "links": [n for n in links if n["region"] == row["region"]]})
        return
    print_rows(rows, output)
    click.echo()
    print_rows(links, output)


def _status_row(found: admin_pb2.GetStatusResponse) -> dict[str, Any]:
    return {
        "items": sum(table.item_count for table in found.tables),
        "log": found.head_lsn,
        "conflicts": found.counters.conflicts,
        "disk MiB": round(found.storage.used_bytes / 2**20, 1),
        "memory MiB": round(found.resident_bytes / 2**20, 1),
    }


def _link_row(region: str, link: admin_pb2.LinkStatus) -> dict[str, Any]:
    return {
        "region": region,
        "follows": link.peer_region,
        "state": admin_pb2.LinkState.Name(link.state).removeprefix("LINK_STATE_"),
        "lag records": link.lag_records,
        "lag ms": round(link.lag_ms, 1),
        "silent ms": round(link.silent_ms),
        "last error": link.last_error,
    }


@click.group()
def link() -> None:
    """Pause and resume replication between two regions, for tests and drills."""


@link.command("pause")
@click.argument("region")
@click.argument("peer")
@endpoint_option
@runs
async def link_pause(region: str, peer: str, endpoint: str) -> None:
    """Stop replication between REGION and PEER, in both directions."""
    await _set_both(endpoint, region, peer, paused=True)
    click.echo(f"paused {region} <-> {peer}; resume with: antipodes link resume {region} {peer}")


@link.command("resume")
@click.argument("region")
@click.argument("peer")
@endpoint_option
@runs
async def link_resume(region: str, peer: str, endpoint: str) -> None:
    """Let replication between REGION and PEER go on where it was paused."""
    await _set_both(endpoint, region, peer, paused=False)
    click.echo(f"resumed {region} <-> {peer}")


async def _set_both(endpoint: str, a: str, b: str, *, paused: bool) -> None:
    async with ClusterAdmin(endpoint) as admin:
        await admin.set_link(a, b, paused=paused)
        await admin.set_link(b, a, paused=paused)


@click.command()
@click.argument("table", required=False, default="")
@click.option("--region", default="", help="Whose record of conflicts; all keep the same.")
@click.option("--limit", default=20, show_default=True, help="Newest so many.")
@endpoint_option
@output_option
@runs
async def conflicts(table: str, region: str, limit: int, endpoint: str, output: str) -> None:
    """List writes of one item that did not know of each other, with winner and loser."""
    async with ClusterAdmin(endpoint) as admin:
        found = await admin.conflicts(region, table, limit)
    rows = [
        {
            "id": conflict.id,
            "table": conflict.table_name,
            "key": orjson.loads(conflict.key),
            "winner": _side(conflict.winner),
            "loser": _side(conflict.loser),
        }
        for conflict in found
    ]
    if output == "table" and not rows:
        click.echo("no conflicts")
    elif output == "table":
        print_rows(rows, output)
    else:
        for row in rows:
            print_json(row)


def _side(side: admin_pb2.ConflictingVersion) -> dict[str, Any]:
    return {
        "region": side.version.dot.region,
        "ms": side.version.hlc >> 16,
        "image": orjson.loads(side.image) if side.image else None,
    }


_PASS_ON: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": []}


@click.command(context_settings=_PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def node(arguments: tuple[str, ...]) -> None:
    """Serve one region; `antipodes node --help` lists its settings."""
    _become("antipodes_node", arguments)


@click.command(context_settings=_PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def router(arguments: tuple[str, ...]) -> None:
    """Send clients to regions; `antipodes router --help` lists its settings."""
    _become("antipodes_router", arguments)


def _become(module: str, arguments: tuple[str, ...]) -> None:
    """Replace this process, so that signals reach the server itself."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
