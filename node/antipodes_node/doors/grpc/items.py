"""Items, one call each."""

from collections.abc import Iterable
from typing import Any

import orjson

from antipodes.v1 import items_pb2 as pb
from antipodes.v1 import items_pb2_grpc, types_pb2
from antipodes.wire.attributes import attributes_to_json, fill_attributes, to_json
from antipodes.wire.tables import enum_name
from antipodes_node.doors.grpc.guard import Context, deadline_of
from antipodes_node.doors.grpc.pipeline import PipelineDoor
from antipodes_node.service.operations import Operations

_RETURN_VALUES = {
    pb.RETURN_VALUE_UNSPECIFIED: "NONE",
    pb.RETURN_VALUE_NONE: "NONE",
    pb.RETURN_VALUE_ALL_OLD: "ALL_OLD",
}

_WRITES = frozenset({"PutItem", "DeleteItem", "BatchWriteItem"})
"""A read is answered at once, so only these may find that the client has given up."""


class ItemsDoor(items_pb2_grpc.ItemsServicer):
    """Answers the Items service."""

    def __init__(self, operations: Operations, pipeline: PipelineDoor) -> None:
        self._call = operations.call
        self._pipeline = pipeline

    async def _answer(
        self, context: Context, operation: str, shaped: dict[str, Any]
    ) -> dict[str, Any]:
        # Asking for the deadline costs 10 us.
        deadline = deadline_of(context) if operation in _WRITES else float("inf")
        answer: dict[str, Any] = orjson.loads(await self._call(operation, shaped, deadline))
        return answer

    async def PutItem(self, request: pb.PutItemRequest, context: Context) -> pb.PutItemResponse:
        shaped = {
            "TableName": request.table_name,
            "Item": attributes_to_json(request.item),
            "ReturnValues": _RETURN_VALUES.get(request.return_values, "?"),
        }
        answer = await self._answer(context, "PutItem", shaped)
        response = pb.PutItemResponse()
        fill_attributes(response.attributes, answer.get("Attributes", {}))
        return response

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:
        shaped = {"TableName": request.table_name, "Key": attributes_to_json(request.key)}
        answer = await self._answer(context, "GetItem", shaped)
        response = pb.GetItemResponse()
        if "Item" in answer:
            response.item.SetInParent()
            fill_attributes(response.item.attributes, answer["Item"])
        return response

    async def DeleteItem(
        self, request: pb.DeleteItemRequest, context: Context
    ) -> pb.DeleteItemResponse:
        shaped = {
            "TableName": request.table_name,
            "Key": attributes_to_json(request.key),
            "ReturnValues": _RETURN_VALUES.get(request.return_values, "?"),
        }
        answer = await self._answer(context, "DeleteItem", shaped)
        response = pb.DeleteItemResponse()
        fill_attributes(response.attributes, answer.get("Attributes", {}))
        return response

    async def BatchWriteItem(
        self, request: pb.BatchWriteItemRequest, context: Context
    ) -> pb.BatchWriteItemResponse:
        shaped = {
            "RequestItems": {
                table: [_write_request(wish) for wish in wishes.requests]
                for table, wishes in request.request_items.items()
            }
        }
        await self._answer(context, "BatchWriteItem", shaped)
        return pb.BatchWriteItemResponse()

    async def BatchGetItem(
        self, request: pb.BatchGetItemRequest, context: Context
    ) -> pb.BatchGetItemResponse:
        shaped = {
            "RequestItems": {
                table: {"Keys": [attributes_to_json(key.attributes) for key in asked.keys]}
                for table, asked in request.request_items.items()
            }
        }
        answer = await self._answer(context, "BatchGetItem", shaped)
        response = pb.BatchGetItemResponse()
        for table, items in answer["Responses"].items():
            _add_items(response.responses[table].items, items)
        for table, left in answer["UnprocessedKeys"].items():
            for key in left["Keys"]:
                fill_attributes(response.unprocessed_keys[table].keys.add().attributes, key)
        return response

    async def Query(self, request: pb.QueryRequest, context: Context) -> pb.QueryResponse:
        shaped: dict[str, Any] = {
            "TableName": request.table_name,
            "KeyConditions": {
                name: {
                    "ComparisonOperator": enum_name(
                        pb.ComparisonOperator, condition.comparison_operator
                    ),
                    "AttributeValueList": [to_json(v) for v in condition.attribute_value_list],
                }
                for name, condition in request.key_conditions.items()
            },
        }
        if request.HasField("scan_index_forward"):
            shaped["ScanIndexForward"] = request.scan_index_forward
        _add_paging(shaped, request)
        answer = await self._answer(context, "Query", shaped)
        response = pb.QueryResponse()
        _fill_page(response, answer)
        return response

    async def Scan(self, request: pb.ScanRequest, context: Context) -> pb.ScanResponse:
        shaped: dict[str, Any] = {"TableName": request.table_name}
        _add_paging(shaped, request)
        answer = await self._answer(context, "Scan", shaped)
        response = pb.ScanResponse()
        _fill_page(response, answer)
        return response

    async def Pipeline(  # type: ignore[override]  # writes through the context, not by yielding
        self, request_iterator: Any, context: Context
    ) -> None:
        await self._pipeline.serve(context)


def _write_request(wish: pb.WriteRequest) -> dict[str, Any]:
    match wish.WhichOneof("request"):
        case "put":
            return {"PutRequest": {"Item": attributes_to_json(wish.put.attributes)}}
        case "delete":
            return {"DeleteRequest": {"Key": attributes_to_json(wish.delete.attributes)}}
        case None:
            return {}


def _add_paging(shaped: dict[str, Any], request: pb.QueryRequest | pb.ScanRequest) -> None:
    if request.limit:
        shaped["Limit"] = request.limit
    if request.HasField("exclusive_start_key"):
        shaped["ExclusiveStartKey"] = attributes_to_json(request.exclusive_start_key.attributes)


def _fill_page(response: pb.QueryResponse | pb.ScanResponse, answer: dict[str, Any]) -> None:
    _add_items(response.items, answer["Items"])
    response.count = answer["Count"]
    response.scanned_count = answer["ScannedCount"]
    if "LastEvaluatedKey" in answer:
        fill_attributes(response.last_evaluated_key.attributes, answer["LastEvaluatedKey"])


def _add_items(target: Any, items: Iterable[dict[str, Any]]) -> None:
    for item in items:
        added: types_pb2.Item = target.add()
        fill_attributes(added.attributes, item)
