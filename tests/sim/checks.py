"""What must hold when a run has come to rest. Names as in the design, section 16."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from antipodes.core.catalog import CREATE, DELETE, read_statistics
from antipodes.core.conflicts import parse_conflict
from antipodes.core.formats import (
    LSN,
    NO_TRANSACTION,
    EntryBody,
    ItemRecord,
    Kind,
    LogEntry,
    decode_body,
    decode_item,
    decode_log,
)
from antipodes.core.keys import ItemKey, key_attributes, physical_key
from antipodes.core.replication import Replica
from antipodes.core.store import keys_from
from antipodes.core.streams import RecordPrinter, index_prefix, sequence_number
from antipodes.core.tables import Table
from antipodes.core.versions import Dot, Vector, covers
from tests.sim.cluster import Cluster
from tests.sim.history import ItemName, Version
from tests.sim.node import Node


@dataclass(slots=True)
class Image:
    """All that one region's disk holds, decoded."""

    node: Node
    log: list[tuple[int, LogEntry, EntryBody]]
    items: dict[ItemName, ItemRecord]
    """Tombstones included; of tables that exist."""
    tables: dict[bytes, Table]


def check(cluster: Cluster) -> Iterator[str]:
    """Name every broken promise of a run that has come to rest."""
    images = [_read(node) for node in cluster.nodes.values()]
    yield from _tables_are_equal(cluster, images)
    yield from _replicas_are_equal(images)
    yield from _winners_are_newest(cluster, images)
    yield from _acknowledged_writes_survive(cluster, images)
    yield from _logs_are_complete(cluster, images)
    yield from _versions_follow_what_they_saw(cluster)
    yield from _conflicts_are_recorded(cluster, images)
    for image in images:
        yield from _streams_tell_the_table(image)
        yield from _disk_equals_memory(image)
        if image.node.replica.counts["violation"]:
            yield f"I13: {image.node.name} met a version that loses to what it has seen"


def _read(node: Node) -> Image:
    txn, dbs = node.store.read(), node.dbs
    tables = node.replica.catalog.by_id
    by_number = {table.number: table.id for table in tables.values()}
    log = []
    for position, stored in dbs.log.items():
        entry = decode_log(stored)
        log.append((LSN.unpack(position)[0], entry, decode_body(entry.body)))
    items: dict[ItemName, ItemRecord] = {}
    for db in (dbs.items, dbs.tombstones):
        for physical in keys_from(txn.cursor(db), b""):
            table_id = by_number.get(physical[:4])
            if table_id is not None:
                record = decode_item(db[physical])
                assert (table_id, record.key) not in items, "live and deleted at once"
                assert (record.payload is not None) is (db is dbs.items)
                items[table_id, record.key] = record
    return Image(node, log, items, tables)


def _tables_are_equal(cluster: Cluster, images: list[Image]) -> Iterator[str]:
    """A table is active in all its regions or in none; success told to a client stays true."""
    everywhere: dict[bytes, dict[str, Table]] = {}
    for image in images:
        for table in image.tables.values():
            everywhere.setdefault(table.id, {})[image.node.name] = table
    for table_id, copies in everywhere.items():
        for region, table in copies.items():
            if table.status != "ACTIVE" or table.regions != tuple(sorted(copies)):
                yield (
                    f"2PC: table {table_id.hex()} is {table.status} for {table.regions}"
                    f" in {region}, and exists in {sorted(copies)}"
                )
    to_delete = {c.table_id for c in cluster.history.changes_proposed if c.kind == DELETE}
    for change in cluster.history.changes_done:
        regions = everywhere.get(change.table_id, {})
        if change.kind == DELETE:
            if regions:
                yield f"2PC: {change.id} was done, yet the table lives in {sorted(regions)}"
        elif not set(change.regions) <= set(regions) and change.table_id not in to_delete:
            yield f"2PC: {change.id} ({change.kind}) was done and is forgotten"
    created = {c.table_id for c in cluster.history.changes_proposed if c.kind == CREATE}
    if not set(everywhere) <= created:
        yield "2PC: a table that nobody asked for"


def _replicas_are_equal(images: list[Image]) -> Iterator[str]:
    """I1: winner, its name and stamp, and the joined context."""
    states: dict[bytes, dict[str, dict[ItemKey, tuple[int, Dot, bytes | None, Vector]]]] = {}
    for image in images:
        for table_id in image.tables:
            states.setdefault(table_id, {})[image.node.name] = {}
        for (table_id, key), record in image.items.items():
            states[table_id][image.node.name][key] = (
                record.hlc, record.dot, record.payload, record.vector,
            )  # fmt: skip
    for table_id, by_region in states.items():
        (first, expected), *others = by_region.items()
        for other, state in others:
            if state != expected:
                differing = sorted(
                    key for key in {*state, *expected} if state.get(key) != expected.get(key)
                )
                yield f"I1: {first} and {other} differ in {table_id.hex()[:6]} {differing}"


def _newest(cluster: Cluster) -> dict[ItemName, Version]:
    newest: dict[ItemName, Version] = {}
    for version in cluster.history.versions.values():
        best = newest.get(version.item)
        if best is None or version.stamp > best.stamp:
            newest[version.item] = version
    return newest


def _winners_are_newest(cluster: Cluster, images: list[Image]) -> Iterator[str]:
    """I2 and I4: the greatest stamp wins, a delete too."""
    newest = _newest(cluster)
    for image in images:
        for (table_id, key), version in newest.items():
            if table_id not in image.tables:
                continue
            record = image.items.get((table_id, key))
            if record is None or (record.dot, record.payload) != (
                version.body.dot, version.body.payload,
            ):  # fmt: skip
                what = "I4" if version.body.payload is None else "I2"
                yield f"{what}: {image.node.name} holds {record}, not {version.stamp}"
        for item in image.items:
            if item not in newest:
                yield f"I2: {image.node.name} holds {item}, which nobody wrote"


def _acknowledged_writes_survive(cluster: Cluster, images: list[Image]) -> Iterator[str]:
    """I3 and I9: in the state or beaten by it; in the log; in the stream if it changed anything."""
    by_region = {image.node.name: image for image in images}
    for write in cluster.history.acknowledged:
        image = by_region[write.region]
        version = cluster.history.versions.get(write.dot)
        if version is None or version.body.payload != write.payload or version.item != write.item:
            yield f"I3: {write.region} acknowledged {write.dot.lsn} and has lost it"
            continue
        table = image.tables.get(write.item[0])
        if table is None:
            continue
        record = image.items.get(write.item)
        holds = None if record is None else cluster.history.versions.get(record.dot)
        if holds is None or holds.stamp < version.stamp:
            yield f"I3: {write.region} holds less than the acknowledged {write.dot.lsn}"
        if write.changed and table.stream is not None:
            physical = physical_key(table.schema, table.number, write.item[1])
            prefix = index_prefix(table.number, table.stream.shard_of(physical).index)
            if prefix + LSN.pack(write.dot.lsn) not in image.node.dbs.stream_index:
                yield f"I9: {write.region} streams no record of {write.dot.lsn}"


def _logs_are_complete(cluster: Cluster, images: list[Image]) -> Iterator[str]:
    """I5, I6, I15: every entry of a table that lives here, once, the same everywhere."""
    versions = cluster.history.versions
    for image in images:
        name, replica = image.node.name, image.node.replica
        if [lsn for lsn, _, _ in image.log] != list(range(1, len(image.log) + 1)):
            yield f"I6: positions in the log of {name} are not 1, 2, 3, ..."
        dots = [body.dot for _, _, body in image.log]
        if len(set(dots)) < len(dots):
            yield f"I6: a write stands twice in the log of {name}"
        for lsn, _, body in image.log:
            if body.dot not in versions or versions[body.dot].body != body:
                yield f"I15: entry {lsn} of {name} is not what {body.dot} is"
            if body.dot.origin == replica.origin_id and body.dot.lsn != lsn:
                yield f"I15: {name} has its own {body.dot.lsn} at {lsn}"
            position = image.node.dbs.log_by_origin.get(body.dot.origin + LSN.pack(body.dot.lsn))
            if position != LSN.pack(lsn):
                yield f"I6: {name} does not find entry {lsn} by its origin"
        left: set[bytes] = set()
        expected = {dot for dot, version in versions.items() if version.item[0] in image.tables}
        present = {body.dot for _, _, body in image.log if body.table_id in image.tables}
        if expected != present:
            yield f"I5: {name} lacks {sorted(expected - present)}"
        for (before, _, one), (after, _, two) in pairwise(image.log):
            if two.transaction_id == one.transaction_id != NO_TRANSACTION:
                if after != before + 1 or two.transaction_index <= one.transaction_index:
                    yield f"I11: a transaction is out of order in the log of {name}"
            elif one.transaction_id != NO_TRANSACTION:
                left.add(one.transaction_id)
            if two.transaction_id in left:
                yield f"I11: a transaction is interleaved in the log of {name}"
        commits = [entry.commit_ms for _, entry, _ in image.log]
        if commits != sorted(commits):
            yield f"I8: commit times in the log of {name} go back"


def _versions_follow_what_they_saw(cluster: Cluster) -> Iterator[str]:
    """I13: a version beats all it has seen, and its context names exactly those."""
    by_item: dict[ItemName, list[Version]] = {}
    for version in cluster.history.versions.values():
        by_item.setdefault(version.item, []).append(version)
    for versions in by_item.values():
        for version in versions:
            context = dict(_pairs(version.body.context))
            for other in versions:
                if other is version:
                    continue
                seen = bool(version.past & other.bit)
                if seen and version.stamp <= other.stamp:
                    yield f"I13: {version.stamp} has seen {other.stamp}"
                if seen is not covers(context, other.body.dot):
                    yield f"I13: the context of {version.stamp} is wrong about {other.stamp}"


def _pairs(context: bytes) -> Iterator[tuple[bytes, int]]:
    for at in range(0, len(context), 16):
        yield context[at : at + 8], int.from_bytes(context[at + 8 : at + 16])


def _conflicts_are_recorded(cluster: Cluster, images: list[Image]) -> Iterator[str]:
    """I14: every write that nobody saw and that lost is recorded everywhere, and no others are."""
    versions = cluster.history.versions
    newest = _newest(cluster)
    seen_by_somebody = 0
    for version in versions.values():
        seen_by_somebody |= version.past
    maximal = {
        dot: version for dot, version in versions.items()
        if not version.bit & seen_by_somebody and newest[version.item] is not version
    }  # fmt: skip
    for image in images:
        losers: set[Dot] = set()
        names = {origin: id for id, origin in image.node.replica.names.items()}
        regions = {(o.region, o.incarnation): id for o, id in names.items()}
        for stored in image.node.dbs.conflicts.values():
            record = parse_conflict(stored)
            winner, loser = (_dot(record[who], regions) for who in ("winner", "loser"))
            losers.add(loser)
            a, b = versions[winner], versions[loser]
            if a.item != b.item or a.item != (bytes.fromhex(record["table_id"]), record["key"]):
                yield f"I14: {image.node.name} records a conflict of two items"
            if a.stamp <= b.stamp:
                yield f"I14: {image.node.name} records the wrong winner"
            if a.past & b.bit or b.past & a.bit:
                yield f"I14: {image.node.name} records {a.stamp} and {b.stamp}, no conflict"
            if record["equal"] is not (a.body.payload == b.body.payload):
                yield f"I14: {image.node.name} is wrong about equality"
            for who, version in (("winner", a), ("loser", b)):
                payload = version.body.payload
                if record[who]["image"] != (None if payload is None else orjson.loads(payload)):
                    yield f"I14: {image.node.name} keeps another image of the {who}"
        for dot, version in maximal.items():
            if version.item[0] in image.tables and dot not in losers:
                yield f"I14: {image.node.name} has no record of {version.stamp}, which lost"


def _dot(contender: dict[str, Any], regions: dict[tuple[str, int], bytes]) -> Dot:
    return Dot(regions[contender["region"], contender["incarnation"]], contender["lsn"])


def _streams_tell_the_table(image: Image) -> Iterator[str]:
    """I7 and I8: whoever folds the records of a table from the beginning has the table."""
    log = {lsn: (entry, body) for lsn, entry, body in image.log}
    txn, dbs, name = image.node.store.read(), image.node.dbs, image.node.name
    for table in image.tables.values():
        if table.stream is None:
            continue
        live = {
            key: record.payload for (table_id, key), record in image.items.items()
            if table_id == table.id and record.payload is not None
        }  # fmt: skip
        printer = RecordPrinter(table.schema, table.stream, "arn", name, 1)
        fold: dict[ItemKey, bytes] = {}
        indexed: set[int] = set()
        for shard in table.stream.shards:
            prefix = index_prefix(table.number, shard.index)
            last = ""
            for row in keys_from(txn.cursor(dbs.stream_index), prefix):
                lsn = LSN.unpack(row[len(prefix) :])[0]
                indexed.add(lsn)
                entry, body = log[lsn]
                printed, number, _ = printer.print(lsn, entry)
                record = orjson.loads(printed)
                before = fold.get(body.key)
                if body.payload is None:
                    fold.pop(body.key, None)
                else:
                    fold[body.key] = body.payload
                expected = (
                    "REMOVE" if body.payload is None else "INSERT" if before is None else "MODIFY"
                )
                data = record["dynamodb"]
                images = (
                    before if table.stream.shows_old else None,
                    body.payload if table.stream.shows_new else None,
                )
                problems = {
                    "shard": table.stream.shard_of(
                        physical_key(table.schema, table.number, body.key)
                    ) != shard,
                    "start": lsn < shard.starting_lsn,
                    "order": number <= last or number != sequence_number(1, lsn),
                    "number": data["SequenceNumber"] != number,
                    "event": record["eventName"] != expected,
                    "no change": before == body.payload or not entry.visible,
                    "kind": body.kind is Kind.NOOP
                    and body.dot.origin == image.node.replica.origin_id,
                    "keys": data["Keys"] != key_attributes(table.schema, body.key),
                    "images": (data.get("OldImage"), data.get("NewImage"))
                    != tuple(image and orjson.loads(image) for image in images),
                }  # fmt: skip
                last = number
                yield from (
                    f"I7: {name}: record {lsn}: {problem}"
                    for problem, found in problems.items()
                    if found
                )
        if fold != live:
            yield f"I7: the stream of {table.name} in {name} does not add up to the table"
        starting_lsn = table.stream.shards[0].starting_lsn
        visible = {
            lsn for lsn, (entry, body) in log.items()
            if entry.visible and body.table_id == table.id and lsn >= starting_lsn
        }  # fmt: skip
        if visible != indexed:
            yield f"I7: the stream of {table.name} in {name} lacks {sorted(visible - indexed)}"


def _disk_equals_memory(image: Image) -> Iterator[str]:
    """What a fresh process reads is what the running one has; counts are counts."""
    node, replica = image.node, image.node.replica
    txn = node.store.write()
    fresh = Replica.recover(node.name, node.dbs, txn, 0)
    for what in ("head_lsn", "watermarks", "names", "origin"):
        if getattr(fresh, what) != getattr(replica, what):
            yield f"disk: {node.name} has another {what} in memory"
    if fresh.clock.value != replica.clock.value:
        yield f"disk: {node.name} has another clock in memory"
    for what in ("by_id", "dead", "pending"):
        if getattr(fresh.catalog, what) != getattr(replica.catalog, what):
            yield f"disk: the catalog of {node.name} has another {what} in memory"
    for table in image.tables.values():
        live = [
            record for (table_id, _), record in image.items.items()
            if table_id == table.id and record.payload is not None
        ]  # fmt: skip
        counted = read_statistics(txn, node.dbs, table.number)
        if counted != (len(live), sum(record.size for record in live)):
            yield f"statistics: {node.name} counts {counted} for {table.name}"
    while fresh.catalog.purge(txn):
        pass
    numbers = {table.number for table in image.tables.values()}
    for db in (node.dbs.items, node.dbs.tombstones, node.dbs.stream_index, node.dbs.conflicts):
        if any(key[:4] not in numbers for key in db):
            yield f"purge: {node.name} keeps rows of a deleted table"
    statistics = {key[-4:] for key in node.dbs.meta if key.startswith(b"statistics/")}
    if not statistics <= numbers:
        yield f"purge: {node.name} keeps statistics of a deleted table"
    txn.abort()
