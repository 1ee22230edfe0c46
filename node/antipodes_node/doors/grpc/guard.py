"""What surrounds every call: whatever happens, it ends with an answer or one of our errors."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from antipodes.core.errors import (
    AntipodesError,
    InternalServerError,
    SerializationException,
    ValidationException,
)
from antipodes.wire import errors as wire_errors

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

MESSAGE_BYTES_MAX = 1024
"""Of an error's text: it travels in HTTP/2 headers, of which clients accept 8 KiB in all."""


def ours(error: Exception) -> AntipodesError:
    """Give the error to answer with; what is not one of ours is logged and hidden."""
    if isinstance(error, AntipodesError):
        return error
    if isinstance(error, DecodeError):
        # Protobuf stops at 100 messages within each other, 32 maps need up to 102.
        if "MaxDepth" in str(error):
            return ValidationException("Nesting Levels have exceeded supported limits")
        return SerializationException("the message is not one of this method")
    log.error("call_failed", exc_info=error)
    return InternalServerError(f"internal error: {type(error).__name__}")


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the status and the details of an error."""
    known = ours(error)
    text = str(known).encode()
    if len(text) > MESSAGE_BYTES_MAX:  # what is wrong stands at the end, a value in the middle
        half = MESSAGE_BYTES_MAX // 2
        ends = (text[:half].decode(errors="ignore"), text[-half:].decode(errors="ignore"))
        known = type(known)("...".join(ends))
    status = wire_errors.to_status(known)
    await context.abort(
        wire_errors.status_code(known),
        status.message,
        ((wire_errors.DETAILS_KEY, status.SerializeToString()),),
    )


def deadline_of(context: Context) -> float:
    """Give when the client stops waiting, by `time.monotonic`."""
    seconds: float | None = context.time_remaining()
    return float("inf") if seconds is None else time.monotonic() + seconds


class GuardedServer:
    """Stands before a server while servicers are added: puts a guard around each unary call.

    Args:
        server: Where the guarded methods go.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignore them: the same methods come by name."""

    def add_registered_method_handlers(
        self, service: str, methods: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Add the methods of one service."""
        guarded = {name: _guarded(method) for name, method in methods.items()}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, guarded),)
        )


def _guarded(method: Any) -> Any:
    if method.unary_unary is None:
        return method
    behaviour: Callable[[Any, Context], Awaitable[Any]] = method.unary_unary
    parse: Callable[[bytes], Any] = method.request_deserializer

    def parse_or_keep(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError as error:
            return error

    async def call(request: Any, context: Context) -> Any:
        try:
            if isinstance(request, DecodeError):
                raise request
            return await behaviour(request, context)
        except Exception as error:
            await abort(context, error)

    return method._replace(unary_unary=call, request_deserializer=parse_or_keep)
