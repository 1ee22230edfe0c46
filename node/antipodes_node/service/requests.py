"""What requests are, and which of their members this version cannot honour."""

from collections.abc import Mapping
from typing import Any

from antipodes.core.errors import ValidationException

Request = Mapping[str, Any]
"""A request in DynamoDB's JSON shape; its operation's model holds for it."""

_UNSUPPORTED = {
    "Query": ("IndexName",),
    "Scan": ("IndexName",),
    "CreateTable": (
        "LocalSecondaryIndexes", "GlobalSecondaryIndexes", "SSESpecification", "Tags", "TableClass",
        "DeletionProtectionEnabled", "ResourcePolicy", "GlobalTableSourceArn",
        "GlobalTableSettingsReplicationMode",
    ),
    "UpdateTable": (
        "AttributeDefinitions", "GlobalSecondaryIndexUpdates", "StreamSpecification",
        "SSESpecification", "TableClass", "DeletionProtectionEnabled", "MultiRegionConsistency",
        "GlobalTableWitnessUpdates", "GlobalTableSettingsReplicationMode", "BillingMode",
        "ProvisionedThroughput", "OnDemandThroughput", "WarmThroughput",
    ),
}  # fmt: skip
"""Members that would change what is done: they are refused, never dropped in silence. Others that
are not used here (billing, metrics of collections) change nothing but the bill."""


def check_supported(operation: str, request: Request) -> None:
    """Refuse a request that asks for something this version does not have.

    Raises:
        ValidationException: Names the member.
    """
    for name in _UNSUPPORTED.get(operation, ()):
        if request.get(name) is not None:
            raise ValidationException(
                f"{operation} does not support the parameter {name} in this version"
            )
