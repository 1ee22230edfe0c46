"""A bare gRPC server of the same messages: ``python -m antipodes.cli.bench.echo``.

What it does is what any node must do at least: read the request, and write an answer of the right
size. It prints the port that it listens on.
"""

import asyncio
import random
from typing import Any

import click
import grpc
import grpc.aio

from antipodes.cli.bench.workloads import Items, key_of
from antipodes.cli.process import run
from antipodes.v1 import items_pb2

SERVICE = items_pb2.DESCRIPTOR.services_by_name["Items"].full_name
_FOUND = Items(random.Random(0)).get_response(key_of(0))  # noqa: S311 - keeps no secret


async def put_item(request: items_pb2.PutItemRequest, _: object) -> items_pb2.PutItemResponse:
    """Answer with nothing."""
    return items_pb2.PutItemResponse()


async def get_item(request: items_pb2.GetItemRequest, _: object) -> items_pb2.GetItemResponse:
    """Answer with one and the same item."""
    return _FOUND


async def _serve() -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    # As the generated code does it, for two methods only.
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "PutItem": grpc.unary_unary_rpc_method_handler(
            put_item,
            request_deserializer=items_pb2.PutItemRequest.FromString,
            response_serializer=items_pb2.PutItemResponse.SerializeToString,
        ),
        "GetItem": grpc.unary_unary_rpc_method_handler(
            get_item,
            request_deserializer=items_pb2.GetItemRequest.FromString,
            response_serializer=items_pb2.GetItemResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    click.echo(port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(_serve)
