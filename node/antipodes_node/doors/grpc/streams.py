"""Streams over gRPC."""

from collections.abc import AsyncIterator

from antipodes.v1 import streams_pb2, streams_pb2_grpc
from antipodes_node.doors.grpc.guard import Context, abort
from antipodes_node.service.streams import StreamService


class StreamsDoor(streams_pb2_grpc.StreamsServicer):
    """Answers the Streams service."""

    def __init__(self, streams: StreamService) -> None:
        self._streams = streams

    async def Subscribe(
        self, request: streams_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[streams_pb2.SubscribeResponse]:
        try:
            async for response in self._streams.subscribe(request):
                yield response
        except Exception as error:
            await abort(context, error)
