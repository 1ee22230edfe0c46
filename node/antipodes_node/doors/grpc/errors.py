"""How a call ends: with the service's answer, or with one of our errors."""

from collections.abc import Awaitable
from typing import Any, NoReturn

import grpc
import grpc.aio
import orjson
import structlog

from antipodes.core.errors import AntipodesError, InternalServerError
from antipodes.wire import errors as wire_errors

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the status and the details of an error.

    What is not one of ours is logged and becomes an internal error; the process lives on.
    """
    if not isinstance(error, AntipodesError):
        log.error("call_failed", exc_info=error)
        error = InternalServerError(f"internal error: {type(error).__name__}")
    status = wire_errors.to_status(error)
    await context.abort(
        wire_errors.status_code(error),
        status.message,
        ((wire_errors.DETAILS_KEY, status.SerializeToString()),),
    )


async def answered(context: Context, call: Awaitable[bytes]) -> dict[str, Any]:
    """Wait for the service's printed answer and parse it; end the call if it is refused."""
    try:
        answer: dict[str, Any] = orjson.loads(await call)
    except Exception as error:
        await abort(context, error)
    return answer
