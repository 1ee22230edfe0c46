"""Batches of any size, cut into what one request may carry."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from antipodes.client.requests import chunks
from antipodes.client.retry import WAIT, Repeat
from antipodes.client.values import Item, decode_attributes
from antipodes.core import limits
from antipodes.core.errors import ServiceUnavailable

REQUESTS_IN_FLIGHT_MAX = 32
"""Of one batch: enough to keep a node busy, few enough to leave room for others."""

ATTEMPTS_MAX = 8

Encoded = dict[str, Any]
_Outcome = TypeVar("_Outcome")


class Caller(Protocol):
    """What a batch needs of a table."""

    name: str

    async def call(self, operation: str, body: bytes, repeat: Repeat) -> bytes:
        """Make one call that concerns the table."""
        ...


class _Unprocessed(Exception):
    """The node did a part, perhaps none, and asks to come again."""


async def write_batch(table: Caller, writes: Sequence[Encoded]) -> None:
    """Apply write requests, 25 at a time.

    Raises:
        AntipodesError: The first failure; others may have been applied.
    """

    async def write(part: list[Encoded]) -> None:
        left = part

        async def attempt() -> None:
            nonlocal left
            body = orjson.dumps({"RequestItems": {table.name: left}})
            answer = orjson.loads(await table.call("BatchWriteItem", body, Repeat.WRITE))
            left = (answer.get("UnprocessedItems") or {}).get(table.name, [])
            if left:
                raise _Unprocessed

        await _until_processed(attempt, lambda: f"{len(left)} writes were not processed")

    await _gather(write, chunks(writes, limits.BATCH_WRITE_REQUESTS_MAX))


async def read_batch(table: Caller, keys: Sequence[Encoded]) -> list[Item]:
    """Read items by their keys, 100 at a time.

    Raises:
        AntipodesError: The first failure.
    """

    async def read(part: list[Encoded]) -> list[Item]:
        left = part
        items: list[Item] = []

        async def attempt() -> None:
            nonlocal left
            while left:
                body = orjson.dumps({"RequestItems": {table.name: {"Keys": left}}})
                answer = orjson.loads(await table.call("BatchGetItem", body, Repeat.READ))
                found = answer.get("Responses", {}).get(table.name, [])
                items.extend(map(decode_attributes, found))
                unprocessed = answer.get("UnprocessedKeys") or {}
                left = unprocessed.get(table.name, {}).get("Keys", [])
                if left and not found:
                    raise _Unprocessed  # No progress; with progress the answer was just full.

        await _until_processed(attempt, lambda: f"{len(left)} keys were not processed")
        return items

    parts = await _gather(read, chunks(keys, limits.BATCH_GET_KEYS_MAX))
    return [item for part in parts for item in part]


async def _until_processed(
    attempt: Callable[[], Awaitable[None]], problem: Callable[[], str]
) -> None:
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_Unprocessed),
        stop=stop_after_attempt(ATTEMPTS_MAX),
        wait=WAIT,
        reraise=True,
    )
    try:
        await retrying(attempt)
    except _Unprocessed:
        raise ServiceUnavailable(f"{problem()} after {ATTEMPTS_MAX} attempts") from None


async def _gather(
    work: Callable[[list[Encoded]], Awaitable[_Outcome]], parts: Iterable[list[Encoded]]
) -> list[_Outcome]:
    """Do all parts, a bounded number at a time; when one fails the others are cancelled."""
    room = asyncio.Semaphore(REQUESTS_IN_FLIGHT_MAX)

    async def one(part: list[Encoded]) -> _Outcome:
        async with room:
            return await work(part)

    tasks = [asyncio.ensure_future(one(part)) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
