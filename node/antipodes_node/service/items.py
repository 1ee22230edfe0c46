"""Reading and writing items by key."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from antipodes.core import limits
from antipodes.core.attributes import normal_attributes, print_attributes
from antipodes.core.catalog import readable
from antipodes.core.errors import ValidationException
from antipodes.core.keys import (
    ItemKey,
    key_of_attributes,
    key_of_item,
    physical_key,
    print_key,
)
from antipodes.core.reads import get_item
from antipodes.core.replication import Write, WriteOutcome, WriteRequested
from antipodes.core.shapes import elements, reject, required, structure, text
from antipodes.core.tables import Table, parse_table_name
from antipodes_node.driver import Driver
from antipodes_node.service.requests import Request, check_members
from antipodes_node.storage.environment import Environment

_PUT = frozenset({"TableName", "Item", "ReturnValues"})
_GET = frozenset({"TableName", "Key"})
_DELETE = frozenset({"TableName", "Key", "ReturnValues"})
_BATCH = frozenset({"RequestItems"})

EMPTY = b"{}"
_RETURN_VALUES = ("ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW")


class Planned(NamedTuple):
    """Writes that passed every check that needs no transaction, and how to answer for them."""

    writes: tuple[Write, ...]
    answer: Callable[[tuple[WriteOutcome, ...]], bytes]
    transaction: bool = False
    once: tuple[str, bytes] | None = None

    @property
    def event(self) -> WriteRequested:
        """What is to happen."""
        return WriteRequested(self.writes, transaction=self.transaction, once=self.once)


class ItemService:
    """Operations on single items and batches.

    Requests and answers have DynamoDB's JSON shape; answers are printed. A read is answered at
    once, a write is planned, for the caller to let the driver carry out.
    """

    def __init__(self, environment: Environment, driver: Driver) -> None:
        self._environment = environment
        self._driver = driver

    def table(self, name: str) -> Table:
        """Find a table that clients may read.

        Raises:
            ResourceNotFoundException: There is none.
        """
        return readable(self._driver.view.tables.get(name))

    def put_item(self, request: Request) -> Planned:
        """Store a whole item under its key."""
        check_members("PutItem", request, _PUT)
        name = parse_table_name(request)
        item = required(request, "Item")
        answer = _answer_old(request)
        return Planned((self._plan_put(name, item),), answer)

    def delete_item(self, request: Request) -> Planned:
        """Remove the item under a key; there need not be one."""
        check_members("DeleteItem", request, _DELETE)
        name = parse_table_name(request)
        key = required(request, "Key")
        answer = _answer_old(request)
        return Planned((self._plan_delete(name, key),), answer)

    def get_item(self, request: Request) -> bytes:
        """Read the item under a key."""
        check_members("GetItem", request, _GET)
        name = parse_table_name(request)
        attributes, _ = normal_attributes(required(request, "Key"))
        table = self.table(name)
        key = key_of_attributes(table.schema, attributes)
        with self._environment.read() as txn:
            record = get_item(txn, self._environment.dbs, table, key)
        if record is None or record.payload is None:
            return EMPTY
        return b'{"Item":' + record.payload + b"}"

    def batch_write_item(self, request: Request) -> Planned:
        """Put and delete up to 25 items. One wrong request rejects all; nothing is written then."""
        check_members("BatchWriteItem", request, _BATCH)
        writes: list[Write] = []
        for name, wishes in _batch_tables(request):
            path = f"requestItems.{name}.member."
            for wish in map(structure, elements(wishes)):
                kinds = [kind for kind, content in wish.items() if content is not None]
                if kinds == ["PutRequest"]:
                    item = required(structure(wish["PutRequest"]), "Item", f"{path}putRequest.")
                    writes.append(self._plan_put(name, item))
                elif kinds == ["DeleteRequest"]:
                    key = required(structure(wish["DeleteRequest"]), "Key", f"{path}deleteRequest.")
                    writes.append(self._plan_delete(name, key))
                else:
                    raise ValidationException(
                        "Supplied AttributeValue has more than one datatypes set, must contain"
                        " exactly one of the supported datatypes"
                        if len(kinds) > 1
                        else "Supplied WriteRequest is empty, must contain exactly one of"
                        " PutRequest and DeleteRequest"
                    )
                if len(writes) > limits.BATCH_WRITE_REQUESTS_MAX:
                    raise ValidationException(
                        "Too many items requested for the BatchWriteItem call"
                    )
        if len({write.physical for write in writes}) < len(writes):
            raise ValidationException("Provided list of item keys contains duplicates")
        return Planned(tuple(writes), lambda _: b'{"UnprocessedItems":{}}')

    def batch_get_item(self, request: Request) -> bytes:
        """Read up to 100 items; what does not fit into 16 MiB comes back as unprocessed."""
        check_members("BatchGetItem", request, _BATCH)
        wanted: list[tuple[Table, list[ItemKey]]] = []
        count = 0
        for name, asked in _batch_tables(request):
            check_members("BatchGetItem", asked, frozenset({"Keys"}))
            keys = elements(required(asked, "Keys", f"requestItems.{name}.member."))
            count += len(keys)
            if count > limits.BATCH_GET_KEYS_MAX:
                raise ValidationException("Too many items requested for the BatchGetItem call")
            if not keys:
                reject(
                    f"requestItems.{name}.member.keys", "[]",
                    "Member must have length greater than or equal to 1",
                )  # fmt: skip
            normal = [normal_attributes(key)[0] for key in keys]
            table = self.table(name)
            found = [key_of_attributes(table.schema, key) for key in normal]
            if len(set(found)) < len(found):
                raise ValidationException("Provided list of item keys contains duplicates")
            wanted.append((table, found))
        return self._read_batch(wanted)

    def _read_batch(self, wanted: list[tuple[Table, list[ItemKey]]]) -> bytes:
        size = 0
        responses, unprocessed = [], []
        with self._environment.read() as txn:
            for table, keys in wanted:
                items: list[bytes] = []
                left: list[bytes] = []
                for key in keys:
                    if size >= limits.BATCH_GET_BYTES_MAX:
                        left.append(print_key(table.schema, key))
                        continue
                    record = get_item(txn, self._environment.dbs, table, key)
                    if record is not None and record.payload is not None:
                        items.append(record.payload)
                        size += record.size
                responses.append(b'"%s":[%s]' % (table.name.encode(), b",".join(items)))
                if left:
                    unprocessed.append(
                        b'"%s":{"Keys":[%s]}' % (table.name.encode(), b",".join(left))
                    )
        return b'{"Responses":{%s},"UnprocessedKeys":{%s}}' % (
            b",".join(responses),
            b",".join(unprocessed),
        )

    def _plan_put(self, table_name: str, item: Any) -> Write:
        attributes, size = normal_attributes(item)
        if size > limits.ITEM_SIZE_BYTES_MAX:
            raise ValidationException("Item size has exceeded the maximum allowed size")
        table = self.table(table_name)
        key = key_of_item(table.schema, attributes)
        return Write(
            table, key, physical_key(table.schema, table.number, key),
            print_attributes(attributes), size,
        )  # fmt: skip

    def _plan_delete(self, table_name: str, given: Any) -> Write:
        attributes, _ = normal_attributes(given)
        table = self.table(table_name)
        key = key_of_attributes(table.schema, attributes)
        return Write(table, key, physical_key(table.schema, table.number, key), None, 0)


def _batch_tables(request: Request) -> Iterable[tuple[str, Any]]:
    tables = structure(required(request, "RequestItems"))
    if not tables:
        reject("requestItems", "{}", "Member must have length greater than or equal to 1")
    for name, wishes in tables.items():
        if not wishes:
            reject(
                "requestItems", f"{{{name}=[]}}",
                "Map value must satisfy constraint: [Member must have length less than or equal to"
                " 25, Member must have length greater than or equal to 1]",
            )  # fmt: skip
        yield parse_table_name({"TableName": name}), wishes


def _answer_old(request: Request) -> Callable[[tuple[WriteOutcome, ...]], bytes]:
    wanted = request.get("ReturnValues")
    if wanted is None or text(wanted) == "NONE":
        return lambda _: EMPTY
    if wanted == "ALL_OLD":
        return lambda outcomes: _attributes(outcomes[0].old_payload)
    if wanted not in _RETURN_VALUES:
        reject(
            "returnValues", wanted,
            f"Member must satisfy enum value set: [{', '.join(_RETURN_VALUES)}]",
        )  # fmt: skip
    raise ValidationException("ReturnValues can only be ALL_OLD or NONE")


def _attributes(old: bytes | None) -> bytes:
    return EMPTY if old is None else b'{"Attributes":' + old + b"}"
