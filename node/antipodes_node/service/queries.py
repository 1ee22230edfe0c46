"""Reading many items: Query and Scan."""

from typing import Any

from antipodes.core.attributes import Attributes, normal_attributes, normal_value
from antipodes.core.errors import ValidationException
from antipodes.core.keys import (
    ItemKey,
    KeyAttribute,
    KeySchema,
    encode_number,
    key_of_attributes,
    print_key,
    raw_value,
)
from antipodes.core.reads import Page, SortRange, fill_page, get_item, query, scan
from antipodes.core.shapes import boolean, elements, reject, required, structure, text
from antipodes.core.tables import Table, parse_table_name
from antipodes_node.service.items import ItemService
from antipodes_node.service.requests import Request, check_members, positive_limit
from antipodes_node.storage.environment import Environment

_QUERY = frozenset({"TableName", "KeyConditions", "Limit", "ExclusiveStartKey", "ScanIndexForward"})
_SCAN = frozenset({"TableName", "Limit", "ExclusiveStartKey"})
_OPERANDS = {"EQ": 1, "LT": 1, "LE": 1, "GT": 1, "GE": 1, "BEGINS_WITH": 1, "BETWEEN": 2}
_INVALID = "One or more parameter values were invalid: "


class QueryService:
    """Query and Scan. Requests and answers as for `ItemService`."""

    def __init__(self, environment: Environment, items: ItemService) -> None:
        self._environment = environment
        self._items = items

    def query(self, request: Request) -> bytes:
        """Read a page of the items of one partition key."""
        check_members("Query", request, _QUERY)
        name = parse_table_name(request)
        limit = positive_limit(request)
        forward = request.get("ScanIndexForward")
        forward = True if forward is None else boolean(forward)
        conditions = structure(request.get("KeyConditions") or {})
        if not conditions:
            raise ValidationException(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in"
                " the request."
            )
        parsed = {attribute: _parse_condition(c) for attribute, c in conditions.items()}
        start = _start_key(request)
        table = self._items.table(name)
        partition, asked = _key_range(table.schema, parsed)
        start_key = None if start is None else _key(table.schema, start)
        if start_key and start_key.partition != partition:
            raise ValidationException(
                "The provided starting key is outside query boundaries based on provided conditions"
            )
        with self._environment.read() as txn:
            dbs = self._environment.dbs
            if table.schema.sort is None:
                record = get_item(txn, dbs, table, ItemKey(partition, b""))
                found = fill_page([record] if record and not start_key else [], limit)
            else:
                found = query(
                    txn, dbs, table, partition, asked, forward=forward,
                    start_after=start_key.sort if start_key else None, limit=limit,
                )  # fmt: skip
        return _print_page(table, found)

    def scan(self, request: Request) -> bytes:
        """Read a page of a whole table."""
        check_members("Scan", request, _SCAN)
        name = parse_table_name(request)
        limit = positive_limit(request)
        start = _start_key(request)
        table = self._items.table(name)
        start_key = None if start is None else _key(table.schema, start)
        with self._environment.read() as txn:
            found = scan(txn, self._environment.dbs, table, start_after=start_key, limit=limit)
        return _print_page(table, found)


def _print_page(table: Table, page: Page) -> bytes:
    count = len(page.records)
    items = b",".join([r.payload for r in page.records if r.payload is not None])
    last = (
        b',"LastEvaluatedKey":' + print_key(table.schema, page.last_key) if page.last_key else b""
    )
    return b'{"Items":[%s],"Count":%d,"ScannedCount":%d%s}' % (items, count, count, last)


def _start_key(request: Request) -> Attributes | None:
    start = request.get("ExclusiveStartKey")
    return None if start is None else normal_attributes(start)[0]


def _key(schema: KeySchema, start: Attributes) -> ItemKey:
    try:
        return key_of_attributes(schema, start)
    except ValidationException as error:
        raise ValidationException(f"The provided starting key is invalid: {error}") from error


def _parse_condition(condition: Any) -> tuple[str, list[dict[str, Any]]]:
    members = structure(condition)
    path = "keyConditions.member."
    operator = text(required(members, "ComparisonOperator", path))
    operands = elements(members.get("AttributeValueList") or [])
    if operator not in _OPERANDS:
        if operator in ("NE", "IN", "CONTAINS", "NOT_CONTAINS", "NULL", "NOT_NULL"):
            raise ValidationException(
                "Attempted conditional constraint is not an indexable operation"
            )
        reject(
            f"{path}comparisonOperator", operator,
            f"Member must satisfy enum value set: [{', '.join(sorted(_OPERANDS))}]",
        )  # fmt: skip
    values = [normal_value(operand)[0] for operand in operands]
    if len(values) != _OPERANDS[operator]:
        raise ValidationException(
            f"{_INVALID}Invalid number of argument(s) for the {operator} ComparisonOperator"
        )
    return operator, values


def _key_range(
    schema: KeySchema, conditions: dict[str, tuple[str, list[dict[str, Any]]]]
) -> tuple[bytes, SortRange]:
    if len(conditions) > 2:
        raise ValidationException("Conditions can be of length 1 or 2 only")
    partition = conditions.get(schema.partition.name)
    if partition is None:
        raise ValidationException(
            f"Query condition missed key schema element: {schema.partition.name}"
        )
    operator, values = partition
    if operator != "EQ":
        raise ValidationException("Query key condition not supported")
    [value] = _raw_operands(schema.partition, operator, values)
    rest = {name: c for name, c in conditions.items() if name != schema.partition.name}
    if not rest:
        return value, SortRange()
    if schema.sort is None or schema.sort.name not in rest:
        missed = schema.sort.name if schema.sort else next(iter(rest))
        raise ValidationException(f"Query condition missed key schema element: {missed}")
    operator, values = rest[schema.sort.name]
    operands = _raw_operands(schema.sort, operator, values)
    return value, _sort_range(schema.sort, operator, operands)


def _raw_operands(
    attribute: KeyAttribute, operator: str, values: list[dict[str, Any]]
) -> list[bytes]:
    for value in values:
        if attribute.kind not in value:
            raise ValidationException(
                f"{_INVALID}Condition parameter type does not match schema type"
            )
    raw = [raw_value(attribute.kind, value) for value in values]
    if not all(raw) and operator != "BEGINS_WITH":
        raise ValidationException(
            "One or more parameter values are not valid. The AttributeValue for a key attribute"
            f" cannot contain an empty {'binary' if attribute.kind == 'B' else 'string'} value."
            f" Key: {attribute.name}"
        )
    return raw


def _sort_range(attribute: KeyAttribute, operator: str, operands: list[bytes]) -> SortRange:
    first = operands[0]
    match operator:
        case "EQ":
            return SortRange(low=first, high=first)
        case "LT":
            return SortRange(high=first, high_included=False)
        case "LE":
            return SortRange(high=first)
        case "GT":
            return SortRange(low=first, low_included=False)
        case "GE":
            return SortRange(low=first)
        case "BEGINS_WITH":
            if attribute.kind == "N":
                raise ValidationException(
                    f"{_INVALID}ComparisonOperator BEGINS_WITH is not valid for N AttributeValue"
                    " type"
                )
            return SortRange(begins_with=first)
        case _:
            second = operands[1]
            number = attribute.kind == "N"
            low = encode_number(first.decode()) if number else first
            if low > (encode_number(second.decode()) if number else second):
                raise ValidationException(
                    "The BETWEEN condition was provided a range where the lower bound is greater"
                    " than the upper bound"
                )
            return SortRange(low=first, high=second)
