"""Errors as DynamoDB's HTTP protocol shows them."""

from typing import Any

import orjson
import structlog

from antipodes.core.errors import AntipodesError, InternalServerError

log = structlog.get_logger()

_MODELLED = "com.amazonaws.dynamodb.v20120810#"
_VALIDATION = "com.amazon.coral.validate#"
_SERVICE = "com.amazon.coral.service#"

_NAMESPACES = {
    "ValidationException": _VALIDATION,
    "SerializationException": _SERVICE,
    "UnknownOperationException": _SERVICE,
    "UnrecognizedClientException": _SERVICE,
    "MissingAuthenticationTokenException": _SERVICE,
    "IncompleteSignatureException": _SERVICE,
    "InvalidSignatureException": _SERVICE,
    "AccessDeniedException": _SERVICE,
    "ServiceUnavailable": _SERVICE,
}
"""What stands before the code; modelled errors have DynamoDB's own. Source: dynalite, the
developer guide's "Low-level API"."""

_CAPITAL_MESSAGE = frozenset(
    {
        "SerializationException",
        "TransactionCanceledException",
        "TransactionInProgressException",
        "IdempotentParameterMismatchException",
    }
)
"""Errors whose text is called ``Message``."""


def print_error(error: Exception) -> tuple[int, bytes]:
    """Print an error as a response.

    What is not one of ours is logged and becomes an internal error.

    Returns:
        The HTTP status, and the body.
    """
    if not isinstance(error, AntipodesError):
        log.error("call_failed", exc_info=error)
        error = InternalServerError(f"internal error: {type(error).__name__}")
    code = error.code
    body: dict[str, Any] = {"__type": _NAMESPACES.get(code, _MODELLED) + code}
    if error.message:
        body["Message" if code in _CAPITAL_MESSAGE else "message"] = error.message
    body |= error.members()
    return error.http_status, orjson.dumps(body)
