"""All operations by DynamoDB's name: what every door calls."""

from collections.abc import Awaitable, Callable

from antipodes.core import model
from antipodes.core.errors import UnknownOperationException
from antipodes_node.driver import Driver
from antipodes_node.replication.coordination import Coordinator
from antipodes_node.replication.peers import Peers
from antipodes_node.service.batches import BatchService
from antipodes_node.service.plans import Planned
from antipodes_node.service.reading import ReadService
from antipodes_node.service.requests import Request, check_supported
from antipodes_node.service.tables import TableService
from antipodes_node.service.transactions import TransactionService
from antipodes_node.service.writes import WriteService
from antipodes_node.storage.environment import Environment

Answer = bytes | Planned | Awaitable[bytes]
"""A read is answered at once, a write is planned, a table change takes its time."""


class Operations:
    """The operations of one region.

    Args:
        region: Its name.
        environment: Its storage.
        driver: Carries writes out.
        peers: The other regions.
        coordinator: Carries table changes out.
    """

    def __init__(
        self,
        region: str,
        environment: Environment,
        driver: Driver,
        peers: Peers,
        coordinator: Coordinator,
    ) -> None:
        self._driver = driver
        reads = ReadService(environment, driver)
        writes = WriteService(driver)
        batches = BatchService(environment, reads, writes)
        transactions = TransactionService(environment, driver, writes)
        tables = TableService(region, environment, driver, peers, coordinator)
        self._by_name: dict[str, Callable[[Request], Answer]] = {
            "PutItem": writes.put_item,
            "GetItem": reads.get_item,
            "UpdateItem": writes.update_item,
            "DeleteItem": writes.delete_item,
            "BatchWriteItem": batches.batch_write_item,
            "BatchGetItem": batches.batch_get_item,
            "Query": reads.query,
            "Scan": reads.scan,
            "TransactWriteItems": transactions.transact_write_items,
            "TransactGetItems": transactions.transact_get_items,
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
        model.check(operation, request)
        check_supported(operation, request)
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
            return answer.answer(await self._driver.write(answer.event, deadline))
        return await answer
