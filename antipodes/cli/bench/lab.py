"""What the sections share: processes that make load, clusters, and what was measured already."""

import asyncio
import contextlib
import os
import platform
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import lmdb
import orjson
import psutil

from antipodes import wall_clock
from antipodes.cli.bench.report import Report, percentile
from antipodes.cli.local_cluster import DEFAULT_REGIONS, LocalCluster
from antipodes.cli.output import errors
from antipodes.cli.process import RefusedToStart
from antipodes.client.aio import connect
from antipodes.core.errors import InternalServerError

REGION = DEFAULT_REGIONS[0]
TABLE = "usertable"
UNARY_IN_FLIGHT = 32
SDK_IN_FLIGHT = 256
LINE_BYTES_MAX = 64 << 20
SETTLE_SECONDS = 0.2
BUSY_SAMPLE_S = 0.5
_PORTS = range(21_000, 31_000)
"""Below what systems hand out to connections by themselves."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One load, by all processes that made it.

    Attributes:
        operations_per_s: Ended within the window.
        requests_per_s: The same; a read-modify-write is one operation and two requests.
        latencies_ms: Of operations, ascending.
        server_cores: CPU seconds of the server per second.
        client_cores: Of the processes that made the load.
    """

    operations_per_s: float
    requests_per_s: float
    latencies_ms: list[float]
    server_cores: float
    client_cores: float

    @property
    def requests_per_cpu_s(self) -> float:
        """Requests for each CPU second of the server; hardly changes when the machine is busy."""
        return self.requests_per_s / self.server_cores if self.server_cores else float("inf")

    def to_columns(self) -> dict[str, float]:
        """Print as columns of a table."""
        return {
            "req/server-CPU-s": self.requests_per_cpu_s,
            **{
                f"p{share} ms": percentile(self.latencies_ms, share / 100) for share in (50, 95, 99)
            },
            "client cores": self.client_cores,
        }

    @classmethod
    def of(cls, results: list[dict[str, Any]]) -> "Measured":
        """Put together what the processes say; their windows are the same but for milliseconds."""
        latencies = sorted(us / 1000 for r in results for us in r["latencies_us"])
        return cls(
            sum(len(r["latencies_us"]) / r["seconds"] for r in results),
            sum(r["requests"] / r["seconds"] for r in results),
            latencies,
            sum(sum(r["server_cpu_s"]) / r["seconds"] for r in results) / len(results),
            sum(r["client_cpu_s"] / r["seconds"] for r in results),
        )


def middle(runs: list[Measured]) -> Measured:
    """Give the run with the median rate; of two the slower."""
    return sorted(runs, key=lambda run: run.requests_per_s)[(len(runs) - 1) // 2]


class Lab:
    """The place where the sections measure.

    Args:
        directory: For all data; on the disk that is to be measured.
        report: Takes the figures.
        quick: Short windows, few items, no repetitions.
        clients: Processes that make load.
    """

    def __init__(self, directory: Path, report: Report, *, quick: bool, clients: int) -> None:
        self.directory = directory
        self.report = report
        self.quick = quick
        self.repetitions = 1 if quick else 3
        self.window_s = 0.8 if quick else 2.0
        self.warmup_s = 0.3 if quick else 0.5
        self.records = 2_000 if quick else 10_000
        self._clients = clients
        self._workers: list[asyncio.subprocess.Process] = []
        self._stack = AsyncExitStack()
        self._one: LocalCluster | None = None
        self._known: dict[str, Any] = {}
        self._seed = 0

    async def __aenter__(self) -> "Lab":
        try:
            for _ in range(self._clients):
                self._workers.append(
                    await self._stack.enter_async_context(
                        child("antipodes.cli.bench.worker", stdin=asyncio.subprocess.PIPE)
                    )
                )
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def say(self, text: str) -> None:
        """Tell on standard error what is being done."""
        errors.print(f"[dim]{text}[/]")

    async def once(self, name: str, measure: Callable[[], Awaitable[Any]]) -> Any:
        """Give what was measured under a name, by another section perhaps."""
        if name not in self._known:
            self._known[name] = await measure()
        return self._known[name]

    # --- servers

    async def one_region(self) -> LocalCluster:
        """Give the cluster of one region that most sections measure, with the table in it."""
        if self._one is None:
            self._one = await self._stack.enter_async_context(self.cluster("one", (REGION,)))
            await self.create_table(self._one.address(REGION), TABLE)
            await self.load(self._one, TABLE, self.records)
        return self._one

    @asynccontextmanager
    async def cluster(self, name: str, regions: tuple[str, ...]) -> AsyncIterator[LocalCluster]:
        """Run a cluster while the block runs."""
        cluster = LocalCluster(
            self.directory / name, regions=regions, port=free_ports(len(regions) + 1)
        )
        await cluster.start()
        try:
            yield cluster
        finally:
            await cluster.stop()

    async def create_table(
        self, address: str, table: str, *, stream: str | None = None, replicas: tuple[str, ...] = ()
    ) -> None:
        """Create a table with the partition key ``id``."""
        async with connect(address) as client:
            await client.create_table(table, "id", stream=stream, replicas=replicas)

    async def load(
        self, cluster: LocalCluster, table: str, count: int, region: str = REGION
    ) -> Measured:
        """Fill a table with numbered items."""
        job = self._job("load", cluster, table, region=region)
        share = -(-count // len(self._workers))
        return await self._run(
            [
                {**job, "first": first, "count": min(share, count - first), "seed": self._next()}
                for first in range(0, count, share)
            ]
        )

    # --- load

    async def sdk(self, cluster: LocalCluster, workload: str, table: str = TABLE,
                  records: int | None = None) -> Measured:  # fmt: skip
        """Measure a workload through the SDK's pipeline."""
        job = self._job("sdk", cluster, table, SDK_IN_FLIGHT)
        job |= {"workload": workload, "records": records or self.records}
        return await self._run_all(job)

    async def unary(self, cluster: LocalCluster, workload: str) -> Measured:
        """Measure a workload through the generated stubs."""
        job = self._job("unary", cluster, TABLE, UNARY_IN_FLIGHT)
        return await self._run_all(job | {"workload": workload, "records": self.records})

    async def raw(self, address: str, pid: int, method: str, rate: float = 0.0) -> Measured:
        """Measure one unary method with requests printed in advance.

        Args:
            address: Of the server.
            pid: Its process.
            method: PutItem or GetItem.
            rate: Requests per second; 0 means as fast as it goes.
        """
        job = self._load_job("raw", address, [pid], TABLE, UNARY_IN_FLIGHT)
        job |= {"method": method, "records": self.records}
        return await self._run_all(job | {"rate": rate / len(self._workers)})

    async def lag(self, here: str, there: str, table: str, rate: float,
                  seconds: float) -> dict[str, Any]:  # fmt: skip
        """Measure the way of a write from one region to a subscriber in another."""
        job = {
            "kind": "lag", "address": here, "far_address": there, "table": table, "rate": rate,
            "seconds": seconds, "seed": self._next(),
        }  # fmt: skip
        return await self._ask(self._workers[0], job)

    def _job(self, kind: str, cluster: LocalCluster, table: str, in_flight: int = 0,
             region: str = REGION) -> dict[str, Any]:  # fmt: skip
        return self._load_job(
            kind, cluster.address(region), [pid_of(cluster, region)], table, in_flight
        )

    def _load_job(
        self, kind: str, address: str, pids: list[int], table: str, in_flight: int
    ) -> dict[str, Any]:
        return {
            "kind": kind, "address": address, "pids": pids, "table": table,
            "in_flight": in_flight, "seconds": self.window_s, "warmup_s": self.warmup_s,
        }  # fmt: skip

    async def _run_all(self, job: dict[str, Any]) -> Measured:
        workers = len(self._workers)
        in_flight = max(1, job["in_flight"] // workers)
        jobs = [{**job, "in_flight": in_flight, "seed": self._next()} for _ in range(workers)]
        await asyncio.sleep(SETTLE_SECONDS)  # what came before must not reach into the window
        return await self._run(jobs)

    async def _run(self, jobs: list[dict[str, Any]]) -> Measured:
        pairs = zip(self._workers, jobs, strict=False)
        return Measured.of(await asyncio.gather(*(self._ask(w, job) for w, job in pairs)))

    async def _ask(self, worker: asyncio.subprocess.Process, job: dict[str, Any]) -> dict[str, Any]:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(orjson.dumps(job) + b"\n")
        await worker.stdin.drain()
        line = await worker.stdout.readline()
        answer: dict[str, Any] = orjson.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise InternalServerError(f"load {job['kind']} failed: {answer['error']}")
        return answer

    def _next(self) -> int:
        self._seed += 1
        return self._seed


@asynccontextmanager
async def child(module: str, stdin: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module in a process of its own while the block runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=stdin, stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@asynccontextmanager
async def echo_server() -> AsyncIterator[tuple[str, int]]:
    """Run the bare gRPC echo; gives its address and process id."""
    async with child("antipodes.cli.bench.echo", asyncio.subprocess.DEVNULL) as process:
        assert process.stdout is not None
        port = (await process.stdout.readline()).decode().strip()
        if not port:
            raise RefusedToStart("the bare gRPC echo did not start", "see its message above")
        yield f"127.0.0.1:{port}", process.pid


def pid_of(cluster: LocalCluster, region: str) -> int:
    """Give the process id of a region's node."""
    process = cluster.members[region].process
    assert process is not None
    return process.pid


def cpu_seconds(pid: int) -> float:
    """Give the CPU time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def free_ports(count: int) -> int:
    """Find a run of free ports; gives the first.

    Raises:
        RefusedToStart: There is none.
    """
    starts = list(_PORTS[:: count + 1])
    random.Random(os.getpid()).shuffle(starts)  # noqa: S311 - so that two runs rarely meet
    for first in starts:
        with contextlib.ExitStack() as open_, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probe = open_.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
            return first
    raise RefusedToStart(
        f"no {count} free ports in a row between {_PORTS.start} and {_PORTS.stop}",
        "stop what uses them",
    )


async def wait_until(condition: Callable[[], Awaitable[bool]], seconds_max: float) -> float:
    """Wait for a condition; gives the seconds that it took.

    Raises:
        InternalServerError: It did not come.
    """
    start = perf_counter()
    while not await condition():
        if perf_counter() - start > seconds_max:
            raise InternalServerError(f"did not settle within {seconds_max:.0f} s")
        await asyncio.sleep(0.01)
    return perf_counter() - start


def describe_machine(directory: Path) -> dict[str, Any]:
    """Say what the figures were measured on."""
    load = os.getloadavg()
    when = datetime.fromtimestamp(wall_clock.now_ms() / 1000, UTC)
    lmdb_version = ".".join(map(str, lmdb.version()))
    return {
        "date": when.strftime("%Y-%m-%d %H:%M UTC"),
        "cpus": os.cpu_count(),
        "cpu": _cpu_name(),
        "busy before": f"{psutil.cpu_percent(BUSY_SAMPLE_S):.0f} %",
        "load": f"{load[0]:.2f} {load[1]:.2f} {load[2]:.2f}",
        "disk": _file_system(directory),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "lmdb": f"{version('lmdb')} (LMDB {lmdb_version})",
        "antipodes": version("antipodes"),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(directory: Path) -> str:
    found = [
        p
        for p in psutil.disk_partitions(all=True)
        if directory.resolve().is_relative_to(p.mountpoint)
    ]
    if not found:
        return "unknown"
    nearest = max(found, key=lambda p: len(p.mountpoint))
    return f"{nearest.fstype} on {nearest.device}"
