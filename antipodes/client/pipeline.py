"""Calls on one long-lived stream.

    submit ─▶ queue ─▶ one message ─▶ stream ─▶ answers, in any order ─▶ futures
                          ▲                │
                          └─ next calls gather while this one is written

A message is sent as soon as the stream is idle, with whatever is in the queue: alone, a call waits
for nothing; in company it shares the cost of the message. A stream is opened when there is a call
for it. When it breaks, each call on it fails with what is known about its outcome, and `retry`
decides; calls that were not sent yet go to the next stream. `move` opens a stream beside the one
in use, which then only delivers the answers it owes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from grpc import StatusCode, aio

from antipodes.client.retry import unreachable
from antipodes.core.errors import (
    AntipodesError,
    InternalServerError,
    RequestTimeout,
    ServiceUnavailable,
)
from antipodes.v1 import items_pb2
from antipodes.wire import errors as wire_errors

MESSAGE_CALLS_MAX = 64
"""So that client and node work at once: all tasks in one message would take turns with the node."""
MESSAGE_BYTES_MAX = 1 << 20
"""Of bodies in one message; a single larger one travels alone."""
SWEEP_INTERVAL_S = 0.005
"""Least time between two looks at the deadlines."""

SERVED_BY_KEY = "antipodes-served-by"
REFUSED_KEY = "antipodes-refused"
"""Among the trailing metadata: the router had no region for the stream, so no call was begun."""

READS = frozenset(
    {"GetItem", "BatchGetItem", "Query", "Scan", "DescribeTable", "ListTables"}
)  # fmt: skip
"""Operations of which nobody needs to know whether they took place."""


class _Call:
    """One call that has no answer yet."""

    __slots__ = ("body", "deadline", "future", "id", "operation", "stream")

    def __init__(
        self, id_: int, operation: str, body: bytes, deadline: float, future: asyncio.Future[bytes]
    ) -> None:
        self.id = id_
        self.operation = operation
        self.body = body
        self.deadline = deadline
        self.future = future
        self.stream: _Stream | None = None  # None while it is in the queue.

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Stream:
    """One gRPC stream and how far it came."""

    __slots__ = ("connected", "draining", "ended", "owed", "rpc", "written")

    def __init__(self, rpc: Any) -> None:
        self.rpc = rpc
        self.owed = 0  # Calls sent on it that have no answer yet.
        self.connected = False
        self.written = False
        self.draining = False
        self.ended = False


class Pipeline:
    """The calls that share one wish about the region.

    Args:
        start: Starts the RPC.
        endpoint: host:port, for messages.
        served: Called when the region that serves a new stream is known.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        endpoint: str,
        served: Callable[[], None] = lambda: None,
    ) -> None:
        self.served_by: str | None = None
        """The region that serves the stream in use; None while there is none, or no router."""
        self._start = start
        self._endpoint = endpoint
        self._served = served
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Call] = deque()
        self._pending: dict[int, _Call] = {}  # Those in the queue included.
        self._stream: _Stream | None = None
        self._streams: set[_Stream] = set()
        self._idle: asyncio.Future[None] | None = None  # What the writer waits for.
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_id = 0
        self._sweep_at = inf
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._closed = False

    def submit(self, operation: str, body: bytes, deadline: float) -> asyncio.Future[bytes]:
        """Put a call into the queue.

        Args:
            operation: DynamoDB's name of the operation.
            body: The request in DynamoDB's JSON.
            deadline: When to stop waiting, on the loop's clock.

        Returns:
            What becomes the response in DynamoDB's JSON, or an AntipodesError.

        Raises:
            RuntimeError: The client is closed.
        """
        if self._closed:
            raise RuntimeError("this client is closed")
        self._last_id = id_ = self._last_id + 1
        future: asyncio.Future[bytes] = self._loop.create_future()
        call = _Call(id_, operation, body, deadline, future)
        self._pending[id_] = call
        self._queue.append(call)
        if deadline < self._sweep_at:
            self._schedule_sweep(deadline)
        if self._idle is not None:
            self._wake()
        elif self._stream is None:
            self._open()
        return future

    def move(self) -> None:
        """Send new calls on a new stream; the one in use delivers what it owes and ends."""
        old = self._stream
        if old is None or self._closed:
            return
        old.draining = True
        self._open()
        self._wake()  # The old writer sees that it is not wanted any more.
        if not old.owed:
            self._end(old, None)

    async def close(self) -> None:
        """End the streams; calls without an answer fail."""
        self._closed = True
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        for call in self._pending.values():
            call.fail(RuntimeError(f"the client was closed before {call.operation} was answered"))
        self._pending.clear()
        self._queue.clear()
        for stream in list(self._streams):
            self._end(stream, None)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    def _open(self) -> None:
        stream = _Stream(self._start())
        self._stream = stream
        self._streams.add(stream)
        self.served_by = None
        for work in (self._read(stream), self._write(stream)):
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _write(self, stream: _Stream) -> None:
        try:
            await stream.rpc.wait_for_connection()
            stream.connected = True
            while stream is self._stream:
                if not self._queue:
                    self._idle = idle = self._loop.create_future()
                    await idle
                elif (message := self._gather(stream)) is not None:
                    stream.written = True
                    await stream.rpc.write(message)
        except aio.AioRpcError as error:
            self._end(stream, error)
        except asyncio.InvalidStateError:
            pass  # The RPC has ended; the reader learns why.
        except asyncio.CancelledError:
            if not stream.ended:
                raise

    def _gather(self, stream: _Stream) -> items_pb2.PipelineRequest | None:
        """Move calls from the queue into a message; None when nobody waits for them any more."""
        message = items_pb2.PipelineRequest()
        add = message.calls.add
        queue, now, size, count = self._queue, self._loop.time(), 0, 0
        while queue and count < MESSAGE_CALLS_MAX:
            call = queue[0]
            size += len(call.body)
            if size > MESSAGE_BYTES_MAX and count:
                break
            queue.popleft()
            if call.future.done():
                self._pending.pop(call.id, None)
                continue
            call.stream = stream
            count += 1
            add(
                id=call.id,
                timeout_ms=max(1, int((call.deadline - now) * 1000)),
                operation=call.operation,
                body=call.body,
            )
        stream.owed += count
        return message if count else None

    async def _read(self, stream: _Stream) -> None:
        rpc = stream.rpc
        try:
            metadata = await rpc.initial_metadata()
            if stream is self._stream:
                region = dict(metadata or ()).get(SERVED_BY_KEY)
                if region is not None:
                    self.served_by = str(region)
                    self._served()
            while (message := await rpc.read()) is not aio.EOF:
                self._resolve(stream, message)
                if stream.draining and not stream.owed:
                    break
        except aio.AioRpcError as error:
            self._end(stream, error)
        except asyncio.CancelledError:
            if not stream.ended:
                raise
        finally:
            self._end(stream, None)

    def _resolve(self, stream: _Stream, message: items_pb2.PipelineResponse) -> None:
        pop = self._pending.pop
        for answer in message.answers:
            call = pop(answer.id, None)
            if call is None:
                continue  # Its deadline passed.
            stream.owed -= 1
            future = call.future
            if future.done():
                continue
            if body := answer.body:
                future.set_result(body)
            elif answer.HasField("error"):
                future.set_exception(wire_errors.from_message(answer.error))
            else:
                future.set_result(b"{}")

    def _end(self, stream: _Stream, error: aio.AioRpcError | None) -> None:
        """Note that a stream is over, and fail the calls on it.

        Args:
            stream: The stream; a second time nothing happens.
            error: Why; None when either side simply ended it.
        """
        if stream.ended:
            return
        stream.ended = True
        self._streams.discard(stream)
        stream.rpc.cancel()
        if stream.owed:
            sent = [call for call in self._pending.values() if call.stream is stream]
            for call in sent:
                del self._pending[call.id]
                call.fail(self._lost(call.operation, error))
        if stream is not self._stream:
            return
        self._stream = None
        self.served_by = None
        self._wake()
        if stream.written:
            if self._queue:
                self._open()
            return
        # Nothing got through: an immediate second try would fare no better.
        queued = list(self._queue)
        self._queue.clear()
        for call in queued:
            self._pending.pop(call.id, None)
            call.fail(self._not_sent(stream, error))

    def _lost(self, operation: str, error: aio.AioRpcError | None) -> AntipodesError:
        if error is not None:
            known = wire_errors.from_call(error)
            if not known.retryable or REFUSED_KEY in dict(error.trailing_metadata() or ()):
                return known
        reason = (error.details() if error is not None else None) or "the stream was ended"
        what = "" if operation in READS else "; whether it was applied is unknown"
        return InternalServerError(
            f"the connection to {self._endpoint} broke before {operation} was answered"
            f" ({reason}){what}"
        )

    def _not_sent(self, stream: _Stream, error: aio.AioRpcError | None) -> AntipodesError:
        if error is None:
            return ServiceUnavailable(f"{self._endpoint} ended the stream")
        if error.code() is StatusCode.UNAVAILABLE and not stream.connected:
            return unreachable(self._endpoint)
        return wire_errors.from_call(error)

    def _schedule_sweep(self, at: float) -> None:
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        self._sweep_at = at
        self._sweep_handle = self._loop.call_at(at, self._sweep)

    def _sweep(self) -> None:
        """Fail the calls whose deadline has passed, and plan the next look.

        One timer for all calls: it is set for the earliest deadline there was at the last look, and
        almost every call is answered long before, so that the looks are rare.
        """
        now, nearest = self._loop.time(), inf
        late: list[_Call] = []
        for call in self._pending.values():
            if call.deadline <= now:
                late.append(call)
            elif call.deadline < nearest:
                nearest = call.deadline
        self._sweep_at, self._sweep_handle = inf, None
        if nearest < inf:
            self._schedule_sweep(max(nearest, now + SWEEP_INTERVAL_S))
        for call in late:
            del self._pending[call.id]
            call.fail(self._too_late(call))
            if (stream := call.stream) is not None:
                stream.owed -= 1
                if stream.draining and not stream.owed:
                    self._end(stream, None)

    def _too_late(self, call: _Call) -> AntipodesError:
        if call.stream is None and (self._stream is None or not self._stream.connected):
            return unreachable(self._endpoint)
        what = "" if call.operation in READS else "; whether it was applied is unknown"
        return RequestTimeout(f"{self._endpoint} did not answer {call.operation} in time{what}")
