"""Tables over gRPC."""

from typing import Any

import orjson

from antipodes.v1 import tables_pb2, tables_pb2_grpc
from antipodes.wire import tables as wire_tables
from antipodes_node.doors.grpc.guard import Context
from antipodes_node.service.operations import Operations


class TablesDoor(tables_pb2_grpc.TablesServicer):
    """Answers the Tables service."""

    def __init__(self, operations: Operations) -> None:
        self._call = operations.call

    async def _answer(self, operation: str, shaped: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(await self._call(operation, shaped))
        return answer

    async def CreateTable(
        self, request: tables_pb2.CreateTableRequest, context: Context
    ) -> tables_pb2.CreateTableResponse:
        answer = await self._answer("CreateTable", wire_tables.create_to_json(request))
        return tables_pb2.CreateTableResponse(
            table_description=wire_tables.description_to_wire(answer["TableDescription"])
        )

    async def DescribeTable(
        self, request: tables_pb2.DescribeTableRequest, context: Context
    ) -> tables_pb2.DescribeTableResponse:
        answer = await self._answer("DescribeTable", {"TableName": request.table_name})
        return tables_pb2.DescribeTableResponse(
            table=wire_tables.description_to_wire(answer["Table"])
        )

    async def ListTables(
        self, request: tables_pb2.ListTablesRequest, context: Context
    ) -> tables_pb2.ListTablesResponse:
        shaped: dict[str, Any] = {}
        if request.exclusive_start_table_name:
            shaped["ExclusiveStartTableName"] = request.exclusive_start_table_name
        if request.limit:
            shaped["Limit"] = request.limit
        answer = await self._answer("ListTables", shaped)
        return tables_pb2.ListTablesResponse(
            table_names=answer["TableNames"],
            last_evaluated_table_name=answer.get("LastEvaluatedTableName", ""),
        )

    async def UpdateTable(
        self, request: tables_pb2.UpdateTableRequest, context: Context
    ) -> tables_pb2.UpdateTableResponse:
        answer = await self._answer("UpdateTable", wire_tables.update_to_json(request))
        return tables_pb2.UpdateTableResponse(
            table_description=wire_tables.description_to_wire(answer["TableDescription"])
        )

    async def DeleteTable(
        self, request: tables_pb2.DeleteTableRequest, context: Context
    ) -> tables_pb2.DeleteTableResponse:
        shaped = {"TableName": request.table_name, "AllReplicas": request.all_replicas}
        answer = await self._answer("DeleteTable", shaped)
        return tables_pb2.DeleteTableResponse(
            table_description=wire_tables.description_to_wire(answer["TableDescription"])
        )
