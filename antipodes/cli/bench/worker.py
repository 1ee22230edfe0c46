"""A process that makes load: ``python -m antipodes.cli.bench.worker``.

Reads one job in JSON a line from its input and answers each with one line of JSON. It lives through
all jobs, so that no figure contains the start of an interpreter.
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter, process_time
from typing import Any

import grpc.aio
import orjson
import psutil
import uvloop

from antipodes.cli.bench.workloads import WORKLOADS, Items, Keys, get_request, key_of
from antipodes.client.aio import connect
from antipodes.v1 import items_pb2_grpc

Job = dict[str, Any]
Result = dict[str, Any]
Operate = Callable[[], Awaitable[int]]
"""Carries out one operation; gives the requests that it took."""

BATCH_ITEMS = 25
BATCHES_IN_FLIGHT = 16
RAW_MESSAGES = 512
"""Requests that are printed in advance for the raw load."""
_MARK = b"##########"
_NUMBERS_PER_LOAD = 10_000_000
LAG_PATIENCE_S = 20.0
LAG_WARMUP_WRITES = 250


@dataclass
class Window:
    """The part of a load that counts.

    Attributes:
        pids: Processes whose CPU time counts as the servers'.
    """

    pids: list[int]
    start: float = 0.0
    seconds: float = 0.0
    requests: int = 0
    latencies: list[float] = field(default_factory=list)
    client_cpu_s: float = 0.0
    server_cpu_s: list[float] = field(default_factory=list)

    def open(self) -> None:
        """Begin to count."""
        self.start = perf_counter()
        self.client_cpu_s = process_time()
        self.server_cpu_s = self._server_cpu()

    def close(self) -> None:
        """Stop counting."""
        self.seconds = perf_counter() - self.start
        self.client_cpu_s = process_time() - self.client_cpu_s
        now = self._server_cpu()
        self.server_cpu_s = [b - a for a, b in zip(self.server_cpu_s, now, strict=True)]

    def _server_cpu(self) -> list[float]:
        times = [psutil.Process(pid).cpu_times() for pid in self.pids]
        return [t.user + t.system for t in times]

    def result(self) -> Result:
        """Print the outcome."""
        return {
            "seconds": self.seconds,
            "requests": self.requests,
            "latencies_us": [round(latency * 1e6) for latency in self.latencies],
            "client_cpu_s": self.client_cpu_s,
            "server_cpu_s": self.server_cpu_s,
        }


async def run_closed_loop(job: Job, operate: Operate) -> Result:
    """Keep a number of operations in flight; count those that end within the window.

    A job with a ``rate`` begins at most so many in a second.
    """
    window = Window(job["pids"])
    counting = False
    stopped = False
    interval = job["in_flight"] / job["rate"] if job.get("rate") else 0.0

    async def loop() -> None:
        latencies = window.latencies
        while not stopped:
            start = perf_counter()
            requests = await operate()
            if counting:
                latencies.append(perf_counter() - start)
                window.requests += requests
            if (left := start + interval - perf_counter()) > 0:
                await asyncio.sleep(left)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(job["in_flight"]):
            tasks.create_task(loop())
        await asyncio.sleep(job["warmup_s"])
        window.open()
        counting = True
        await asyncio.sleep(job["seconds"])
        counting = False
        window.close()
        stopped = True
    return window.result()


def _mixed(job: Job, get: Callable[[str], Awaitable[Any]], put: Callable[[str], Awaitable[Any]],
           modify: Callable[[str], Awaitable[Any]], rng: random.Random) -> Operate:  # fmt: skip
    workload = WORKLOADS[job["workload"]]
    keys = Keys(job["records"], workload.distribution, rng, f"new-{job['seed']}-")
    read, update = workload.read, workload.read + workload.update
    insert = update + workload.insert

    async def operate() -> int:
        draw = rng.random()
        if draw < read:
            await get(keys.existing())
        elif draw < update:
            await put(keys.existing())
        elif draw < insert:
            key = keys.fresh()
            await put(key)
            keys.inserted(key)
        else:
            await modify(keys.existing())
            return 2
        return 1

    return operate


async def run_sdk(job: Job) -> Result:
    """Make load through the SDK's pipeline."""
    rng = random.Random(job["seed"])  # noqa: S311 - keeps no secret
    items = Items(rng)
    async with connect(job["address"]) as client:
        table = client.table(job["table"])

        async def get(key: str) -> None:
            if await table.get({"id": key}) is None:
                raise LookupError(f"{key} is missing")

        async def put(key: str) -> None:
            await table.put(items.native(key))

        async def modify(key: str) -> None:
            item = await table.get({"id": key})
            assert item is not None
            item["field0"] = items.fields()[0]
            await table.put(item)

        return await run_closed_loop(job, _mixed(job, get, put, modify, rng))


async def run_unary(job: Job) -> Result:
    """Make load through the generated stubs, one call for each request."""
    rng = random.Random(job["seed"])  # noqa: S311 - keeps no secret
    items = Items(rng)
    name = job["table"]
    async with grpc.aio.insecure_channel(job["address"]) as channel:
        stub: items_pb2_grpc.ItemsAsyncStub = items_pb2_grpc.ItemsStub(channel)

        async def get(key: str) -> None:
            found = await stub.GetItem(get_request(name, key))
            if not found.HasField("item"):
                raise LookupError(f"{key} is missing")

        async def put(key: str) -> None:
            await stub.PutItem(items.put_request(name, key))

        async def modify(key: str) -> None:
            found = await stub.GetItem(get_request(name, key))
            request = items.put_request(name, key)
            request.item.MergeFrom(found.item.attributes)
            request.item["field0"].s = items.fields()[0]
            await stub.PutItem(request)

        return await run_closed_loop(job, _mixed(job, get, put, modify, rng))


async def run_raw(job: Job) -> Result:
    """Make unary load with requests printed in advance, so that the server is what is measured."""
    rng = random.Random(job["seed"])  # noqa: S311 - keeps no secret
    items = Items(rng)
    keys = [key_of(rng.randrange(job["records"])) for _ in range(RAW_MESSAGES)]
    method = job["method"]
    messages = [_printed(method, job["table"], key, items) for key in keys]
    numbers = count(job["seed"] * _NUMBERS_PER_LOAD)
    async with grpc.aio.insecure_channel(job["address"]) as channel:
        call: Any = channel.unary_unary(f"/antipodes.v1.Items/{method}")

        async def operate() -> int:
            # No put may repeat another, for it would change nothing.
            await call(rng.choice(messages).replace(_MARK, b"%010d" % next(numbers)))
            return 1

        return await run_closed_loop(job, operate)


def _printed(method: str, table: str, key: str, items: Items) -> bytes:
    if method == "GetItem":
        return get_request(table, key).SerializeToString()
    request = items.put_request(table, key)
    field = request.item["field0"]
    field.s = _MARK.decode() + field.s[len(_MARK) :]
    return request.SerializeToString()


async def run_load(job: Job) -> Result:
    """Store numbered items with BatchWriteItem."""
    rng = random.Random(job["seed"])  # noqa: S311 - keeps no secret
    items = Items(rng)
    window = Window(job["pids"])
    first, last = job["first"], job["first"] + job["count"]
    starts = iter(range(first, last, BATCH_ITEMS))
    async with connect(job["address"], timeout_s=60.0) as client:
        table = client.table(job["table"])
        await table.key_names()  # connects
        window.open()

        async def write() -> None:
            for start in starts:
                begun = perf_counter()
                end = min(start + BATCH_ITEMS, last)
                await table.batch_write(items.native(key_of(n)) for n in range(start, end))
                window.latencies.append(perf_counter() - begun)
                window.requests += end - start

        async with asyncio.TaskGroup() as tasks:
            for _ in range(BATCHES_IN_FLIGHT):
                tasks.create_task(write())
        window.close()
    return window.result()


async def run_lag(job: Job) -> Result:
    """Write at a steady rate in one region and watch the stream of another.

    Both ends are in this process, so that one clock tells all times.
    """
    rng = random.Random(job["seed"])  # noqa: S311 - keeps no secret
    items = Items(rng)
    rate, writes = job["rate"], LAG_WARMUP_WRITES + round(job["rate"] * job["seconds"])
    sent: dict[str, float] = {}
    acknowledged: dict[str, float] = {}
    arrived: dict[str, float] = {}
    async with connect(job["address"]) as here, connect(job["far_address"]) as there:
        table = here.table(job["table"])
        async with there.table(job["table"]).stream("now") as records:

            async def watch() -> None:
                while len(arrived) < writes:
                    batch = await records.next_batch()
                    now = perf_counter()
                    for record in batch:
                        arrived[record.keys["id"]] = now

            async def write(key: str) -> None:
                sent[key] = perf_counter()
                await table.put(items.native(key))
                acknowledged[key] = perf_counter()

            async with (
                asyncio.timeout(job["seconds"] + LAG_PATIENCE_S),
                asyncio.TaskGroup() as all_,
            ):
                all_.create_task(watch())
                start = perf_counter()
                for number in range(writes):
                    delay = start + number / rate - perf_counter()
                    if delay > 0:
                        await asyncio.sleep(delay)
                    all_.create_task(write(f"lag-{job['seed']}-{number:08d}"))
    counted = list(sent)[LAG_WARMUP_WRITES:]
    return {
        "after_ack_us": [round((arrived[k] - acknowledged[k]) * 1e6) for k in counted],
        "after_send_us": [round((arrived[k] - sent[k]) * 1e6) for k in counted],
        "ack_us": [round((acknowledged[k] - sent[k]) * 1e6) for k in counted],
        "rate": (len(sent) - 1) / (max(sent.values()) - start),
    }


_JOBS: dict[str, Callable[[Job], Awaitable[Result]]] = {
    "sdk": run_sdk,
    "unary": run_unary,
    "raw": run_raw,
    "load": run_load,
    "lag": run_lag,
}


@contextmanager
def _reported(answer: Result) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the asker decides
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        answer["error"] = f"{type(error).__name__}: {error}"


def main() -> None:
    """Do jobs until the input ends."""

    async def carry_out(job: Job) -> Result:
        return await _JOBS[job["kind"]](job)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            answer: Result = {}
            with _reported(answer):
                answer = runner.run(carry_out(orjson.loads(line)))
            sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
