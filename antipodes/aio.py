"""The asynchronous SDK: ``antipodes.aio.connect``."""

from antipodes.client.aio import AsyncClient, connect
from antipodes.client.pages import AsyncItems
from antipodes.client.stream import AsyncRecords
from antipodes.client.table import AsyncTable

__all__ = ["AsyncClient", "AsyncItems", "AsyncRecords", "AsyncTable", "connect"]
