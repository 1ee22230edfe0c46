"""Reading items: GetItem, Query, Scan, with projections and filters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from antipodes.core.attributes import Attributes, normal_attributes, parse_attributes
from antipodes.core.catalog import readable
from antipodes.core.errors import ValidationException
from antipodes.core.expressions import (
    BoundCondition,
    BoundProjection,
    ExpressionContext,
    KeyCondition,
    attributes_to_get,
    check_filter_keys,
    check_parameters,
    check_scalar_keys,
    evaluate,
    filter_condition,
    key_condition,
    key_conditions,
    key_range,
    project,
)
from antipodes.core.formats import ItemRecord
from antipodes.core.keys import ItemKey, KeySchema, key_of_attributes, print_key
from antipodes.core.reads import Page, fill_page, get_item, query, scan
from antipodes.core.tables import Table, parse_table_name
from antipodes_node.driver import Driver
from antipodes_node.service.capacity import describe_capacity, read_units, wants_capacity
from antipodes_node.service.requests import Request
from antipodes_node.storage.environment import Environment

_SELECTS_ALL = ("ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a reader wants to see of the items.

    Attributes:
        projection: None for whole items.
        filter: None for all items.
        counts: Only their number.
    """

    projection: BoundProjection | None
    filter: BoundCondition | None
    counts: bool


class ReadService:
    """Reads. Requests have DynamoDB's JSON shape; answers are printed."""

    def __init__(self, environment: Environment, driver: Driver) -> None:
        self._environment = environment
        self._driver = driver

    def get_item(self, request: Request) -> bytes:
        """Read the item under a key."""
        name = parse_table_name(request)
        check_parameters(request, ("ProjectionExpression",), ("AttributesToGet",))
        attributes, _ = normal_attributes(request["Key"])
        projection = _read_projection(request, context := _context(request))
        context.finish()
        table = self._table(name)
        key = key_of_attributes(table.schema, attributes)
        _check_projection(table, projection)
        with self._environment.read() as txn:
            record = get_item(txn, self._environment.dbs, table, key)
        members = []
        if record is not None and record.payload is not None:
            members.append(b'"Item":' + _shown(record.payload, projection))
        if wants_capacity(request):
            units = read_units(record.size if record else 0, bool(request.get("ConsistentRead")))
            members.append(
                b'"ConsumedCapacity":' + orjson.dumps(describe_capacity(request, name, units))
            )
        return b"{%s}" % b",".join(members)

    def plan_gets(self, asked: Request) -> tuple[Table, list[ItemKey], BoundProjection | None]:
        """Check what a batch asks of one table."""
        check_parameters(asked, ("ProjectionExpression",), ("AttributesToGet",))
        normal = [normal_attributes(key)[0] for key in asked["Keys"]]
        projection = _read_projection(asked, context := _context(asked))
        context.finish()
        table = self._table(parse_table_name(asked))
        _check_projection(table, projection)
        return table, [key_of_attributes(table.schema, key) for key in normal], projection

    def query(self, request: Request) -> bytes:
        """Read a page of the items of one partition key."""
        name = parse_table_name(request)
        check_parameters(
            request,
            ("ProjectionExpression", "FilterExpression", "KeyConditionExpression"),
            ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions"),
        )
        start = _start_key(request)
        context = _context(request)
        shape = _read_shape(request, context, "QueryFilter")
        condition = _read_key_condition(request, context)
        table = self._table(name)
        wanted = key_range(condition, table.schema)
        _check_shape(table, shape)
        if shape.filter is not None:
            what = "Filter Expression" if request.get("FilterExpression") else "QueryFilter"
            check_filter_keys(shape.filter.heads, table.schema.names, what)
        [partition] = wanted.partition
        start_key = None if start is None else _key(table.schema, start)
        if start_key is not None and start_key.partition != partition:
            raise ValidationException(
                "The provided starting key is outside query boundaries based on provided conditions"
            )
        limit = request.get("Limit")
        with self._environment.read() as txn:
            dbs = self._environment.dbs
            if table.schema.sort is None:
                record = get_item(txn, dbs, table, ItemKey(partition, b""))
                page = fill_page([record] if record and not start_key else [], limit)
            else:
                page = query(
                    txn, dbs, table, partition, wanted.sort,
                    forward=request.get("ScanIndexForward") is not False,
                    start_after=start_key.sort if start_key else None, limit=limit,
                )  # fmt: skip
        return _print_page(request, table, page, shape)

    def scan(self, request: Request) -> bytes:
        """Read a page of a whole table, or of one of its segments."""
        name = parse_table_name(request)
        check_parameters(
            request,
            ("ProjectionExpression", "FilterExpression"),
            ("AttributesToGet", "ScanFilter", "ConditionalOperator"),
        )
        segment = _read_segment(request)
        start = _start_key(request)
        context = _context(request)
        shape = _read_shape(request, context, "ScanFilter")
        context.finish()
        table = self._table(name)
        _check_shape(table, shape)
        start_key = None if start is None else _key(table.schema, start)
        with self._environment.read() as txn:
            page = scan(
                txn, self._environment.dbs, table, start_after=start_key,
                limit=request.get("Limit"), segment=segment,
            )  # fmt: skip
        return _print_page(request, table, page, shape)

    def _table(self, name: str) -> Table:
        return readable(self._driver.view.tables.get(name))


def _context(request: Request) -> ExpressionContext:
    return ExpressionContext(
        request.get("ExpressionAttributeNames"), request.get("ExpressionAttributeValues")
    )


def _read_projection(request: Request, context: ExpressionContext) -> BoundProjection | None:
    if (text := request.get("ProjectionExpression")) is not None:
        return context.projection(text)
    if (names := request.get("AttributesToGet")) is not None:
        return attributes_to_get(names)
    return None


def _read_shape(request: Request, context: ExpressionContext, legacy_filter: str) -> _Shape:
    select = request.get("Select")
    named = [n for n in ("ProjectionExpression", "AttributesToGet") if request.get(n) is not None]
    if named and select is not None and select != "SPECIFIC_ATTRIBUTES":
        wants = "only the Count" if select == "COUNT" else select
        raise ValidationException(f"Cannot specify the {named[0]} when choosing to get {wants}")
    if select == "SPECIFIC_ATTRIBUTES" and not named:
        raise ValidationException(
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get"
            " SPECIFIC_ATTRIBUTES"
        )
    if select == "ALL_PROJECTED_ATTRIBUTES":
        raise ValidationException(
            "One or more parameter values were invalid: ALL_PROJECTED_ATTRIBUTES can be used only"
            " when Querying using an IndexName"
        )
    text = request.get("FilterExpression")
    condition = (
        context.condition(text, "FilterExpression")
        if text is not None
        else filter_condition(
            request.get(legacy_filter), request.get("ConditionalOperator"), legacy_filter
        )
    )
    return _Shape(_read_projection(request, context), condition, select == "COUNT")


def _read_key_condition(request: Request, context: ExpressionContext) -> KeyCondition:
    text = request.get("KeyConditionExpression")
    if text is not None:
        root = context.key_condition(text).root
        context.finish()
        return key_condition(root)
    context.finish()
    if request.get("KeyConditions") is None:
        raise ValidationException(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the"
            " request."
        )
    return key_conditions(request["KeyConditions"])


def _read_segment(request: Request) -> tuple[int, int] | None:
    segment, total = request.get("Segment"), request.get("TotalSegments")
    if segment is None and total is None:
        return None
    if total is None:
        raise ValidationException(
            "The TotalSegments parameter is required but was not present in the request when"
            " Segment parameter is present"
        )
    if segment is None:
        raise ValidationException(
            "The Segment parameter is required but was not present in the request when parameter"
            " TotalSegments is present"
        )
    if segment >= total:
        raise ValidationException(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments:"
            f" Segment: {segment} is not less than TotalSegments: {total}"
        )
    return segment, total


def _check_projection(table: Table, projection: BoundProjection | None) -> None:
    if projection is not None:
        check_scalar_keys(projection.nested, table.schema.names)


def _check_shape(table: Table, shape: _Shape) -> None:
    _check_projection(table, shape.projection)
    if shape.filter is not None:
        check_scalar_keys(shape.filter.nested, table.schema.names)


def _start_key(request: Request) -> Attributes | None:
    start = request.get("ExclusiveStartKey")
    return None if start is None else normal_attributes(start)[0]


def _key(schema: KeySchema, start: Attributes) -> ItemKey:
    try:
        return key_of_attributes(schema, start)
    except ValidationException as error:
        raise ValidationException(f"The provided starting key is invalid: {error}") from error


def _shown(payload: bytes, projection: BoundProjection | None) -> bytes:
    if projection is None:
        return payload
    return orjson.dumps(project(projection, parse_attributes(payload)))


def _select(records: list[ItemRecord], shape: _Shape) -> list[bytes]:
    """Give the items that pass the filter, as they are to be shown; whole ones unparsed."""
    payloads = [record.payload for record in records if record.payload is not None]
    condition, projection = shape.filter, shape.projection
    if condition is None:
        return [_shown(payload, projection) for payload in payloads]
    found = []
    for payload in payloads:
        item = parse_attributes(payload)
        if evaluate(condition, item):
            found.append(payload if projection is None else orjson.dumps(project(projection, item)))
    return found


def _print_page(request: Request, table: Table, page: Page, shape: _Shape) -> bytes:
    items = _select(page.records, shape)
    members = [] if shape.counts else [b'"Items":[%s]' % b",".join(items)]
    members.append(b'"Count":%d,"ScannedCount":%d' % (len(items), len(page.records)))
    if page.last_key is not None:
        members.append(b'"LastEvaluatedKey":' + print_key(table.schema, page.last_key))
    if wants_capacity(request):
        size = sum(record.size for record in page.records)
        units = read_units(size, bool(request.get("ConsistentRead")))
        report: Mapping[str, Any] = describe_capacity(request, table.name, units)
        members.append(b'"ConsumedCapacity":' + orjson.dumps(report))
    return b"{%s}" % b",".join(members)
