"""Writing single items: PutItem, UpdateItem, DeleteItem, with conditions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from antipodes.core import limits
from antipodes.core.attributes import (
    Attributes,
    normal_attributes,
    parse_attributes,
    print_attributes,
)
from antipodes.core.catalog import readable
from antipodes.core.errors import ConditionalCheckFailedException, ValidationException
from antipodes.core.expressions import (
    BoundCondition,
    BoundUpdate,
    ExpressionContext,
    UpdateResult,
    apply_update,
    attribute_updates,
    check_keys,
    check_parameters,
    check_scalar_keys,
    evaluate,
    expected_condition,
)
from antipodes.core.keys import ItemKey, key_of_attributes, key_of_item, physical_key
from antipodes.core.replication import KEEP, Decision, Write, WriteOutcome
from antipodes.core.tables import Table, parse_table_name
from antipodes_node.driver import Driver
from antipodes_node.service.capacity import (
    describe_capacity,
    print_members,
    wants_capacity,
    write_units,
)
from antipodes_node.service.plans import EMPTY, Planned
from antipodes_node.service.requests import Request

_CONDITION = ("ConditionExpression",)
_UPDATE = ("UpdateExpression", "ConditionExpression")
_LEGACY = ("Expected", "ConditionalOperator")
_LEGACY_UPDATE = ("AttributeUpdates", *_LEGACY)

Decide = Callable[[bytes | None], Decision]


@dataclass(frozen=True, slots=True)
class _Guard:
    """The condition of a write.

    Attributes:
        condition: None when there is none.
        returns_item: A failure shows the stored item.
    """

    condition: BoundCondition | None
    returns_item: bool

    def check(self, old: bytes | None, attributes: Attributes | None) -> None:
        """See that the condition holds.

        Raises:
            ConditionalCheckFailedException: It does not.
        """
        if self.condition is not None and not evaluate(self.condition, attributes):
            raise ConditionalCheckFailedException(item=old if self.returns_item else None)


class WriteService:
    """Writes of single items. Requests have DynamoDB's JSON shape; answers are printed.

    Each operation plans a write, for the caller to let the driver carry out.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def put_item(self, request: Request) -> Planned:
        """Store a whole item under its key."""
        returned = _return_values(request, "ALL_OLD")
        write = self.plan_put(request)
        return Planned((write,), _answer(request, write.table, returned, None))

    def delete_item(self, request: Request) -> Planned:
        """Remove the item under a key; there need not be one."""
        returned = _return_values(request, "ALL_OLD")
        write = self.plan_delete(request)
        return Planned((write,), _answer(request, write.table, returned, None))

    def update_item(self, request: Request) -> Planned:
        """Change attributes of an item; it is made when there is none."""
        returned = _return_values(request, "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW")
        results: list[UpdateResult] = []
        write = self.plan_update(request, results.append)
        return Planned((write,), _answer(request, write.table, returned, results))

    def plan_put(self, request: Request) -> Write:
        """Check a put and plan its write."""
        name = parse_table_name(request)
        check_parameters(request, _CONDITION, _LEGACY)
        attributes, size = normal_attributes(request["Item"])
        guard = _read_guard(request, context := _context(request))
        context.finish()
        if size > limits.ITEM_SIZE_BYTES_MAX:
            raise ValidationException("Item size has exceeded the maximum allowed size")
        table = self._table(name)
        key = key_of_item(table.schema, attributes)
        _check_nested(table, guard.condition)
        payload = print_attributes(attributes)
        decide = None if guard.condition is None else _decide_whole(guard, payload, size)
        return _write(table, key, payload, size, decide)

    def plan_delete(self, request: Request) -> Write:
        """Check a delete and plan its write."""
        name = parse_table_name(request)
        check_parameters(request, _CONDITION, _LEGACY)
        attributes, _ = normal_attributes(request["Key"])
        guard = _read_guard(request, context := _context(request))
        context.finish()
        table = self._table(name)
        key = key_of_attributes(table.schema, attributes)
        _check_nested(table, guard.condition)
        decide = None if guard.condition is None else _decide_whole(guard, None, 0)
        return _write(table, key, None, 0, decide)

    def plan_check(self, request: Request) -> Write:
        """Check a condition check of a transaction and plan it as a write that changes nothing."""
        name = parse_table_name(request)
        attributes, _ = normal_attributes(request["Key"])
        guard = _read_guard(request, context := _context(request))
        context.finish()
        table = self._table(name)
        key = key_of_attributes(table.schema, attributes)
        _check_nested(table, guard.condition)

        def decide(old: bytes | None) -> Decision:
            guard.check(old, None if old is None else parse_attributes(old))
            return KEEP

        return _write(table, key, None, 0, decide)

    def plan_update(self, request: Request, done: Callable[[UpdateResult], None]) -> Write:
        """Check an update and plan its write.

        Args:
            request: The request.
            done: Takes what the update made, each time that it is tried; the last one counts.
        """
        name = parse_table_name(request)
        check_parameters(request, _UPDATE, _LEGACY_UPDATE)
        attributes, _ = normal_attributes(request["Key"])
        context = _context(request)
        text = request.get("UpdateExpression")
        update = (
            attribute_updates(request.get("AttributeUpdates"))
            if text is None
            else context.update(text)
        )
        guard = _read_guard(request, context)
        context.finish()
        table = self._table(name)
        key = key_of_attributes(table.schema, attributes)
        check_keys(update, table.schema.names)
        _check_nested(table, guard.condition, update)

        def decide(old: bytes | None) -> Decision:
            item = None if old is None else parse_attributes(old)
            guard.check(old, item)
            result = apply_update(update, item, attributes)
            done(result)
            if result.item is None:
                return KEEP
            normal, size = normal_attributes(result.item)
            if size > limits.ITEM_SIZE_BYTES_MAX:
                raise ValidationException(
                    "Item size to update has exceeded the maximum allowed size"
                )
            return Decision(print_attributes(normal), size)

        return _write(table, key, None, 0, decide)

    def _table(self, name: str) -> Table:
        return readable(self._driver.view.tables.get(name))


def _write(
    table: Table, key: ItemKey, payload: bytes | None, size: int, decide: Decide | None
) -> Write:
    physical = physical_key(table.schema, table.number, key)
    return Write(table, key, physical, payload, size, decide=decide)


def _decide_whole(guard: _Guard, payload: bytes | None, size: int) -> Decide:
    def decide(old: bytes | None) -> Decision:
        guard.check(old, None if old is None else parse_attributes(old))
        return Decision(payload, size)

    return decide


def _context(request: Request) -> ExpressionContext:
    return ExpressionContext(
        request.get("ExpressionAttributeNames"), request.get("ExpressionAttributeValues")
    )


def _read_guard(request: Request, context: ExpressionContext) -> _Guard:
    text = request.get("ConditionExpression")
    condition = (
        context.condition(text)
        if text is not None
        else expected_condition(request.get("Expected"), request.get("ConditionalOperator"))
    )
    return _Guard(condition, request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD")


def _check_nested(table: Table, *expressions: BoundCondition | BoundUpdate | None) -> None:
    for expression in expressions:
        if expression is not None:
            check_scalar_keys(expression.nested, table.schema.names)


def _return_values(request: Request, *allowed: str) -> str:
    wanted: str = request.get("ReturnValues") or "NONE"
    if wanted != "NONE" and wanted not in allowed:
        raise ValidationException("ReturnValues can only be ALL_OLD or NONE")
    return wanted


def _answer(
    request: Request, table: Table, returned: str, results: list[UpdateResult] | None
) -> Callable[[tuple[WriteOutcome, ...]], bytes]:
    charged = wants_capacity(request)
    if returned == "NONE" and not charged:
        return lambda _: EMPTY

    def answer(outcomes: tuple[WriteOutcome, ...]) -> bytes:
        [outcome] = outcomes
        members: dict[str, Any] = {}
        shown = _shown(returned, outcome, results[-1] if results else None)
        if shown is not None:
            members["Attributes"] = shown
        if charged:
            units = write_units(outcome.old_size, outcome.size)
            members["ConsumedCapacity"] = describe_capacity(request, table.name, units)
        return print_members(members)

    return answer


def _shown(
    returned: str, outcome: WriteOutcome, result: UpdateResult | None
) -> bytes | Attributes | None:
    match returned:
        case "ALL_OLD":
            return outcome.old_payload
        case "ALL_NEW" if result is not None:
            return result.item
        case "UPDATED_OLD" if result is not None:
            return result.updated_old() or None
        case "UPDATED_NEW" if result is not None:
            return result.updated_new() or None
        case _:
            return None
