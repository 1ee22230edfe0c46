"""DynamoDB Streams and Global Tables on your own machines.

`connect` opens the SDK's synchronous client, `antipodes.aio.connect` the asynchronous one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from antipodes.core.errors import (
    AntipodesError,
    ConditionalCheckFailedException,
    InternalServerError,
    LimitExceededException,
    Rejected,
    RequestTimeout,
    ResourceInUseException,
    ResourceNotFoundException,
    SerializationException,
    ServiceUnavailable,
    TrimmedDataAccessException,
    Unavailable,
    UnknownOperationException,
    ValidationException,
)

if TYPE_CHECKING:
    from antipodes import aio
    from antipodes.client.sync import Client, connect
    from antipodes.client.sync_table import Items, Records, Table
    from antipodes.client.types import (
        KeyNames,
        QueryPage,
        Region,
        Replica,
        StreamRecord,
        TableDescription,
    )

__all__ = [
    "AntipodesError",
    "Client",
    "ConditionalCheckFailedException",
    "InternalServerError",
    "Items",
    "KeyNames",
    "LimitExceededException",
    "QueryPage",
    "Records",
    "Region",
    "Rejected",
    "Replica",
    "RequestTimeout",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "SerializationException",
    "ServiceUnavailable",
    "StreamRecord",
    "Table",
    "TableDescription",
    "TrimmedDataAccessException",
    "Unavailable",
    "UnknownOperationException",
    "ValidationException",
    "aio",
    "connect",
]

# Loaded when first asked for: the core and the simulator share this package and need no network.
_HOMES = {
    "Client": "antipodes.client.sync",
    "connect": "antipodes.client.sync",
    "Items": "antipodes.client.sync_table",
    "Records": "antipodes.client.sync_table",
    "Table": "antipodes.client.sync_table",
    "KeyNames": "antipodes.client.types",
    "QueryPage": "antipodes.client.types",
    "Region": "antipodes.client.types",
    "Replica": "antipodes.client.types",
    "StreamRecord": "antipodes.client.types",
    "TableDescription": "antipodes.client.types",
}


def __getattr__(name: str) -> Any:
    if name == "aio":
        return import_module("antipodes.aio")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'antipodes' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
