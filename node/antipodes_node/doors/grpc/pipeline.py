"""Many calls on one stream.

A gRPC message costs the same whether it carries one call or hundreds, so both sides send when idle
and gather while busy: while one message is on its way out, whatever becomes ready joins the next.
"""

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any

import grpc.aio
import orjson

from antipodes.core.errors import SerializationException
from antipodes.core.replication import Acknowledge, Effect, Refuse
from antipodes.v1 import items_pb2 as pb
from antipodes.wire import errors as wire_errors
from antipodes_node.doors.grpc.guard import Context, ours
from antipodes_node.driver import Driver
from antipodes_node.service.operations import Operations
from antipodes_node.service.plans import Planned

ANSWERS_BYTES_MAX = 1 << 20
"""A response message is sent when it holds so much: with one more answer it stays below the 4 MiB
that gRPC clients accept by default, unless that answer is large by itself."""
ANSWER_OVERHEAD_BYTES = 256
"""What an answer takes besides its body."""
TIMEOUT_MS_DEFAULT = 60_000
IN_FLIGHT_MAX = 10_000
"""Calls of one stream; the node reads no more until some are answered."""
HELD_BYTES_MAX = 32 << 20
"""Likewise for the bytes of calls not answered yet and of answers not taken by the client yet."""
BURST_CALLS_MAX = 256
"""Calls of one message that are begun before others have their turn."""


class PipelineDoor:
    """Answers the Pipeline method."""

    def __init__(self, operations: Operations, driver: Driver) -> None:
        self._operations = operations
        self._driver = driver
        self._readers: set[asyncio.Task[None]] = set()

    async def serve(self, context: Context) -> None:
        """Serve one stream until the client ends it, or the node stops."""
        stream = _Stream(self._operations, self._driver, context)
        reader = asyncio.create_task(stream.read_calls())
        writer = asyncio.create_task(stream.write_answers())
        self._readers.add(reader)
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not writer.done():
                await stream.drained()
                stream.close()
                await writer
        finally:
            self._readers.discard(reader)
            tasks = (reader, writer, *stream.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def drain(self) -> None:
        """Take no more calls; each stream ends when those that were read are answered."""
        for reader in self._readers:
            reader.cancel()


class _Stream:
    def __init__(self, operations: Operations, driver: Driver, context: Context) -> None:
        self._begin = operations.begin
        self._driver = driver
        self._context = context
        self._answers: list[pb.Answer] = []
        self._answers_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._in_flight = 0
        self._held_bytes = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def read_calls(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            for count, call in enumerate(message.calls, 1):
                self._begin_call(call)
                if self._in_flight >= IN_FLIGHT_MAX or self._held_bytes >= HELD_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
                elif count % BURST_CALLS_MAX == 0:
                    await asyncio.sleep(0)

    def _begin_call(self, call: pb.Call) -> None:
        size = len(call.body) + ANSWER_OVERHEAD_BYTES
        self._in_flight += 1
        self._held_bytes += size
        self._idle.clear()
        try:
            answer = self._begin(call.operation, _parse(call.body))
        except Exception as error:  # whatever a request does, the stream lives on
            self._refuse(call.id, size, error)
            return
        if isinstance(answer, bytes):
            self._answer(call.id, size, answer)
        elif isinstance(answer, Planned):
            deadline = time.monotonic() + (call.timeout_ms or TIMEOUT_MS_DEFAULT) / 1000
            done = partial(self._written, call.id, size, answer)
            self._driver.submit(answer.event, done, deadline)
        else:
            task = asyncio.create_task(self._wait_for(call.id, size, answer))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _written(self, call_id: int, size: int, planned: Planned, effect: Effect) -> None:
        if isinstance(effect, Acknowledge):
            self._answer(call_id, size, planned.answer(effect.outcomes))
        else:
            assert isinstance(effect, Refuse)
            self._refuse(call_id, size, effect.error)

    async def _wait_for(self, call_id: int, size: int, answer: Awaitable[bytes]) -> None:
        try:
            self._answer(call_id, size, await answer)
        except Exception as error:
            self._refuse(call_id, size, error)

    def _answer(self, call_id: int, size: int, body: bytes) -> None:
        self._add(pb.Answer(id=call_id, body=body), size)

    def _refuse(self, call_id: int, size: int, error: Exception) -> None:
        self._add(pb.Answer(id=call_id, error=wire_errors.to_message(ours(error))), size)

    def _add(self, answer: pb.Answer, call_size: int) -> None:
        size = _size(answer)
        self._answers.append(answer)
        self._answers_bytes += size
        self._held_bytes += size - call_size
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        self._make_room()
        self._wake.set()

    def _make_room(self) -> None:
        if self._in_flight < IN_FLIGHT_MAX // 2 and self._held_bytes < HELD_BYTES_MAX // 2:
            self._room.set()

    async def write_answers(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._answers:
                taken, size = self._take()
                await self._context.write(pb.PipelineResponse(answers=taken))
                self._held_bytes -= size
                self._make_room()
            if self._closed:
                return

    def _take(self) -> tuple[list[pb.Answer], int]:
        """Take what fits into one message; most often all there is."""
        taken, size = self._answers, self._answers_bytes
        if size > ANSWERS_BYTES_MAX:
            size = count = 0
            while size <= ANSWERS_BYTES_MAX and count < len(self._answers):
                size += _size(self._answers[count])
                count += 1
            taken = self._answers[:count]
        self._answers = self._answers[len(taken) :]
        self._answers_bytes -= size
        return taken, size

    async def drained(self) -> None:
        """Wait until every call that was read is answered."""
        await self._idle.wait()

    def close(self) -> None:
        self._closed = True
        self._wake.set()


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise SerializationException("the body is not JSON") from error


def _size(answer: pb.Answer) -> int:
    return len(answer.body) + ANSWER_OVERHEAD_BYTES
