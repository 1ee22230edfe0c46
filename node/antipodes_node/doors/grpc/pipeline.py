"""Many calls on one stream.

A gRPC message costs the same whether it carries one call or hundreds, so both sides send when idle
and gather while busy: while one message is on its way out, whatever becomes ready joins the next.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from functools import partial

import grpc.aio
import orjson
import structlog

from antipodes.core.errors import (
    AntipodesError,
    InternalServerError,
    SerializationException,
)
from antipodes.core.replication import Acknowledge, Effect, Refuse, WriteRequested
from antipodes.v1 import items_pb2 as pb
from antipodes.wire import errors as wire_errors
from antipodes_node.doors.grpc.errors import Context
from antipodes_node.driver import Driver
from antipodes_node.service.items import Planned
from antipodes_node.service.operations import Operations

log = structlog.get_logger()

ANSWERS_BYTES_MAX = 4 << 20
"""A response message is sent when it holds so much."""
TIMEOUT_MS_DEFAULT = 60_000
IN_FLIGHT_MAX = 10_000
"""Calls of one stream; the node reads no more until some are answered."""


class PipelineDoor:
    """Answers the Pipeline method."""

    def __init__(self, operations: Operations, driver: Driver) -> None:
        self._operations = operations
        self._driver = driver

    async def serve(self, context: Context) -> None:
        """Serve one stream until the client ends it."""
        stream = _Stream(self._operations, self._driver, context)
        writer = asyncio.create_task(stream.write_answers())
        try:
            await stream.read_calls()
            await stream.drained()
            stream.close()
            await writer
        finally:
            writer.cancel()
            stream.cancel_calls()
            with contextlib.suppress(asyncio.CancelledError):
                await writer


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
        self._tasks: set[asyncio.Task[None]] = set()

    async def read_calls(self) -> None:
        while True:
            message = await self._context.read()
            if message is grpc.aio.EOF:
                return
            for call in message.calls:
                self._begin_call(call)
            await self._room.wait()

    def _begin_call(self, call: pb.Call) -> None:
        self._in_flight += 1
        self._idle.clear()
        if self._in_flight >= IN_FLIGHT_MAX:
            self._room.clear()
        try:
            request = orjson.loads(call.body)
        except ValueError:
            self._refuse(call.id, SerializationException("the body is not JSON"))
            return
        try:
            answer = self._begin(call.operation, request)
        except Exception as error:  # whatever a request does, the stream lives on
            self._refuse(call.id, error)
            return
        if isinstance(answer, bytes):
            self._answer(call.id, answer)
        elif isinstance(answer, Planned):
            deadline = time.monotonic() + (call.timeout_ms or TIMEOUT_MS_DEFAULT) / 1000
            self._driver.submit(
                WriteRequested(answer.writes), partial(self._written, call.id, answer), deadline
            )
        else:
            task = asyncio.create_task(self._wait_for(call.id, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _written(self, call_id: int, planned: Planned, effect: Effect) -> None:
        if isinstance(effect, Acknowledge):
            self._answer(call_id, planned.answer(effect.outcomes))
        else:
            assert isinstance(effect, Refuse)
            self._refuse(call_id, effect.error)

    async def _wait_for(self, call_id: int, answer: Awaitable[bytes]) -> None:
        try:
            self._answer(call_id, await answer)
        except Exception as error:
            self._refuse(call_id, error)

    def _answer(self, call_id: int, body: bytes) -> None:
        self._add(pb.Answer(id=call_id, body=body), len(body))

    def _refuse(self, call_id: int, error: Exception) -> None:
        if not isinstance(error, AntipodesError):
            log.error("call_failed", exc_info=error)
            error = InternalServerError(f"internal error: {type(error).__name__}")
        self._add(pb.Answer(id=call_id, error=wire_errors.to_message(error)), 256)

    def _add(self, answer: pb.Answer, size: int) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        if not self._room.is_set() and self._in_flight < IN_FLIGHT_MAX // 2:
            self._room.set()
        self._answers.append(answer)
        self._answers_bytes += size
        self._wake.set()

    async def write_answers(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._answers:
                await self._context.write(pb.PipelineResponse(answers=self._take()))
            if self._closed:
                return

    def _take(self) -> list[pb.Answer]:
        if self._answers_bytes <= ANSWERS_BYTES_MAX:
            taken, self._answers, self._answers_bytes = self._answers, [], 0
            return taken
        size = count = 0
        while count < len(self._answers) and size <= ANSWERS_BYTES_MAX:
            size += len(self._answers[count].body) + 256
            count += 1
        taken, self._answers = self._answers[:count], self._answers[count:]
        self._answers_bytes -= min(size, self._answers_bytes)
        return taken

    async def drained(self) -> None:
        """Wait until every call that was read is answered."""
        await self._idle.wait()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    def cancel_calls(self) -> None:
        for task in self._tasks:
            task.cancel()
