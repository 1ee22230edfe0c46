"""What the load consists of: items, keys, and how requests spread over them.

Source: Cooper et al., "Benchmarking Cloud Serving Systems with YCSB" (2010), the core workloads;
for the zipfian draw Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (1994).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from antipodes.v1 import items_pb2

FIELDS = 10
FIELD_BYTES = 100
THETA = 0.99
"""YCSB's constant: with 10,000 items the most popular one gets every tenth request."""
_POOL = 256
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PERMUTATION_SEED = 1


@dataclass(frozen=True, slots=True)
class Workload:
    """Shares of the operations, which add up to 1, and the distribution of the keys.

    Attributes:
        name: As YCSB calls it.
        about: What it does, in words.
        distribution: ``zipfian``, ``latest`` or ``uniform``.
    """

    name: str
    about: str
    read: float = 0.0
    update: float = 0.0
    insert: float = 0.0
    modify: float = 0.0
    """Reads an item and writes it back changed; one operation of two requests."""
    distribution: str = "zipfian"

    @property
    def reads_per_operation(self) -> float:
        """Requests that read."""
        return self.read + self.modify

    @property
    def writes_per_operation(self) -> float:
        """Requests that write."""
        return self.update + self.insert + self.modify


YCSB = (
    Workload("A", "50 % read, 50 % update", read=0.5, update=0.5),
    Workload("B", "95 % read, 5 % update", read=0.95, update=0.05),
    Workload("C", "read only", read=1.0),
    Workload("D", "95 % read of the latest, 5 % insert", read=0.95, insert=0.05,
             distribution="latest"),
    Workload("F", "50 % read, 50 % read-modify-write", read=0.5, modify=0.5),
)  # fmt: skip
GET = Workload("get", "GetItem, uniform", read=1.0, distribution="uniform")
PUT = Workload("put", "PutItem over existing items, uniform", update=1.0, distribution="uniform")
WORKLOADS = {workload.name: workload for workload in (*YCSB, GET, PUT)}


def key_of(number: int) -> str:
    """Give the key of a numbered item."""
    return f"user{number:010d}"


class Items:
    """Makes items of ten random fields, 1 KiB each; fields are drawn from a pool, which is fast.

    Args:
        rng: Draws everything.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._pool = ["".join(rng.choices(_ALPHABET, k=FIELD_BYTES)) for _ in range(_POOL)]

    def fields(self) -> list[str]:
        """Draw the values of one item."""
        return self._rng.choices(self._pool, k=FIELDS)

    def native(self, key: str) -> dict[str, Any]:
        """Make an item as the SDK takes it."""
        return {"id": key, **dict(zip(_NAMES, self.fields(), strict=True))}

    def put_request(self, table: str, key: str) -> items_pb2.PutItemRequest:
        """Make the message that stores an item."""
        request = items_pb2.PutItemRequest(table_name=table)
        request.item["id"].s = key
        for name, value in zip(_NAMES, self.fields(), strict=True):
            request.item[name].s = value
        return request

    def get_response(self, key: str) -> items_pb2.GetItemResponse:
        """Make the answer that holds an item."""
        response = items_pb2.GetItemResponse()
        response.item.attributes["id"].s = key
        for name, value in zip(_NAMES, self.fields(), strict=True):
            response.item.attributes[name].s = value
        return response

    def stored(self, key: str) -> bytes:
        """Print an item as a node stores it, without the version in front."""
        item = {name: {"S": value} for name, value in self.native(key).items()}
        return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)


_NAMES = [f"field{number}" for number in range(FIELDS)]


def get_request(table: str, key: str) -> items_pb2.GetItemRequest:
    """Make the message that reads an item."""
    request = items_pb2.GetItemRequest(table_name=table)
    request.key["id"].s = key
    return request


class Zipfian:
    """Draws ranks: 0 is the most popular, and the n-th has a share of 1 / n ** theta.

    Args:
        count: How many ranks there are.
        rng: Draws.
        theta: Above 0, below 1; the greater, the more uneven.
    """

    def __init__(self, count: int, rng: random.Random, theta: float = THETA) -> None:
        if count < 1 or not 0 < theta < 1:
            raise ValueError("a zipfian distribution has ranks, and theta between 0 and 1")
        self._count = count
        self._draw = rng.random
        self._zeta = sum(rank**-theta for rank in range(1, count + 1))
        two = 1 + 0.5**theta
        self._two = two
        self._alpha = 1 / (1 - theta)
        self._eta = (1 - (2 / count) ** (1 - theta)) / (1 - two / self._zeta) if count > 2 else 0.0

    def rank(self) -> int:
        """Draw a rank below the count."""
        u = self._draw()
        share = u * self._zeta
        if share < 1 or self._count == 1:
            return 0
        if share < self._two or self._count == 2:
            return 1
        return min(
            int(self._count * (self._eta * u - self._eta + 1) ** self._alpha), self._count - 1
        )


class Keys:
    """Chooses the keys of requests.

    Args:
        count: Items that were loaded.
        distribution: As in `Workload`.
        rng: Draws.
        prefix: Of the keys that are inserted; no two loads at a time may share one.
    """

    def __init__(self, count: int, distribution: str, rng: random.Random, prefix: str) -> None:
        self._rng = rng
        self._count = count
        self._prefix = prefix
        self._begun = 0
        self._inserted: list[str] = []
        self._zipfian = Zipfian(count, rng) if distribution != "uniform" else None
        # Popular keys must not be neighbours; the same ones are popular in every process.
        self._order: Sequence[int] = list(range(count))
        if distribution == "zipfian":
            order = list(range(count))
            random.Random(_PERMUTATION_SEED).shuffle(order)  # noqa: S311 - keeps no secret
            self._order = order
        self._latest = distribution == "latest"

    def existing(self) -> str:
        """Choose an item that is there."""
        if self._zipfian is None:
            return key_of(self._rng.randrange(self._count))
        rank = self._zipfian.rank()
        if not self._latest:
            return key_of(self._order[rank])
        if rank < len(self._inserted):
            return self._inserted[-1 - rank]
        return key_of(max(0, self._count - 1 - (rank - len(self._inserted))))

    def fresh(self) -> str:
        """Choose a key for an insert; tell `inserted` when the insert is acknowledged."""
        self._begun += 1
        return f"{self._prefix}{self._begun:08d}"

    def inserted(self, key: str) -> None:
        """Take an acknowledged insert among the items that are there."""
        self._inserted.append(key)
