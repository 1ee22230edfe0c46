"""What can go wrong, as one tree.

    AntipodesError
    ├── Rejected                            change the request
    │   ├── ValidationException
    │   ├── SerializationException
    │   ├── UnknownOperationException
    │   ├── ResourceNotFoundException
    │   ├── ResourceInUseException
    │   ├── LimitExceededException
    │   ├── ConditionalCheckFailedException
    │   ├── TransactionCanceledException
    │   ├── IdempotentParameterMismatchException
    │   ├── DuplicateItemException
    │   └── TrimmedDataAccessException
    ├── Unavailable                         try again, here or in another region
    │   ├── ServiceUnavailable              nothing was done
    │   ├── RequestTimeout                  the outcome of a write is unknown
    │   └── InternalServerError             the outcome of a write is unknown
    └── Corrupt                             stop serving

Codes are DynamoDB's where DynamoDB has one; they are stable, messages may change. The wire carries
the code, so both doors and the SDK meet the same class. Source: DynamoDB developer guide, "Error
handling with DynamoDB".
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson


class AntipodesError(Exception):
    """Anything that this system reports on purpose.

    Attributes:
        code: Stable name for the wire.
        http_status: What DynamoDB's HTTP protocol answers with.
        retryable: The same request may succeed later.
        applied: False: nothing was done. None: the outcome of a write is unknown.
        message: Text for a person.
    """

    code: ClassVar[str] = "InternalServerError"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    applied: ClassVar[bool | None] = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message or self.code

    def members(self) -> dict[str, Any]:
        """Give what DynamoDB's answer carries beside code and message, in its JSON shape."""
        return {}


class Rejected(AntipodesError):
    """The request cannot succeed as it is."""

    code = "ValidationException"
    http_status = 400


class ValidationException(Rejected):
    """The request breaks a rule that holds whatever is stored."""

    code = "ValidationException"


class SerializationException(Rejected):
    """The request is not JSON of the right shape."""

    code = "SerializationException"


class UnknownOperationException(Rejected):
    """There is no operation of that name."""

    code = "UnknownOperationException"


class ResourceNotFoundException(Rejected):
    """The table or stream does not exist in this region."""

    code = "ResourceNotFoundException"


class ResourceInUseException(Rejected):
    """The table exists already, or is being changed."""

    code = "ResourceInUseException"


class LimitExceededException(Rejected):
    """Too many tables or control-plane operations."""

    code = "LimitExceededException"


class ConditionalCheckFailedException(Rejected):
    """The stored item does not fulfil the condition.

    Args:
        message: Text for a person.
        item: The stored item in DynamoDB's JSON, when it was asked for and there is one.
    """

    code = "ConditionalCheckFailedException"

    def __init__(
        self, message: str = "The conditional request failed", item: bytes | None = None
    ) -> None:
        super().__init__(message)
        self.item = item

    def members(self) -> dict[str, Any]:
        """Give the item."""
        return {} if self.item is None else {"Item": orjson.loads(self.item)}


class TransactionCanceledException(Rejected):
    """At least one action of a transaction cannot be done, so none was.

    Args:
        message: Text for a person.
        reasons: One for each action, in DynamoDB's JSON shape.
    """

    code = "TransactionCanceledException"

    def __init__(self, message: str = "", reasons: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons

    @classmethod
    def because(cls, causes: Sequence[AntipodesError | None]) -> "TransactionCanceledException":
        """Build the error from what each action ran into; None for those that could be done."""
        reasons = [_reason(cause) for cause in causes]
        codes = ", ".join(reason["Code"] for reason in reasons)
        return cls(
            "Transaction cancelled, please refer cancellation reasons for specific reasons"
            f" [{codes}]",
            reasons,
        )

    def members(self) -> dict[str, Any]:
        """Give the reasons."""
        return {"CancellationReasons": list(self.reasons)}


def _reason(cause: AntipodesError | None) -> dict[str, Any]:
    if cause is None:
        return {"Code": "None"}
    code = "ValidationError" if isinstance(cause, ValidationException) else cause.code
    return {
        "Code": code.removesuffix("Exception"), "Message": cause.message, **cause.members(),
    }  # fmt: skip


class IdempotentParameterMismatchException(Rejected):
    """The token of a transaction was used before, with other parameters."""

    code = "IdempotentParameterMismatchException"


class DuplicateItemException(Rejected):
    """A PartiQL INSERT meets an item that is there already."""

    code = "DuplicateItemException"


class TrimmedDataAccessException(Rejected):
    """The part of the stream that was asked for is no longer kept."""

    code = "TrimmedDataAccessException"


class Unavailable(AntipodesError):
    """The node cannot do it now."""

    code = "ServiceUnavailable"
    http_status = 503
    retryable = True


class ServiceUnavailable(Unavailable):
    """The node refused before it did anything; another region may serve the request."""

    code = "ServiceUnavailable"


class RequestTimeout(Unavailable):
    """No answer within the deadline."""

    code = "RequestTimeout"
    http_status = 500
    applied = None


class InternalServerError(Unavailable):
    """Something broke on the way; a write may or may not have been applied."""

    code = "InternalServerError"
    http_status = 500
    applied = None


class Corrupt(AntipodesError):
    """Stored data fails its checksum or has an unknown format; it must not be served."""

    code = "InternalServerError"
    http_status = 500


def _leaves(cls: type[AntipodesError]) -> list[type[AntipodesError]]:
    below = [leaf for child in cls.__subclasses__() for leaf in _leaves(child)]
    return below or [cls]


BY_CODE: dict[str, type[AntipodesError]] = {
    leaf.code: leaf for leaf in _leaves(AntipodesError) if leaf is not Corrupt
}


def error_for(code: str, message: str) -> AntipodesError:
    """Build the error that a code from the wire stands for.

    Args:
        code: A DynamoDB error code; an unknown one gives the base class.
        message: Text for a person.
    """
    return BY_CODE.get(code, AntipodesError)(message)
