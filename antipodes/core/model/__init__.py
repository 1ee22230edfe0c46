"""The operations of DynamoDB and DynamoDB Streams, and whether a request has their shape.

``operations.json`` is made by ``tools/make_model.py``; nothing here knows a single operation,
except `own`, which holds the checks that the service words in its own way.
"""

from antipodes.core.model.check import check
from antipodes.core.model.schema import Operation, operations

__all__ = ["Operation", "check", "operations"]
