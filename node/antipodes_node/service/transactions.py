"""TransactWriteItems and TransactGetItems."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import orjson

from antipodes.core import limits
from antipodes.core.attributes import normal_attributes, parse_attributes
from antipodes.core.catalog import readable
from antipodes.core.errors import ValidationException
from antipodes.core.expressions import (
    BoundProjection,
    ExpressionContext,
    check_scalar_keys,
    project,
)
from antipodes.core.keys import ItemKey, key_of_attributes
from antipodes.core.reads import get_item
from antipodes.core.replication import Write, WriteOutcome
from antipodes.core.tables import Table, parse_table_name
from antipodes_node.driver import Driver
from antipodes_node.service.capacity import (
    describe_capacity,
    print_members,
    read_units,
    wants_capacity,
    write_units,
)
from antipodes_node.service.plans import Planned
from antipodes_node.service.requests import Request
from antipodes_node.service.writes import WriteService
from antipodes_node.storage.environment import Environment

TRANSACTION_BYTES_MAX = 4 * limits.MIB


class TransactionService:
    """All or nothing, over several items and tables."""

    def __init__(self, environment: Environment, driver: Driver, writes: WriteService) -> None:
        self._environment = environment
        self._driver = driver
        self._writes = writes

    def transact_write_items(self, request: Request) -> Planned:
        """Plan up to 100 actions on distinct items, to be done together or not at all."""
        plan: dict[str, Callable[[Request], Write]] = {
            "ConditionCheck": self._writes.plan_check,
            "Put": self._writes.plan_put,
            "Update": lambda action: self._writes.plan_update(action, lambda _: None),
            "Delete": self._writes.plan_delete,
        }
        writes = []
        for item in request["TransactItems"]:
            actions = [(kind, action) for kind, action in item.items() if action is not None]
            if len(actions) != 1:
                raise ValidationException(
                    "TransactItems can only contain one of Check, Put, Update or Delete"
                )
            [(kind, action)] = actions
            writes.append(plan[kind](action))
        _check_distinct([write.physical for write in writes])
        if sum(write.size for write in writes) > TRANSACTION_BYTES_MAX:
            raise ValidationException("Transaction size exceeds 4 MB")
        token = request.get("ClientRequestToken")
        once = None if token is None else (token, _fingerprint(request))
        return Planned(tuple(writes), _answer(request, writes), transaction=True, once=once)

    def transact_get_items(self, request: Request) -> bytes:
        """Read up to 100 items at one moment."""
        wanted = [self._plan_get(item["Get"]) for item in request["TransactItems"]]
        _check_distinct([(table.id, key) for table, key, _ in wanted])
        responses: list[dict[str, Any]] = []
        units: dict[str, float] = {}
        with self._environment.read() as txn:
            for table, key, projection in wanted:
                record = get_item(txn, self._environment.dbs, table, key)
                size = 0 if record is None else record.size
                units[table.name] = units.get(table.name, 0.0) + 2 * read_units(size, True)
                if record is None or record.payload is None:
                    responses.append({})
                elif projection is None:
                    responses.append({"Item": orjson.Fragment(record.payload)})
                else:
                    item = project(projection, parse_attributes(record.payload))
                    responses.append({"Item": item})
        members: dict[str, Any] = {"Responses": responses}
        if wants_capacity(request):
            members["ConsumedCapacity"] = [
                describe_capacity(request, name, charged) | {"ReadCapacityUnits": charged}
                for name, charged in units.items()
            ]
        return print_members(members)

    def _plan_get(self, get: Request) -> tuple[Table, ItemKey, BoundProjection | None]:
        name = parse_table_name(get)
        attributes, _ = normal_attributes(get["Key"])
        context = ExpressionContext(get.get("ExpressionAttributeNames"), None)
        text = get.get("ProjectionExpression")
        projection = None if text is None else context.projection(text)
        context.finish()
        table = readable(self._driver.view.tables.get(name))
        key = key_of_attributes(table.schema, attributes)
        if projection is not None:
            check_scalar_keys(projection.nested, table.schema.names)
        return table, key, projection


def _check_distinct(keys: list[Any]) -> None:
    if len(set(keys)) < len(keys):
        raise ValidationException(
            "Transaction request cannot include multiple operations on one item"
        )


def _fingerprint(request: Request) -> bytes:
    return blake2b(
        orjson.dumps(request["TransactItems"], option=orjson.OPT_SORT_KEYS), digest_size=16
    ).digest()


def _answer(request: Request, writes: list[Write]) -> Callable[[tuple[WriteOutcome, ...]], bytes]:
    def answer(outcomes: tuple[WriteOutcome, ...]) -> bytes:
        if not wants_capacity(request):
            return b"{}"
        units: dict[str, float] = {}
        # Done before under the same token: charged as reads, hence no outcomes.
        kind = "WriteCapacityUnits" if outcomes else "ReadCapacityUnits"
        for number, write in enumerate(writes):
            charged = 2 * (
                write_units(outcomes[number].old_size, outcomes[number].size)
                if outcomes
                else read_units(max(0, write.size), True)
            )
            units[write.table.name] = units.get(write.table.name, 0.0) + charged
        return print_members(
            {
                "ConsumedCapacity": [
                    describe_capacity(request, name, charged) | {kind: charged}
                    for name, charged in units.items()
                ]
            }
        )

    return answer
