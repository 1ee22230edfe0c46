"""Errors on the wire: `google.rpc.Status` with an `ErrorInfo` whose reason is DynamoDB's code."""

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from antipodes.core.errors import (
    AntipodesError,
    ConditionalCheckFailedException,
    Corrupt,
    DuplicateItemException,
    IdempotentParameterMismatchException,
    InternalServerError,
    LimitExceededException,
    RequestTimeout,
    ResourceInUseException,
    ResourceNotFoundException,
    SerializationException,
    ServiceUnavailable,
    TransactionCanceledException,
    TrimmedDataAccessException,
    UnknownOperationException,
    ValidationException,
    error_for,
)
from antipodes.v1 import types_pb2

DOMAIN = "dynamodb.amazonaws.com"
DETAILS_KEY = "grpc-status-details-bin"

STATUS_OF: dict[type[AntipodesError], grpc.StatusCode] = {
    ValidationException: grpc.StatusCode.INVALID_ARGUMENT,
    SerializationException: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownOperationException: grpc.StatusCode.UNIMPLEMENTED,
    ResourceNotFoundException: grpc.StatusCode.NOT_FOUND,
    ResourceInUseException: grpc.StatusCode.FAILED_PRECONDITION,
    LimitExceededException: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ConditionalCheckFailedException: grpc.StatusCode.FAILED_PRECONDITION,
    TransactionCanceledException: grpc.StatusCode.ABORTED,
    IdempotentParameterMismatchException: grpc.StatusCode.INVALID_ARGUMENT,
    DuplicateItemException: grpc.StatusCode.ALREADY_EXISTS,
    TrimmedDataAccessException: grpc.StatusCode.OUT_OF_RANGE,
    ServiceUnavailable: grpc.StatusCode.UNAVAILABLE,
    RequestTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    InternalServerError: grpc.StatusCode.INTERNAL,
    Corrupt: grpc.StatusCode.DATA_LOSS,
}
"""One gRPC status for each error."""

_WITHOUT_DETAILS = {
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: RequestTimeout,
    grpc.StatusCode.INVALID_ARGUMENT: ValidationException,
    grpc.StatusCode.UNIMPLEMENTED: UnknownOperationException,
}


def status_code(error: AntipodesError) -> grpc.StatusCode:
    """Give the gRPC status of an error."""
    return STATUS_OF.get(type(error), grpc.StatusCode.INTERNAL)


def to_status(error: AntipodesError) -> status_pb2.Status:
    """Print an error as a Status."""
    info = error_details_pb2.ErrorInfo(
        reason=error.code, domain=DOMAIN, metadata={"retryable": str(error.retryable).lower()}
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    number: int = status_code(error).value[0]
    return status_pb2.Status(code=number, message=str(error), details=[detail])


def from_status(status: status_pb2.Status) -> AntipodesError | None:
    """Read an error from a Status; None when it carries no code of ours."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return error_for(info.reason, status.message)
    return None


def to_message(error: AntipodesError) -> types_pb2.Error:
    """Print an error that travels inside a stream."""
    return types_pb2.Error(
        code=error.code,
        message=str(error),
        retryable=error.retryable,
        status=to_status(error).SerializeToString(),
    )


def from_message(message: types_pb2.Error) -> AntipodesError:
    """Read an error that travelled inside a stream."""
    return error_for(message.code, message.message)


def from_call(error: grpc.aio.AioRpcError) -> AntipodesError:
    """Read the error of a failed call; what carries no details of ours is mapped by its status.

    A connection that broke gives ServiceUnavailable: whether a write was applied is then unknown,
    unless the call never left (the caller knows its own operation).
    """
    details_bytes = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    if isinstance(details_bytes, bytes):
        known = from_status(status_pb2.Status.FromString(details_bytes))
        if known is not None:
            return known
    code, details = error.code(), error.details() or ""
    return _WITHOUT_DETAILS.get(code, InternalServerError)(details or f"call failed: {code.name}")
