"""Looking into a node: status, digests, conflicts, versions; and its levers."""

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import orjson
import psutil

from antipodes import wall_clock
from antipodes.core.attributes import normal_attributes
from antipodes.core.catalog import read_statistics
from antipodes.core.conflicts import parse_conflict
from antipodes.core.errors import ResourceNotFoundException, ValidationException
from antipodes.core.keys import key_of_attributes, print_key
from antipodes.core.reads import digest_items, get_item, scan
from antipodes.core.tables import Table
from antipodes.core.tailing import PROTOCOL_VERSION, LinkState
from antipodes.core.versions import Dot, Origin, OriginId, decode_vector
from antipodes.v1 import admin_pb2 as pb
from antipodes.v1 import types_pb2
from antipodes_node.driver import Driver, View
from antipodes_node.replication.receiving import Link
from antipodes_node.storage.environment import Environment

DIGEST_PAGE_ITEMS = 500
CONFLICTS_DEFAULT = 100
CONFLICTS_MAX = 1000


class StatusService:
    """What operators, tests and the console ask a node."""

    def __init__(
        self,
        cluster_id: str,
        environment: Environment,
        driver: Driver,
        links: Mapping[str, Link],
        addresses: Mapping[str, str],
    ) -> None:
        self._cluster_id = cluster_id
        self._environment = environment
        self._driver = driver
        self._links = links
        self._addresses = addresses
        self._started = time.monotonic()
        self._process = psutil.Process()

    def status(self) -> pb.GetStatusResponse:
        """Tell how the node is."""
        view = self._driver.view
        times = self._process.cpu_times()
        links = [self._link_status(region, link) for region, link in self._links.items()]
        return pb.GetStatusResponse(
            cluster_id=self._cluster_id,
            region=view.origin.region,
            incarnation=view.origin.incarnation,
            version=version("antipodes"),
            protocol_version=PROTOCOL_VERSION,
            head_lsn=view.head_lsn,
            hlc=view.hlc,
            wall_ms=wall_clock.now_ms(),
            uptime_seconds=time.monotonic() - self._started,
            links=links,
            storage=pb.StorageStatus(
                path=str(self._environment.path),
                map_bytes=self._environment.map_bytes,
                used_bytes=self._environment.used_bytes,
                commits=view.commits,
                writes=view.writes,
            ),
            tables=self._table_statistics(view),
            caught_up=all(link.synced for link in links),
            writes_refused=self._driver.writes_refused,
            counters=pb.ReplicationCounters(
                applied=view.counts.get("applied", 0),
                superseded=view.counts.get("supersedes", 0),
                stale=view.counts.get("stale", 0),
                duplicate=view.counts.get("duplicate", 0),
                conflicts=view.counts.get("concurrent", 0),
                drift_rejected=view.drift_rejected,
                violations=view.counts.get("violation", 0),
            ),
            resident_bytes=self._process.memory_info().rss,
            cpu_seconds=times.user + times.system,
        )

    def _table_statistics(self, view: View) -> list[pb.TableStatistics]:
        rows = []
        with self._environment.read() as txn:
            for table in view.tables.values():
                count, size = read_statistics(txn, self._environment.dbs, table.number)
                rows.append(
                    pb.TableStatistics(table_name=table.name, item_count=count, size_bytes=size)
                )
        return rows

    def _link_status(self, region: str, link: Link) -> pb.LinkStatus:
        receiver = link.receiver
        state = LinkState.PAUSED if link.paused else receiver.state
        return pb.LinkStatus(
            peer_region=region,
            peer_address=self._addresses[region],
            state=pb.LinkState.ValueType(state.value),
            applied_lsn=receiver.applied_lsn,
            peer_head_lsn=receiver.peer_head_lsn,
            lag_records=receiver.lag_records,
            lag_ms=receiver.lag_ms(wall_clock.now_ms()),
            silent_ms=link.silent_ms,
            last_error=receiver.last_error,
            entries_applied=receiver.entries_applied,
            bytes_received=receiver.bytes_received,
            synced=receiver.synced,
        )

    def set_link(self, region: str, paused: bool) -> None:
        """Stop or resume fetching from a peer.

        Raises:
            ValidationException: There is no such peer.
        """
        link = self._links.get(region)
        if link is None:
            raise ValidationException(
                f"{region!r} is not a peer of region {self._driver.view.origin.region}; its peers"
                f" are {', '.join(self._links) or 'none'}"
            )
        if paused:
            link.pause()
        else:
            link.resume()

    async def table_digest(self, table_name: str) -> tuple[int, str]:
        """Count a table's items and sum the hashes of them and their versions.

        Reads in pages, so it is exact only while nothing is written.
        """
        table = self._table(table_name)
        total = count = 0
        start = None
        while True:
            with self._environment.read() as txn:
                page = scan(
                    txn, self._environment.dbs, table, start_after=start, limit=DIGEST_PAGE_ITEMS
                )
            total += digest_items(page.records)
            count += len(page.records)
            if page.last_key is None:
                return count, f"{total % (1 << 128):032x}"
            start = page.last_key
            await asyncio.sleep(0)  # let others have the loop between pages

    def item_version(self, table_name: str, key_json: bytes) -> pb.GetItemVersionResponse:
        """Tell the version behind an item, a deleted one included."""
        table = self._table(table_name)
        try:
            given = orjson.loads(key_json)
        except ValueError as error:
            raise ValidationException("the key is not JSON") from error
        key = key_of_attributes(table.schema, normal_attributes(given)[0])
        with self._environment.read() as txn:
            record = get_item(txn, self._environment.dbs, table, key, deleted=True)
        if record is None:
            return pb.GetItemVersionResponse(found=False)
        names = self._driver.view.names
        return pb.GetItemVersionResponse(
            found=True,
            version=types_pb2.VersionMetadata(
                hlc=record.hlc,
                dot=_dot(names, record.dot),
                context=[
                    _dot(names, Dot(origin, lsn))
                    for origin, lsn in decode_vector(record.context).items()
                ],
            ),
            image=record.payload or b"",
        )

    def conflicts(self, table_name: str, limit: int) -> list[pb.Conflict]:
        """List conflicts, newest first."""
        if limit > CONFLICTS_MAX:
            raise ValidationException(f"limit is at most {CONFLICTS_MAX}")
        limit = limit or CONFLICTS_DEFAULT
        if table_name:
            tables = [self._table(table_name)]
        else:
            tables = list(self._driver.view.tables.values())
        found: list[tuple[int, Table, dict[str, Any]]] = []
        with self._environment.read() as txn:
            for table in tables:
                cursor = txn.cursor(self._environment.dbs.conflicts)
                after = (int.from_bytes(table.number) + 1).to_bytes(len(table.number))
                more = cursor.prev() if cursor.set_range(after) else cursor.last()
                taken = 0
                while more and taken < limit and cursor.key().startswith(table.number):
                    record = parse_conflict(cursor.value())
                    found.append((record["detected_ms"], table, record))
                    taken += 1
                    more = cursor.prev()
        found.sort(key=lambda row: row[0], reverse=True)
        return [_conflict(table, record) for _, table, record in found[:limit]]

    def _table(self, name: str) -> Table:
        table = self._driver.view.tables.get(name)
        if table is None:
            raise ResourceNotFoundException(
                f"Requested resource not found: Table: {name} not found"
            )
        return table


def _dot(names: Mapping[OriginId, Origin], dot: Dot) -> types_pb2.Dot:
    origin = names.get(dot.origin) or Origin(dot.origin.hex(), 0)
    return types_pb2.Dot(region=origin.region, incarnation=origin.incarnation, lsn=dot.lsn)


def _conflict(table: Table, record: dict[str, Any]) -> pb.Conflict:
    return pb.Conflict(
        id=record["id"],
        table_name=table.name,
        key=print_key(table.schema, record["key"]),
        winner=_contender(record["winner"]),
        loser=_contender(record["loser"]),
        detected_ms=record["detected_ms"],
        equal=record["equal"],
    )


def _contender(side: dict[str, Any]) -> pb.ConflictingVersion:
    return pb.ConflictingVersion(
        version=types_pb2.VersionMetadata(
            hlc=side["hlc"],
            dot=types_pb2.Dot(
                region=side["region"], incarnation=side["incarnation"], lsn=side["lsn"]
            ),
        ),
        image=b"" if side["image"] is None else orjson.dumps(side["image"]),
    )
