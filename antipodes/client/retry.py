"""What may be repeated, and when.

| the failed attempt           | read | put, delete, batch write | the rest |
|------------------------------|------|--------------------------|----------|
| was never sent               | yes  | yes                      | yes      |
| was refused before it began  | yes  | yes                      | yes      |
| outcome unknown              | yes  | yes                      | no       |
| rejected                     | no   | no                       | no       |

A put or delete without a condition leaves the same item behind however often it is applied. One
that returns the old item is among the rest: a second attempt would return what the first one wrote.
"""

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
    wait_random,
)

from antipodes.core.errors import AntipodesError, InternalServerError, ServiceUnavailable

Outcome = TypeVar("Outcome")

ATTEMPTS_MAX = 8
"""About three seconds of waiting in all: longer than a router needs to move traffic elsewhere."""

WAIT = wait_exponential(multiplier=0.05, max=1.0) + wait_random(0, 0.05)
"""Seconds between attempts: 0.05, 0.1, 0.2 ... 1, each with up to 0.05 more."""


class Repeat(Enum):
    """How a call behaves when it is made twice."""

    READ = auto()
    """Changes nothing."""
    WRITE = auto()
    """Leaves the same behind."""
    ONCE = auto()
    """Must not be applied twice."""


def may_repeat(error: AntipodesError, repeat: Repeat) -> bool:
    """Tell whether a call that failed with this error may be made again."""
    return error.retryable and (error.applied is False or repeat is not Repeat.ONCE)


def unreachable(endpoint: str) -> ServiceUnavailable:
    """Say that nothing answers at an endpoint."""
    return ServiceUnavailable(
        f"no router or node answers at {endpoint}; is `antipodes up` running?"
    )


async def repeat_call(
    attempt: Callable[[], Awaitable[Outcome]],
    error: AntipodesError,
    repeat: Repeat,
    *,
    attempts_max: int,
    deadline: float,
    clock: Callable[[], float],
) -> Outcome:
    """Go on after a first attempt failed.

    Args:
        attempt: Makes the call once.
        error: Why the first attempt failed.
        repeat: What may be repeated.
        attempts_max: The first one included.
        deadline: No attempt begins after it; on the clock.
        clock: Monotonic, in seconds.

    Returns:
        What the first successful attempt returned.

    Raises:
        AntipodesError: The last one. Where an earlier attempt may have been applied it says so.
    """
    failed: list[AntipodesError] = [error]
    pending: AntipodesError | None = error

    async def next_attempt() -> Outcome:
        nonlocal pending
        if pending is not None:  # The first one was made before.
            known, pending = pending, None
            raise known
        try:
            return await attempt()
        except AntipodesError as latest:
            failed.append(latest)
            raise

    def must_stop(state: RetryCallState) -> bool:
        return state.attempt_number >= attempts_max or clock() + state.upcoming_sleep >= deadline

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda e: isinstance(e, AntipodesError) and may_repeat(e, repeat)),
        stop=must_stop,
        wait=WAIT,
        reraise=True,
    )
    try:
        return await retrying(next_attempt)
    except AntipodesError as last:
        unknown = any(earlier.applied is None for earlier in failed[:-1])
        if repeat is Repeat.WRITE and unknown and last.applied is False and last.retryable:
            raise InternalServerError(f"{last}; an earlier attempt may have been applied") from last
        raise
