"""A whole system on virtual time: regions, clients, an operator, and what goes wrong.

One `random.Random(seed)` draws everything, the faults too. A run has two phases: first chaos; then
the network heals, clients stop, and all replicas must come to rest within bounded time.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

import orjson

from antipodes.core.catalog import ADD_REPLICAS, CREATE, DELETE, Change
from antipodes.core.formats import decode_item
from antipodes.core.keys import ItemKey, KeyAttribute, KeySchema, physical_key
from antipodes.core.replication import Write, WriteRequested
from antipodes.core.tables import GLOBAL_VIEW_TYPE, VIEW_TYPES, Table
from antipodes.core.tailing import LinkState
from tests.sim.faults import Faults
from tests.sim.history import History, Violation
from tests.sim.network import Connection, SimNet
from tests.sim.node import Node

EPOCH_MS = 1_700_000_000_000
"""Wall clock at the start of each run."""
REST_WITHIN_MS = 120_000
"""After healing, all must be at rest by then: several longest retries one after another."""
STEPS_MAX = 300_000
"""Calls in one run; a wild one makes 30,000."""
REST_MS = 8_000
"""How long rest must last: longer than any message is under way."""
REGIONS = ("africa", "america", "asia", "europe", "oceania")
HASH_ONLY = KeySchema(KeyAttribute("pk", "S"), None)
SCHEMAS = (
    HASH_ONLY,
    KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "S")),
    KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "N")),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run did."""

    writes: int = 0
    conflicts: int = 0
    faults: int = 0
    crashes: int = 0
    tables: int = 0

    def __add__(self, other: "Summary") -> "Summary":
        return Summary(
            self.writes + other.writes,
            self.conflicts + other.conflicts,
            self.faults + other.faults,
            self.crashes + other.crashes,
            self.tables + other.tables,
        )


class Cluster:
    """One run.

    Args:
        seed: Draws everything.
        node_class: The process to run; another one to plant a bug.
        faults: What may go wrong; None to draw it.
        regions: How many; None to draw it.
        requests: How many the clients make; None to draw it.
        trace: Takes a line for each thing that happens; None for no trace.
    """

    def __init__(
        self,
        seed: int,
        *,
        node_class: type[Node] = Node,
        faults: Faults | None = None,
        regions: int | None = None,
        requests: int | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.rng = Random(seed)
        self.time_ms = 0
        self.names: list[str] = list(REGIONS[: regions or self.rng.randint(2, 5)])
        self.history = History(self.names)
        self.crashes = self.cuts = self.clock_faults = self.full_disks = self.flipped = 0
        self.crash_plan: dict[tuple[str, int, bool], None] = {}
        """Crash a region at its n-th transaction, before or after the commit."""
        self._commits: dict[str, int] = dict.fromkeys(self.names, 0)
        self._trace = trace
        self._hash = blake2b(digest_size=16)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._scheduled = self._steps = 0
        drawn = Faults.draw(self.rng)
        self.faults = drawn if faults is None else faults
        self.net = SimNet(
            self.rng, self.names, self.faults, lambda: self.time_ms, self.later, self._reset
        )
        self.nodes = {name: node_class(self, name) for name in self.names}
        self._requests_left = self.rng.randint(40, 260) if requests is None else requests
        self._pauses_ms = self.rng.choice(
            [(0, 0, 0, 1), (0, 0, 5, 50), (0, 30, 300), (0, 0, 2_000)]
        )
        self._keys = [f"k{n}" for n in range(self.rng.choice([1, 3, 8]))]
        self._changes = 0

    # --- time

    def wall_ms(self) -> int:
        """Give the true wall clock."""
        return EPOCH_MS + self.time_ms

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Schedule a call; those of one instant happen in the order of scheduling."""
        self._scheduled += 1
        heapq.heappush(self._heap, (self.time_ms + delay_ms, self._scheduled, call))

    def note(self, region: str, what: str, *details: object) -> None:
        """Add to the trace."""
        line = f"{self.time_ms:>7} {region:<8} {what} {' '.join(map(str, details))}"
        self._hash.update(line.encode())
        if self._trace is not None:
            self._trace(line)

    @property
    def trace_hash(self) -> str:
        """Give a digest of all that happened."""
        return self._hash.hexdigest()

    def _run_for(self, pause_ms: int) -> None:
        end_ms = self.time_ms + pause_ms
        while self._heap[0][0] <= end_ms:
            self._run_one()
        self.time_ms = end_ms

    def _run_one(self) -> None:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise Violation("livelock: much happens and nothing gets done")
        self.time_ms, _, call = heapq.heappop(self._heap)
        call()

    def _reset(self, connection: Connection) -> None:
        for name in (connection.receiver, connection.origin):
            if name in connection.open_ends:
                self.nodes[name].disconnected(connection)

    # --- phases

    def run(self) -> Summary:
        """Do both phases.

        Raises:
            Violation: The system broke a promise, or does not come to rest.
        """
        for node in self.nodes.values():
            if self.faults.clock and self.rng.random() < 0.7:
                node.clock.offset_ms = self.rng.randint(-700, 700)
            node.start()
        self.later(0, self._request)
        self.later(0, self._break_something)
        while self._requests_left:
            self._run_one()
        self._heal()
        limit_ms = self.time_ms + REST_WITHIN_MS
        rest_ms = 0
        while rest_ms < REST_MS:
            self._run_for(500)
            rest_ms = rest_ms + 500 if self.at_rest() else 0
            if self.time_ms > limit_ms:
                raise Violation("no progress: " + "; ".join(self.unrest()))
        return Summary(
            writes=len(self.history.versions),
            conflicts=sum(len(node.dbs.conflicts) for node in self.nodes.values()),
            faults=self.net.lost + self.cuts + self.clock_faults + self.full_disks + self.flipped,
            crashes=self.crashes,
            tables=len(self.history.changes_done),
        )

    def _heal(self) -> None:
        self.note("", "healed")
        self.net.faults = self.net.faults.healed()
        self.net.heal(completely=True)
        self.crash_plan.clear()
        for node in self.nodes.values():
            node.clock.frozen_ms = None

    def at_rest(self) -> bool:
        """Tell whether nothing is left to do."""
        return not any(True for _ in self.unrest())

    def unrest(self) -> list[str]:
        """Name what is left to do."""
        left: list[str] = []
        for name, node in self.nodes.items():
            if not node.up:
                left.append(f"{name} is down")
                continue
            if node.queue:
                left.append(f"{name} has {len(node.queue)} events queued")
            left += [f"{name} has change {id} open" for id in node.replica.catalog.pending]
            for peer, receiver in node.receivers.items():
                other = self.nodes[peer].replica
                lsn = node.replica.watermarks.get(other.origin_id, 0)
                if lsn != other.head_lsn or receiver.applied_lsn != lsn:
                    left.append(f"{name} has {peer} up to {lsn} of {other.head_lsn}")
                elif receiver.state is not LinkState.TAILING or receiver.lag_records:
                    left.append(f"{name} thinks its tail of {peer} is {receiver.state.name}")
        return left

    # --- clients and operator

    def _request(self) -> None:
        node = self.nodes[self.rng.choice(self.names)]
        tables = self._tables_of(node)
        pause_ms = self.rng.choice(self._pauses_ms)
        if tables or self.rng.random() < 0.2:
            self._requests_left -= 1
        else:  # Clients have nothing to do before there is a table.
            pause_ms += self.rng.choice([0, 1, 100])
        if self._requests_left:
            self.later(pause_ms, self._request)
        if not node.up:
            return
        if not tables or self.rng.random() < 0.04:
            self._change_a_table(node, tables)
            return
        count = self.rng.choice([1, 1, 1, 1, 2, 4])
        writes = [self._write(node, self.rng.choice(tables)) for _ in range(count)]
        together = count > 1 and self.rng.random() < 0.5
        if together:  # The service lets a transaction write an item once.
            writes = list({write.physical: write for write in writes}.values())
        node.submit(WriteRequested(tuple(writes), transaction=together))

    @staticmethod
    def _tables_of(node: Node) -> list[Table]:
        if not node.up:
            return []
        tables = node.replica.catalog.by_id
        return [table for _, table in sorted(tables.items()) if table.status == "ACTIVE"]

    def _write(self, node: Node, table: Table) -> Write:
        partition, sort = self.rng.choice(self._keys), ""
        item: dict[str, dict[str, str]] = {"pk": {"S": partition}}
        if table.schema.sort is not None:
            sort = self.rng.choice(["1", "-2.5", "30"])
            item["sk"] = {table.schema.sort.kind: sort}
        key = ItemKey(partition.encode(), sort.encode())
        physical = physical_key(table.schema, table.number, key)
        item["v"] = {"S": f"{self._requests_left}.{self.rng.randrange(1_000_000)}"}
        payload: bytes | None = orjson.dumps(item)
        match self.rng.choices(["put", "delete", "rewrite"], [6, 3, 2])[0]:
            case "delete":
                payload = None
            case "rewrite":
                stored = node.store.read().get(physical, db=node.dbs.items)
                payload = decode_item(stored).payload if stored else None
            case _:
                pass
        return Write(table, key, physical, payload, len(payload or b""))

    def _change_a_table(self, node: Node, tables: list[Table]) -> None:
        self._changes += 1
        others = [name for name in self.names if name != node.name]
        roll = self.rng.random()
        if tables and roll < 0.2:
            table = self.rng.choice(tables)
            kind, regions, view_type = DELETE, table.regions, None
        elif tables and roll < 0.6:
            table = self.rng.choice(tables)
            kind, view_type = ADD_REPLICAS, GLOBAL_VIEW_TYPE
            added = self.rng.sample(others, self.rng.randint(1, len(others)))
            regions = tuple(sorted({*table.regions, *added}))
            if regions == table.regions:
                return
        else:
            count = self.rng.choice([0, 1, len(others), len(others), len(others)])
            regions = tuple(sorted([node.name, *self.rng.sample(others, count)]))
            kind = CREATE
            view_type = GLOBAL_VIEW_TYPE if count else self.rng.choice([None, *VIEW_TYPES])
            table = Table(
                self.rng.choice(["orders", "users"]), self.rng.randbytes(16), b"",
                self.rng.choice(SCHEMAS), regions, "", node.clock.now_ms(),
            )  # fmt: skip
        change = Change(
            f"change-{self._changes}", kind, node.name, regions, table.name, table.id,
            table.schema, regions, table.created_ms, view_type,
        )  # fmt: skip
        self.note(node.name, kind, table.name, regions)
        self.history.changes_proposed.append(change)
        node.changes.propose(change)

    # --- faults

    def crash_is_due(self, node: Node, *, committed: bool) -> bool:
        """Tell whether a node ends here, just before or just after a commit."""
        if not committed:
            self._commits[node.name] += 1
        if (node.name, self._commits[node.name], committed) in self.crash_plan:
            return True
        faults = self.net.faults
        return self.rng.random() < (
            faults.crash_after_commit if committed else faults.crash_before_commit
        )

    def _break_something(self) -> None:
        if not self._requests_left:
            return
        self.later(self.rng.choice([0, 20, 200, 3_000]), self._break_something)
        faults = self.net.faults
        node = self.nodes[self.rng.choice(self.names)]
        quiet = 0.5
        match self.rng.choices(
            ["crash", "cut", "clock", "heal", ""],
            [faults.crash / 4, faults.cut, faults.clock, faults.cut, quiet],
        )[0]:
            case "crash":
                if node.up:
                    node.crash()
            case "cut":
                self._cut(node)
            case "clock":
                self._break_clock(node)
            case "heal":
                self.note("", "healed")
                self.net.heal()
            case _:
                pass

    def _cut(self, node: Node) -> None:
        self.cuts += 1
        peer = self.rng.choice(node.peers)
        cuts = self.rng.choice(
            [
                [(node.name, peer)],
                [(node.name, peer), (peer, node.name)],
                [pair for other in node.peers for pair in ((node.name, other), (other, node.name))],
            ]
        )
        for source, target in cuts:
            self.note(source, "cut", target)
            self.net.cut(source, target)

    def _break_clock(self, node: Node) -> None:
        self.clock_faults += 1
        clock = node.clock
        match self.rng.choice(["near", "far", "freeze", "right"]):
            case "near":
                clock.offset_ms += self.rng.randint(-400, 400)
            case "far":
                clock.offset_ms += self.rng.choice([-5_000, -900, 900, 5_000])
            case "freeze":
                clock.frozen_ms = clock.now_ms()
            case _:
                clock.frozen_ms, clock.offset_ms = None, 0
        self.note(node.name, "clock", clock.offset_ms, clock.frozen_ms)
