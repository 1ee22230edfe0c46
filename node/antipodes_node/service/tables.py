"""Creating, describing, extending and deleting tables."""

import secrets
from typing import Any
from uuid import UUID

import orjson

from antipodes import wall_clock
from antipodes.core import limits
from antipodes.core.catalog import ADD_REPLICAS, CREATE, DELETE, PARTICIPLE, Change, read_statistics
from antipodes.core.errors import (
    ResourceInUseException,
    ResourceNotFoundException,
    ValidationException,
)
from antipodes.core.shapes import boolean, elements, reject, required, structure, text
from antipodes.core.tables import (
    GLOBAL_VIEW_TYPE,
    Table,
    describe,
    parse_create_table,
    parse_table_name,
)
from antipodes_node.driver import Driver
from antipodes_node.replication.coordination import Coordinator
from antipodes_node.replication.peers import Peers
from antipodes_node.service.requests import Request
from antipodes_node.storage.environment import Environment


class TableService:
    """The control plane. Requests and answers have DynamoDB's JSON shape; answers are printed."""

    def __init__(
        self,
        region: str,
        environment: Environment,
        driver: Driver,
        peers: Peers,
        coordinator: Coordinator,
    ) -> None:
        self._region = region
        self._environment = environment
        self._driver = driver
        self._peers = peers
        self._coordinator = coordinator

    async def create_table(self, request: Request) -> bytes:
        """Create a table here and in the other regions that are named, or in none of them."""
        wish = parse_create_table(request)
        self._check_regions(wish.other_regions)
        regions = tuple(sorted({self._region, *wish.other_regions}))
        change = Change(
            id=secrets.token_hex(16),
            kind=CREATE,
            coordinator=self._region,
            participants=regions,
            name=wish.name,
            # A random UUID: the id must never come again, and regions cannot count together.
            table_id=UUID(bytes=secrets.token_bytes(16), version=4).bytes,
            schema=wish.schema,
            regions=regions,
            created_ms=wall_clock.now_ms(),
            view_type=wish.view_type,
        )
        await self._coordinator.carry_out(change)
        table = self._driver.view.tables_by_id.get(change.table_id)
        # As DynamoDB does, the answer says CREATING; the table is usable all the same.
        return self._answer("TableDescription", table, status="CREATING", name=wish.name)

    async def describe_table(self, request: Request) -> bytes:
        """Describe a table."""
        name = parse_table_name(request)
        return self._answer("Table", self._driver.view.tables.get(name), name=name)

    async def list_tables(self, request: Request) -> bytes:
        """List table names in order, a page at a time."""
        limit = request.get("Limit") or limits.LIST_TABLES_LIMIT_MAX
        after = text(request.get("ExclusiveStartTableName") or "")
        names = sorted(name for name in self._driver.view.tables if name > after)
        answer: dict[str, Any] = {"TableNames": names[:limit]}
        if len(names) > limit:
            answer["LastEvaluatedTableName"] = names[limit - 1]
        return orjson.dumps(answer)

    async def update_table(self, request: Request) -> bytes:
        """Add replicas to a table that was never written to."""
        name = parse_table_name(request)
        added = []
        if request.get("ReplicaUpdates") is None:
            raise ValidationException(
                "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled,"
                " GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required"
            )
        for update in map(structure, elements(request["ReplicaUpdates"])):
            if set(update) != {"Create"}:
                raise ValidationException(
                    "UpdateTable supports only the Create action of ReplicaUpdates in this version"
                )
            wish = structure(update["Create"])
            added.append(text(required(wish, "RegionName", "replicaUpdates.member.create.")))
        if not added:
            reject("replicaUpdates", "[]", "Member must have length greater than or equal to 1")
        table = self._existing(name)
        self._check_regions(tuple(added))
        if present := sorted(set(added) & set(table.regions)):
            raise ValidationException(
                f"Failed to create a the new replica of table with name: '{name}' because one or"
                f" more replicas already existed as tables: {', '.join(present)}"
            )
        if table.stream is not None and table.stream.view_type != GLOBAL_VIEW_TYPE:
            raise ValidationException(
                f"Table {name} streams {table.stream.view_type}; a table with replicas streams"
                f" {GLOBAL_VIEW_TYPE}"
            )
        regions = tuple(sorted({*table.regions, *added}))
        await self._coordinator.carry_out(
            self._change_of(table, ADD_REPLICAS, regions, GLOBAL_VIEW_TYPE)
        )
        changed = self._driver.view.tables_by_id.get(table.id)
        return self._answer("TableDescription", changed, status="UPDATING", name=name)

    async def delete_table(self, request: Request) -> bytes:
        """Delete a table, in all its regions if the request says so."""
        name = parse_table_name(request)
        table = self._existing(name)
        others = [region for region in table.regions if region != self._region]
        if others and not boolean(request.get("AllReplicas") or False):
            raise ValidationException(
                f"Table {name} has replicas in {', '.join(others)}; they would keep accepting"
                " writes. To delete it everywhere set AllReplicas (all_replicas in gRPC and the"
                " SDK, --all-replicas on the command line)."
            )
        answer = self._answer("TableDescription", table, status="DELETING", name=name)
        view_type = table.stream.view_type if table.stream else None
        await self._coordinator.carry_out(self._change_of(table, DELETE, table.regions, view_type))
        return answer

    def _change_of(
        self, table: Table, kind: str, regions: tuple[str, ...], view_type: str | None
    ) -> Change:
        return Change(
            id=secrets.token_hex(16),
            kind=kind,
            coordinator=self._region,
            participants=regions,
            name=table.name,
            table_id=table.id,
            schema=table.schema,
            regions=regions,
            created_ms=table.created_ms,
            view_type=view_type,
        )

    def _existing(self, name: str) -> Table:
        table = self._driver.view.tables.get(name)
        if table is None:
            raise ResourceNotFoundException(
                f"Requested resource not found: Table: {name} not found"
            )
        if table.status in PARTICIPLE:
            raise ResourceInUseException(
                "Attempt to change a resource which is still in use: Table is being"
                f" {PARTICIPLE[table.status]}: {name}"
            )
        return table

    def _check_regions(self, regions: tuple[str, ...]) -> None:
        known = self._peers.regions | {self._region}
        for region in regions:
            if region not in known:
                raise ValidationException(
                    f"Region {region!r} is not part of this cluster; its regions are"
                    f" {', '.join(sorted(known))}"
                )

    def _answer(
        self, member: str, table: Table | None, *, name: str, status: str | None = None
    ) -> bytes:
        if table is None:
            raise ResourceNotFoundException(
                f"Requested resource not found: Table: {name} not found"
            )
        with self._environment.read() as txn:
            items, size = read_statistics(txn, self._environment.dbs, table.number)
        pending = frozenset(
            region
            for change in self._driver.view.pending.values()
            if change.change.table_id == table.id
            for region in change.unconfirmed
        )
        described = describe(table, self._region, items, size, pending)
        if status is not None:
            described["TableStatus"] = status
        return orjson.dumps({member: described})
