"""BatchWriteItem and BatchGetItem."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from antipodes.core import limits
from antipodes.core.attributes import parse_attributes
from antipodes.core.errors import ValidationException
from antipodes.core.expressions import BoundProjection, project
from antipodes.core.keys import ItemKey, key_attributes
from antipodes.core.reads import get_item
from antipodes.core.replication import Write, WriteOutcome
from antipodes.core.tables import Table, parse_table_name
from antipodes_node.service.capacity import (
    describe_capacity,
    print_members,
    read_units,
    wants_capacity,
    write_units,
)
from antipodes_node.service.plans import Planned
from antipodes_node.service.reading import ReadService
from antipodes_node.service.requests import Request
from antipodes_node.service.writes import WriteService
from antipodes_node.storage.environment import Environment


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a BatchGetItem asks of one table."""

    table: Table
    keys: list[ItemKey]
    projection: BoundProjection | None
    asked: Request


class BatchService:
    """Many items in one request. Requests and answers as for the other services."""

    def __init__(self, environment: Environment, reads: ReadService, writes: WriteService) -> None:
        self._environment = environment
        self._reads = reads
        self._writes = writes

    def batch_write_item(self, request: Request) -> Planned:
        """Put and delete up to 25 items. One wrong request rejects all; nothing is written then."""
        writes: list[Write] = []
        for name, wishes in _tables(request):
            for wish in wishes:
                writes.append(self._plan(name, wish))
                if len(writes) > limits.BATCH_WRITE_REQUESTS_MAX:
                    raise ValidationException(
                        "Too many items requested for the BatchWriteItem call"
                    )
        if len({write.physical for write in writes}) < len(writes):
            raise ValidationException("Provided list of item keys contains duplicates")
        return Planned(tuple(writes), _answer_written(request, writes))

    def _plan(self, name: str, wish: Request) -> Write:
        kinds = [kind for kind, content in wish.items() if content is not None]
        match kinds:
            case ["PutRequest"]:
                return self._writes.plan_put({**wish["PutRequest"], "TableName": name})
            case ["DeleteRequest"]:
                return self._writes.plan_delete({**wish["DeleteRequest"], "TableName": name})
            case []:
                raise ValidationException(
                    "Supplied WriteRequest is empty, must contain exactly one of PutRequest and"
                    " DeleteRequest"
                )
            case _:
                raise ValidationException(
                    "Supplied AttributeValue has more than one datatypes set, must contain exactly"
                    " one of the supported datatypes"
                )

    def batch_get_item(self, request: Request) -> bytes:
        """Read up to 100 items; what does not fit into 16 MiB comes back as unprocessed."""
        wanted: list[_Wanted] = []
        count = 0
        for name, asked in _tables(request):
            count += len(asked["Keys"])
            if count > limits.BATCH_GET_KEYS_MAX:
                raise ValidationException("Too many items requested for the BatchGetItem call")
            table, keys, projection = self._reads.plan_gets({**asked, "TableName": name})
            if len(set(keys)) < len(keys):
                raise ValidationException("Provided list of item keys contains duplicates")
            wanted.append(_Wanted(table, keys, projection, asked))
        return self._read(request, wanted)

    def _read(self, request: Request, wanted: list[_Wanted]) -> bytes:
        total = 0
        responses: dict[str, Any] = {}
        unprocessed: dict[str, Any] = {}
        capacity = []
        with self._environment.read() as txn:
            for want in wanted:
                items = responses[want.table.name] = []
                left = []
                units = 0.0
                for key in want.keys:
                    if total >= limits.BATCH_GET_BYTES_MAX:
                        left.append(key_attributes(want.table.schema, key))
                        continue
                    record = get_item(txn, self._environment.dbs, want.table, key)
                    size = 0 if record is None else record.size
                    units += read_units(size, bool(want.asked.get("ConsistentRead")))
                    total += size
                    if record is not None and record.payload is not None:
                        items.append(_shown(record.payload, want.projection))
                if left:
                    unprocessed[want.table.name] = {**want.asked, "Keys": left}
                capacity.append(describe_capacity(request, want.table.name, units))
        members: dict[str, Any] = {"Responses": responses, "UnprocessedKeys": unprocessed}
        if wants_capacity(request):
            members["ConsumedCapacity"] = capacity
        return print_members(members)


def _shown(payload: bytes, projection: BoundProjection | None) -> Any:
    if projection is None:
        return orjson.Fragment(payload)
    return project(projection, parse_attributes(payload))


def _tables(request: Request) -> Iterable[tuple[str, Any]]:
    for name, wishes in request["RequestItems"].items():
        yield parse_table_name({"TableName": name}), wishes


def _answer_written(
    request: Request, writes: list[Write]
) -> Callable[[tuple[WriteOutcome, ...]], bytes]:
    if not wants_capacity(request):
        return lambda _: b'{"UnprocessedItems":{}}'

    def answer(outcomes: tuple[WriteOutcome, ...]) -> bytes:
        units: dict[str, float] = {}
        for write, outcome in zip(writes, outcomes, strict=True):
            name = write.table.name
            units[name] = units.get(name, 0.0) + write_units(outcome.old_size, outcome.size)
        capacity = [describe_capacity(request, name, charged) for name, charged in units.items()]
        return print_members({"UnprocessedItems": {}, "ConsumedCapacity": capacity})

    return answer
