"""The sections of the benchmark, in order."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, NamedTuple

import psutil

from antipodes.cli.admin import ClusterAdmin
from antipodes.cli.bench.disk import bare_lmdb
from antipodes.cli.bench.lab import (
    REGION,
    SDK_IN_FLIGHT,
    UNARY_IN_FLIGHT,
    Lab,
    Measured,
    cpu_seconds,
    echo_server,
    free_ports,
    middle,
    pid_of,
    wait_until,
)
from antipodes.cli.bench.report import Figure, Target, median, mixed_rate, percentile
from antipodes.cli.bench.workloads import YCSB, Workload
from antipodes.cli.local_cluster import DEFAULT_REGIONS, LocalCluster

BARE_IMPORTS = "import asyncio, grpc.aio, lmdb, orjson, uvloop, google.protobuf.message"
LAG_RATE = 500.0
SETTLE_SECONDS_MAX = 120.0
IDLE_SECONDS = 1.0

Section = Callable[[Lab], Awaitable[None]]


async def start(lab: Lab) -> None:
    """Time the start of a node and of three regions; weigh an idle node."""
    lab.say("start: a node, three regions, an idle node")
    bare = median([await _bare_start() for _ in range(lab.repetitions)])
    nodes: list[float] = []
    resident: list[float] = []
    async with lab.cluster("start", (REGION,)) as cluster:
        for _ in range(lab.repetitions):
            cluster.kill(REGION)
            await cluster.wait_ended(REGION)
            begun = perf_counter()
            await cluster.restart(REGION)
            nodes.append(perf_counter() - begun)
        await asyncio.sleep(IDLE_SECONDS)
        resident.append(psutil.Process(pid_of(cluster, REGION)).memory_info().rss / 2**20)
    clusters: list[float] = []
    for number in range(lab.repetitions):
        three = LocalCluster(lab.directory / f"start-{number}", port=free_ports(4))
        begun = perf_counter()
        await three.start()
        clusters.append(perf_counter() - begun)
        await asyncio.sleep(IDLE_SECONDS)
        resident += [
            psutil.Process(pid_of(three, region)).memory_info().rss / 2**20
            for region in three.regions
        ]
        await three.stop()
    node_s, cluster_s, rss = median(nodes), median(clusters), max(resident)
    name = "interpreter and imports alone"
    _add(
        lab,
        Figure("start", "node, process start to SERVING", node_s, "s", bare, name),
        Figure("start", "three regions and router, start to ready", cluster_s, "s"),
        Figure("start", "idle node, resident memory (largest seen)", rss, "MiB"),
        Target("start", "node start", node_s, 1.0, at_least=False, unit="s"),
        Target("start", "three regions, start to ready", cluster_s, 4.0, at_least=False, unit="s"),
        Target("start", "idle resident memory", rss, 90.0, at_least=False, unit="MiB"),
    )


async def _bare_start() -> float:
    begun = perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE_IMPORTS)
    assert await process.wait() == 0, "the imports of a node do not work"
    return perf_counter() - begun


class Beside(NamedTuple):
    """A unary method of a node beside the bare echo."""

    echo: Measured
    node: Measured
    ratio: float
    """Node to echo, requests per server-CPU-second; each as fast as it goes."""
    ratio_at_rate: float
    """The same with the echo no faster than the node: a call costs more when fewer come at once."""


async def _echo_and_unary(lab: Lab) -> dict[str, Beside]:
    """Measure echo and node in turns."""
    cluster = await lab.one_region()
    runs: dict[str, list[tuple[Measured, Measured, Measured]]] = {"PutItem": [], "GetItem": []}
    async with echo_server() as (address, pid):
        for _ in range(lab.repetitions):
            for method, pairs in runs.items():
                echo = await lab.raw(address, pid, method)
                node = await lab.raw(cluster.address(REGION), pid_of(cluster, REGION), method)
                slow = await lab.raw(address, pid, method, node.requests_per_s)
                pairs.append((echo, node, slow))
    return {
        method: Beside(
            middle([echo for echo, _, _ in pairs]),
            middle([node for _, node, _ in pairs]),
            median(node.requests_per_cpu_s / echo.requests_per_cpu_s for echo, node, _ in pairs),
            median(node.requests_per_cpu_s / slow.requests_per_cpu_s for _, node, slow in pairs),
        )
        for method, pairs in runs.items()
    }


async def _echo(lab: Lab) -> dict[str, Beside]:
    found: dict[str, Beside] = await lab.once("echo", lambda: _echo_and_unary(lab))
    return found


async def _lmdb(lab: Lab) -> dict[str, float]:
    async def measure() -> dict[str, float]:
        # Nothing else of ours runs meanwhile, so that the loop need not go on.
        return bare_lmdb(lab.directory / "bare", lab.window_s / 2)

    found: dict[str, float] = await lab.once("lmdb", measure)
    return found


async def ceilings(lab: Lab) -> None:
    """Measure unary calls beside a bare gRPC echo of the same messages; and LMDB alone."""
    lab.say("ceilings: unary calls, the bare gRPC echo, the bare LMDB loop")
    for method, (echo, node, ratio, ratio_at_rate) in (await _echo(lab)).items():
        _add(
            lab,
            Figure(
                "ceilings", f"unary {method}, {UNARY_IN_FLIGHT} in flight",
                node.requests_per_cpu_s, "req/server-CPU-s", node.requests_per_cpu_s / ratio,
                "echo", {"ratio at its rate": ratio_at_rate, "req/s": node.requests_per_s,
                         "echo req/s": echo.requests_per_s,
                         "p50 ms": percentile(node.latencies_ms, 0.5),
                         "p99 ms": percentile(node.latencies_ms, 0.99)},
            ),
            Target(
                "ceilings", f"unary {method} to echo, requests per server-CPU-second",
                ratio, 0.6, at_least=True,
            ),
        )  # fmt: skip
    for name, rate in (await _lmdb(lab)).items():
        about = "get, a transaction each" if name == "get" else f"{name} a commit with fsync"
        _add(lab, Figure("ceilings", f"LMDB alone: {about}", rate, "/s"))


async def ycsb(lab: Lab) -> None:
    """Run the YCSB core workloads over the SDK and over unary calls, and load in batches."""
    cluster = await lab.one_region()
    lmdb, echo = await _lmdb(lab), await _echo(lab)
    lab.say("ycsb: load in batches of 25")
    table = "loaded"
    await lab.create_table(cluster.address(REGION), table)
    loaded = await lab.load(cluster, table, lab.records)
    _add(
        lab,
        Figure(
            "ycsb", "load, SDK batch_write of 25", loaded.requests_per_s, "items/s",
            lmdb["put 256"], "LMDB 256 a commit",
            {"op/s": loaded.operations_per_s, **loaded.to_columns()},
        ),
    )  # fmt: skip
    for workload in YCSB:
        lab.say(f"ycsb: {workload.name}, {workload.about}")
        run = await lab.sdk(cluster, workload.name)
        limit = _limit(workload, lmdb["get"], lmdb["put 256"])
        name = f"{workload.name} {workload.about}; "
        more = {"op/s": run.operations_per_s, **run.to_columns()}
        _add(
            lab,
            Figure(
                "ycsb", f"{name}SDK, {SDK_IN_FLIGHT} tasks", run.operations_per_s, "op/s",
                limit, "LMDB", more,
            ),
        )  # fmt: skip
        # The echo was measured a while ago: only by CPU time are the two comparable.
        run = await lab.unary(cluster, workload.name)
        reads, writes = workload.reads_per_operation, workload.writes_per_operation
        limit = mixed_rate(
            (
                (reads, echo["GetItem"].echo.requests_per_cpu_s),
                (writes, echo["PutItem"].echo.requests_per_cpu_s),
            )
        )
        more = {"op/s": run.operations_per_s, **run.to_columns()}
        _add(
            lab,
            Figure(
                "ycsb", f"{name}unary, {UNARY_IN_FLIGHT} in flight", run.requests_per_cpu_s,
                "req/server-CPU-s", limit, "echo", more,
            ),
        )  # fmt: skip


def _limit(workload: Workload, get: float, put: float) -> float:
    """Give the operations per second that these rates of requests amount to."""
    reads, writes = workload.reads_per_operation, workload.writes_per_operation
    return mixed_rate(((reads, get), (writes, put))) / (reads + writes)


async def pipeline(lab: Lab) -> None:
    """Measure GetItem and PutItem through the SDK beside the unary figures."""
    cluster = await lab.one_region()
    lmdb, echo = await _lmdb(lab), await _echo(lab)
    lab.say("pipeline: GetItem and PutItem through the SDK")
    for method, workload, limit, bound in (
        ("GetItem", "get", "get", 15_000.0),
        ("PutItem", "put", "put 256", 6_000.0),
    ):
        run = middle([await lab.sdk(cluster, workload) for _ in range(lab.repetitions)])
        unary = echo[method].node
        times = run.requests_per_s / unary.requests_per_s
        _add(
            lab,
            Figure(
                "pipeline", f"SDK {method}, {SDK_IN_FLIGHT} tasks", run.requests_per_s, "req/s",
                lmdb[limit], f"LMDB {limit}",
                {**run.to_columns(), "server cores": run.server_cores,
                 "unary req/s": unary.requests_per_s, "times unary": times,
                 "times unary per CPU-s": run.requests_per_cpu_s / unary.requests_per_cpu_s},
            ),
            Target(
                "pipeline", f"SDK {method}", run.requests_per_s, bound, at_least=True,
                unit="req/s", reached_otherwise=_times(times, run, bound),
            ),
        )  # fmt: skip


def _times(times: float, run: Measured, bound: float) -> str:
    if run.requests_per_s >= bound or times < 5:
        return ""
    return f"{times:.1f} times unary, 5 are enough"


async def stream(lab: Lab) -> None:
    """Compare PutItem with a stream of both images and without."""
    cluster = await lab.one_region()
    lab.say("stream: PutItem with a stream of both images and without")
    records = lab.records // 2
    tables = {"without": None, "with": "NEW_AND_OLD_IMAGES"}
    runs: dict[str, list[Measured]] = {}
    for name, view in tables.items():
        table = f"stream-{name}"
        await lab.create_table(cluster.address(REGION), table, stream=view)
        await lab.load(cluster, table, records)
        runs[table] = []
    for _ in range(lab.repetitions):
        for table, measured in runs.items():
            measured.append(await lab.sdk(cluster, "put", table, records))
    plain, streamed = runs.values()
    _compare(
        lab, "stream", "SDK PutItem over existing items, stream of both images", plain, streamed,
        "without", "PutItem with a stream to without, time per operation", 1.6,
    )  # fmt: skip


async def size(lab: Lab) -> None:
    """Compare GetItem from a table with ten times the items."""
    cluster = await lab.one_region()
    small = lab.records
    large = 10 * small
    lab.say(f"size: GetItem with {small:,} and {large:,} items")
    table = "large"
    await lab.create_table(cluster.address(REGION), table)
    await lab.load(cluster, table, large)
    few: list[Measured] = []
    many: list[Measured] = []
    for _ in range(lab.repetitions):
        few.append(await lab.sdk(cluster, "get"))
        many.append(await lab.sdk(cluster, "get", table, large))
    _compare(
        lab, "size", f"SDK GetItem, {large:,} items, uniform", few, many, f"{small:,} items",
        "GetItem with ten times the items, time per operation", 1.3,
    )  # fmt: skip


def _compare(
    lab: Lab, section: str, name: str, before: list[Measured], after: list[Measured],
    limit_name: str, target: str, bound: float,
) -> None:  # fmt: skip
    """Judge by time per operation and by server CPU per operation, whichever grew more."""
    pairs = list(zip(before, after, strict=True))
    by_time = median(b.requests_per_s / a.requests_per_s for b, a in pairs)
    by_cpu = median(b.requests_per_cpu_s / a.requests_per_cpu_s for b, a in pairs)
    run = middle(after)
    _add(
        lab,
        Figure(
            section, name, run.requests_per_s, "req/s", run.requests_per_s * by_time, limit_name,
            {"time ratio": by_time, "server CPU ratio": by_cpu, **run.to_columns()},
        ),
        Target(
            section, f"{target} (or server CPU, if worse)", max(by_time, by_cpu), bound,
            at_least=False,
        ),
    )  # fmt: skip


async def replication(lab: Lab) -> None:
    """Measure the lag at a steady rate, and how fast a region catches up after a pause."""
    lmdb = await _lmdb(lab)
    here, there, third = DEFAULT_REGIONS
    async with (
        lab.cluster("three", DEFAULT_REGIONS) as cluster,
        ClusterAdmin(cluster.router_address) as admin,
    ):
        lab.say(f"replication: lag at {LAG_RATE:.0f} writes/s")
        await lab.create_table(cluster.address(here), "global", replicas=(there, third))
        found = await lab.lag(
            cluster.address(here), cluster.address(there), "global", LAG_RATE,
            4.0 if lab.quick else 10.0,
        )  # fmt: skip
        _report_lag(lab, found)
        count = 6_000 if lab.quick else 30_000
        rates: list[float] = []
        cores: list[float] = []
        for number in range(1 if lab.quick else 2):
            lab.say(f"replication: catch-up with {count:,} items")
            seconds, cpu_s, items = await _catch_up(lab, cluster, admin, f"pause{number}", count)
            rates.append(items / seconds)
            cores.append(items / cpu_s)
        rate = median(rates)
        _add(
            lab,
            Figure(
                "replication", f"catch-up after a pause, {count:,} items of 1 KiB", rate, "items/s",
                lmdb["put 256"], "LMDB 256 a commit",
                {"items/receiver-CPU-s": median(cores)},
            ),
            Target("replication", "catch-up", rate, 15_000.0, at_least=True, unit="items/s"),
        )  # fmt: skip


def _report_lag(lab: Lab, found: dict[str, Any]) -> None:
    lags = {
        name: sorted(us / 1000 for us in found[f"{name}_us"])
        for name in ("after_ack", "after_send", "ack")
    }
    middle_ms = percentile(lags["after_ack"], 0.5)
    _add(
        lab,
        Figure(
            "replication", f"lag at {found['rate']:.0f} writes/s, acknowledgement to Subscribe"
            " record in another region, median", middle_ms, "ms",
            more={
                "p99 ms": percentile(lags["after_ack"], 0.99),
                "from send, p50 ms": percentile(lags["after_send"], 0.5),
                "from send, p99 ms": percentile(lags["after_send"], 0.99),
                "write alone, p50 ms": percentile(lags["ack"], 0.5),
            },
        ),
        Target("replication", f"steady lag at {LAG_RATE:.0f} writes/s, median", middle_ms, 20.0,
               at_least=False, unit="ms"),
    )  # fmt: skip


async def _catch_up(
    lab: Lab, cluster: LocalCluster, admin: ClusterAdmin, table: str, count: int
) -> tuple[float, float, int]:
    """Let one region miss writes of another; gives seconds, its CPU seconds, and items."""
    here, there, third = DEFAULT_REGIONS
    await lab.create_table(cluster.address(here), table, replicas=(there, third))

    async def level(region: str) -> bool:
        head = (await admin.status(here)).head_lsn
        links = {link.peer_region: link for link in (await admin.status(region)).links}
        return links[here].applied_lsn >= head

    await wait_until(lambda: level(there), SETTLE_SECONDS_MAX)
    await admin.set_link(there, here, paused=True)
    before = {link.peer_region: link for link in (await admin.status(there)).links}[here]
    await lab.load(cluster, table, count)
    await wait_until(lambda: level(third), SETTLE_SECONDS_MAX)
    head = (await admin.status(here)).head_lsn
    pid = pid_of(cluster, there)
    cpu_s = cpu_seconds(pid)
    begun = perf_counter()
    await admin.set_link(there, here, paused=False)

    async def applied() -> bool:
        links = {link.peer_region: link for link in (await admin.status(there)).links}
        return links[here].applied_lsn >= head

    await wait_until(applied, SETTLE_SECONDS_MAX)
    seconds = perf_counter() - begun
    return seconds, cpu_seconds(pid) - cpu_s, head - before.applied_lsn


def _add(lab: Lab, *results: Figure | Target) -> None:
    for result in results:
        if isinstance(result, Figure):
            lab.report.figures.append(result)
        else:
            lab.report.targets.append(result)


SECTIONS: dict[str, Section] = {
    "start": start,
    "ceilings": ceilings,
    "pipeline": pipeline,
    "ycsb": ycsb,
    "stream": stream,
    "size": size,
    "replication": replication,
}
