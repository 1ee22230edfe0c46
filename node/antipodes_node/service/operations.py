"""All operations by DynamoDB's name: what every door calls."""

from collections.abc import Awaitable, Callable

from antipodes.core.errors import UnknownOperationException
from antipodes_node.driver import Driver
from antipodes_node.service.items import ItemService, Planned
from antipodes_node.service.queries import QueryService
from antipodes_node.service.requests import Request
from antipodes_node.service.tables import TableService

Answer = bytes | Planned | Awaitable[bytes]
"""A read is answered at once, a write is planned, a table change takes its time."""


class Operations:
    """The operations of one region."""

    def __init__(
        self, driver: Driver, items: ItemService, queries: QueryService, tables: TableService
    ) -> None:
        self._driver = driver
        self._by_name: dict[str, Callable[[Request], Answer]] = {
            "PutItem": items.put_item,
            "GetItem": items.get_item,
            "DeleteItem": items.delete_item,
            "BatchWriteItem": items.batch_write_item,
            "BatchGetItem": items.batch_get_item,
            "Query": queries.query,
            "Scan": queries.scan,
            "CreateTable": tables.create_table,
            "DescribeTable": tables.describe_table,
            "ListTables": tables.list_tables,
            "UpdateTable": tables.update_table,
            "DeleteTable": tables.delete_table,
        }

    def begin(self, operation: str, request: Request) -> Answer:
        """Begin an operation.

        Args:
            operation: DynamoDB's name of it.
            request: In DynamoDB's JSON shape.

        Raises:
            AntipodesError: The request is refused.
        """
        begin = self._by_name.get(operation)
        if begin is None:
            raise UnknownOperationException(
                f"{operation} is not an operation of this version; it has"
                f" {', '.join(self._by_name)}"
            )
        return begin(request)

    async def call(self, operation: str, request: Request, deadline: float = float("inf")) -> bytes:
        """Carry an operation out and give its printed answer.

        Args:
            operation: DynamoDB's name of it.
            request: In DynamoDB's JSON shape.
            deadline: By `time.monotonic`; writes are not begun after it.

        Raises:
            AntipodesError: It is refused, or could not be done.
        """
        answer = self.begin(operation, request)
        if isinstance(answer, bytes):
            return answer
        if isinstance(answer, Planned):
            return answer.answer(await self._driver.write(answer.writes, deadline))
        return await answer
