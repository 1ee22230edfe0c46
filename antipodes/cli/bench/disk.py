"""The bare LMDB loop: the same bytes on the same disk, and nothing around it."""

import random
from pathlib import Path
from time import perf_counter

import lmdb

from antipodes.cli.bench.workloads import Items, key_of

MAP_BYTES = 2 << 30
RECORDS = 10_000
PUTS_PER_COMMIT = (1, 32, 256)
_VALUES = 64


def bare_lmdb(directory: Path, seconds: float) -> dict[str, float]:
    """Measure what LMDB alone does.

    Args:
        directory: On the disk that the nodes use; made, and left behind.
        seconds: For each figure.

    Returns:
        Per second: ``get`` with a read transaction each, ``put 1``, ``put 32`` and ``put 256`` with
        that many puts in a transaction, each transaction forced to disk.
    """
    directory.mkdir(parents=True)
    rng = random.Random(2)  # noqa: S311 - keeps no secret
    items = Items(rng)
    values = [items.stored(key_of(number)) for number in range(_VALUES)]
    rates: dict[str, float] = {}
    with lmdb.open(str(directory), map_size=MAP_BYTES) as env:
        with env.begin(write=True) as txn:
            for number in range(RECORDS):
                txn.put(key_of(number).encode(), values[number % _VALUES])
        for puts in PUTS_PER_COMMIT:
            count = 0
            start = perf_counter()
            while (elapsed := perf_counter() - start) < seconds:
                with env.begin(write=True) as txn:
                    for _ in range(puts):
                        key = key_of(rng.randrange(RECORDS)).encode()
                        txn.put(key, values[count % _VALUES])
                        count += 1
            rates[f"put {puts}"] = count / elapsed
        count = 0
        start = perf_counter()
        while (elapsed := perf_counter() - start) < seconds:
            for _ in range(100):
                with env.begin() as txn:
                    txn.get(key_of(rng.randrange(RECORDS)).encode())
            count += 100
        rates["get"] = count / elapsed
    return rates
