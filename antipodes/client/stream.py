"""Following the stream of a table."""

import asyncio
from collections import deque
from typing import Any, Protocol, Self

from grpc import aio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from antipodes.client.pipeline import SERVED_BY_KEY
from antipodes.client.retry import WAIT, Repeat, may_repeat, unreachable
from antipodes.client.session import FAILOVER_KEY, FAILOVER_NEVER, REGION_KEY, Session, Wish
from antipodes.client.types import StreamRecord
from antipodes.core.errors import AntipodesError, ServiceUnavailable, ValidationException
from antipodes.v1 import streams_pb2, streams_pb2_grpc
from antipodes.wire import errors as wire_errors

Start = str
"""Where to begin: "beginning", "now", or a sequence number to begin after."""


class Caller(Protocol):
    """What a subscription needs of a client."""

    session: Session

    async def wish(self) -> Wish:
        """Give which region is preferred, chosen by now."""
        ...


class AsyncRecords:
    """The records of one table in one region, in the order in which the region made them.

    An endless asynchronous iterator. A broken connection is opened again after the last position;
    nothing is lost and nothing comes twice. A position means nothing in another region: once a
    region was chosen the iterator stays with it, and waits while it is away.

    Args:
        caller: The client.
        region: Which region it must be; None leaves it to the client's preference.
        stream: Table name or ARN of a stream.
        start: Where to begin.
        patience_s: How long to wait for a region that went away; None means for ever. A first
            connection is given up as soon as any other call would be.
    """

    def __init__(
        self,
        caller: Caller,
        region: str | None,
        stream: str,
        start: Start,
        patience_s: float | None,
    ) -> None:
        self.position: str | None = None if start in ("beginning", "now") else start
        """All records up to this sequence number have been handed out; None before the first."""
        self.region: str | None = region
        """Whose stream it is; None until known, or straight at a node."""
        self._caller = caller
        self._session = caller.session
        self._stream = stream
        self._start = start
        self._patience_s = patience_s
        self._batch: deque[StreamRecord] = deque()
        self._batch_position: str | None = self.position
        self._rpc: Any = None
        self._ready = False
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamRecord:
        while not self._batch:
            if not await self._receive():
                raise StopAsyncIteration
        return self._pop()

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def ready(self) -> None:
        """Wait until the subscription stands: what is written from now on will come.

        Raises:
            ResourceNotFoundException: The table does not exist or has no stream.
            TrimmedDataAccessException: The records after the start are no longer kept.
            ServiceUnavailable: Nothing answers.
        """
        while not self._ready and await self._receive():
            pass

    async def next_batch(self) -> list[StreamRecord]:
        """Give the records that are there, waiting for the first; none when it was closed."""
        while not self._batch:
            if not await self._receive():
                return []
        return [self._pop() for _ in range(len(self._batch))]

    async def aclose(self) -> None:
        """End the subscription; the iterator then stops."""
        self._closed = True
        self._batch.clear()
        if self._rpc is not None:
            self._rpc.cancel()

    def _pop(self) -> StreamRecord:
        record = self._batch.popleft()
        self.position = record.sequence_number if self._batch else self._batch_position
        return record

    async def _receive(self) -> bool:
        """Take one response; False when closed.

        Opens the subscription again as often as it takes: the first response comes at once, so that
        the failures of one call here are one absence.
        """
        clock = asyncio.get_running_loop().time
        away_since = 0.0

        def must_stop(state: RetryCallState) -> bool:
            nonlocal away_since
            if state.attempt_number == 1:
                away_since = clock()
            if not self._ready:
                return state.attempt_number >= self._session.attempts_max
            return self._patience_s is not None and clock() - away_since >= self._patience_s

        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda e: isinstance(e, AntipodesError) and may_repeat(e, Repeat.READ)
            ),
            stop=must_stop,
            wait=WAIT,
            reraise=True,
        )
        response: streams_pb2.SubscribeResponse | None = await retrying(self._receive_once)
        if response is None:
            return False
        self._batch.extend(map(StreamRecord.from_message, response.records))
        self._batch_position = response.position or self._batch_position
        if not self._batch:
            self.position = self._batch_position
        self._ready = True
        return True

    async def _receive_once(self) -> streams_pb2.SubscribeResponse | None:
        if self._closed:
            return None
        try:
            if self._rpc is None:
                self._rpc = self._subscribe(await self._caller.wish())
                await self._check_region(self._rpc)
            response: object = await self._rpc.read()
        except aio.AioRpcError as error:
            self._rpc = None
            raise self._explain(error) from error
        except asyncio.CancelledError:
            # The caller gave up, or `aclose` came, or an earlier reader was interrupted and took
            # the call with it; the call is over in any case.
            self._rpc = None
            if _cancelling():
                raise
            if self._is_closed():
                return None
            raise ServiceUnavailable(f"the stream of {self._stream} was interrupted") from None
        if not isinstance(response, streams_pb2.SubscribeResponse):  # The end.
            self._rpc = None
            raise ServiceUnavailable(f"the stream of {self._stream} was ended")
        return response

    def _is_closed(self) -> bool:
        return self._closed  # A method: the type checker believes that a member stays as it was.

    def _subscribe(self, wish: Wish) -> Any:
        if self._batch_position is not None and self.region is None:
            self.region = wish.region
        request = streams_pb2.SubscribeRequest(stream=self._stream)
        if self._batch_position is not None:
            request.after_sequence_number = self._batch_position
        elif self._start == "now":
            request.now.SetInParent()
        else:
            request.beginning.SetInParent()
        if self.region is not None:
            metadata: tuple[tuple[str, str], ...] = (
                (REGION_KEY, self.region), (FAILOVER_KEY, FAILOVER_NEVER),
            )  # fmt: skip
        else:
            metadata = wish.metadata(failover=self._session.failover)
        stub = streams_pb2_grpc.StreamsStub(self._session.channel())
        return stub.Subscribe(request, metadata=metadata)

    async def _check_region(self, rpc: Any) -> None:
        """Learn which region answers, and refuse another one than before.

        Raises:
            ValidationException: The position is not one of this region.
        """
        metadata = dict(await rpc.initial_metadata() or ())
        region = metadata.get(SERVED_BY_KEY)
        if region is None:
            return  # Straight at a node, or the call failed: then reading says why.
        if self.region is None and self._batch_position is not None:
            problem = f"start after {self._batch_position} names no region"
        elif self.region not in (None, region):
            problem = f"{self._batch_position} is a position in {self.region}, {region} answered"
        else:
            self.region = region
            return
        rpc.cancel()
        self._rpc = None
        raise ValidationException(
            f"{problem}; a sequence number is only valid in the region it came from:"
            " choose it with table.stream(start=..., region=...)"
        )

    def _explain(self, error: aio.AioRpcError) -> AntipodesError:
        known = wire_errors.from_call(error)
        if not isinstance(known, ServiceUnavailable):
            return known
        if not self._ready and "failed to connect" in known.message:
            return unreachable(self._session.endpoint)
        if self.region is None:
            return known
        return ServiceUnavailable(
            f"region {self.region} does not serve the stream of {self._stream} now"
            f" ({known}); its position was {self._batch_position}, and it is only valid there"
        )


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
