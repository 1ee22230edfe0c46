"""Pushing the changes of a table to whoever follows them."""

from collections.abc import AsyncIterator

from antipodes.core.errors import (
    ResourceNotFoundException,
    ServiceUnavailable,
    ValidationException,
)
from antipodes.core.streams import RecordPrinter, Stream, lsn_of_sequence_number, sequence_number
from antipodes.core.subscriptions import RecordPage, read_records
from antipodes.core.tables import Table
from antipodes.v1 import streams_pb2 as pb
from antipodes_node.driver import Driver
from antipodes_node.signals import HeadSignal
from antipodes_node.storage.environment import Environment

IDLE_SECONDS = 5.0
"""After so long without a record the subscriber hears that it is still connected."""


class StreamService:
    """Subscriptions. Each reads the log by itself and is woken by commits."""

    def __init__(
        self, region: str, environment: Environment, driver: Driver, signal: HeadSignal
    ) -> None:
        self._region = region
        self._environment = environment
        self._driver = driver
        self._signal = signal

    async def subscribe(self, request: pb.SubscribeRequest) -> AsyncIterator[pb.SubscribeResponse]:
        """Give the records of a table, then those to come, without end.

        Raises:
            ResourceNotFoundException: No such stream, or its table was deleted meanwhile.
            ServiceUnavailable: The node stops.
            ValidationException: The position is not one of this stream.
        """
        table, stream = self._find(request.stream)
        origin = self._driver.view.origin
        printer = RecordPrinter(
            table.schema, stream, stream.arn(table.arn(self._region)), self._region,
            origin.incarnation,
        )  # fmt: skip
        after = self._position(request, stream)
        # The first answer says where the subscription starts, so that it can be resumed from there
        # even if no record has come yet.
        yield pb.SubscribeResponse(position=sequence_number(origin.incarnation, after))
        while not self._signal.closed:
            page = self._read(table, stream, printer, after)
            if page.records:
                yield self._print(page, origin.incarnation)
            after = page.through_lsn
            if not page.records and not await self._signal.wait_beyond(after, IDLE_SECONDS):
                yield pb.SubscribeResponse(position=sequence_number(origin.incarnation, after))
        raise ServiceUnavailable(f"region {self._region} is being stopped")

    def _read(self, table: Table, stream: Stream, printer: RecordPrinter, after: int) -> RecordPage:
        view = self._driver.view
        if table.id not in view.tables_by_id:
            raise ResourceNotFoundException(
                f"Requested resource not found: table {table.name} was deleted"
            )
        with self._environment.read() as txn:
            # What was committed after the view was made may have an origin unknown to it.
            return read_records(
                txn, self._environment.dbs, table, stream, printer, after, view.head_lsn
            )

    def _print(self, page: RecordPage, incarnation: int) -> pb.SubscribeResponse:
        names = self._driver.view.names
        return pb.SubscribeResponse(
            records=[
                pb.StreamRecord(
                    json=record.json,
                    sequence_number=record.sequence_number,
                    shard_id=record.shard_id,
                    origin_region=names[record.origin].region,
                )
                for record in page.records
            ],
            position=sequence_number(incarnation, page.through_lsn),
        )

    def _find(self, name: str) -> tuple[Table, Stream]:
        table_name, _, label = name.rpartition(":table/")[2].partition("/stream/")
        table = self._driver.view.tables.get(table_name)
        if table is None or table.status == "DELETING":
            raise ResourceNotFoundException(
                f"Requested resource not found: Table: {table_name} not found"
            )
        if table.stream is None or (label and label != table.stream.label):
            raise ResourceNotFoundException(
                f"Requested resource not found: Stream: {name} not found"
                + ("" if table.stream else f" (table {table_name} has no stream)")
            )
        return table, table.stream

    def _position(self, request: pb.SubscribeRequest, stream: Stream) -> int:
        match request.WhichOneof("position"):
            case "after_sequence_number":
                lsn = lsn_of_sequence_number(request.after_sequence_number)
                head = self._driver.view.head_lsn
                if lsn > head:
                    raise ValidationException(
                        f"SequenceNumber {request.after_sequence_number} lies ahead of the stream"
                        f" in region {self._region}; sequence numbers belong to one region"
                    )
                return lsn
            case "now":
                return self._driver.view.head_lsn
            case _:
                return stream.shards[0].starting_lsn - 1
