"""What the SDK hands out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from antipodes.client.values import Item, decode_attributes
from antipodes.core.regions import Coordinates
from antipodes.v1 import router_pb2, streams_pb2


@dataclass(frozen=True, slots=True)
class KeyNames:
    """The names of a table's key attributes.

    Attributes:
        partition: Of the partition key.
        sort: Of the sort key; None when the table has none.
    """

    partition: str
    sort: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """A copy of a table in another region.

    Attributes:
        region: Where it is.
        status: CREATING, UPDATING, DELETING or ACTIVE.
    """

    region: str
    status: str


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table as one region sees it.

    Attributes:
        name: Of the table.
        status: CREATING, UPDATING, DELETING or ACTIVE.
        key: Names of the key attributes.
        key_types: S, N or B by name of the key attribute.
        arn: The table's name for all the world.
        id: The same in all regions; a table made anew under the same name has another.
        created: When.
        item_count: Items in the region that answered.
        size_bytes: Their size.
        stream_view_type: What stream records show; None when there is no stream.
        stream_arn: Of the newest stream; None when there never was one.
        replicas: The other regions that hold the table.
    """

    name: str
    status: str
    key: KeyNames
    key_types: Mapping[str, str]
    arn: str
    id: str
    created: datetime
    item_count: int
    size_bytes: int
    stream_view_type: str | None = None
    stream_arn: str | None = None
    replicas: tuple[Replica, ...] = ()

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "TableDescription":
        """Read DynamoDB's TableDescription."""
        names = {e["KeyType"]: e["AttributeName"] for e in table["KeySchema"]}
        stream = table.get("StreamSpecification") or {}
        return cls(
            name=table["TableName"],
            status=table["TableStatus"],
            key=KeyNames(names["HASH"], names.get("RANGE")),
            key_types={
                d["AttributeName"]: d["AttributeType"] for d in table["AttributeDefinitions"]
            },
            arn=table.get("TableArn", ""),
            id=table.get("TableId", ""),
            created=datetime.fromtimestamp(table.get("CreationDateTime", 0), UTC),
            item_count=table.get("ItemCount", 0),
            size_bytes=table.get("TableSizeBytes", 0),
            stream_view_type=stream.get("StreamViewType") if stream.get("StreamEnabled") else None,
            stream_arn=table.get("LatestStreamArn"),
            replicas=tuple(
                Replica(r["RegionName"], r.get("ReplicaStatus", ""))
                for r in table.get("Replicas", ())
            ),
        )


@dataclass(frozen=True, slots=True)
class QueryPage:
    """What one Query or Scan request brought.

    Attributes:
        items: In native values.
        last_evaluated_key: Where the next page starts after; None when this is the last.
        scanned_count: Items that the node looked at.
    """

    items: list[Item]
    last_evaluated_key: Item | None
    scanned_count: int


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One durable change of one item.

    Attributes:
        event_id: Unique name of the record.
        event_name: INSERT, MODIFY or REMOVE.
        keys: Primary key of the item.
        new_image: The item after the change; None when removed, or not part of the view.
        old_image: The item before the change; None when there was none, or not part of the view.
        sequence_number: Its position in this region's stream.
        shard_id: The shard it belongs to.
        created: When this region committed the change, to the second.
        origin_region: The region that accepted the write.
        region: The region whose stream this is.
        size_bytes: Of keys and images.
        view_type: KEYS_ONLY, NEW_IMAGE, OLD_IMAGE or NEW_AND_OLD_IMAGES.
        user_identity: Who made the change when it was the service itself, for example expiry.
    """

    event_id: str
    event_name: str
    keys: Item
    new_image: Item | None
    old_image: Item | None
    sequence_number: str
    shard_id: str
    created: datetime
    origin_region: str
    region: str
    size_bytes: int
    view_type: str
    user_identity: Mapping[str, str] | None = None

    @classmethod
    def from_message(cls, message: streams_pb2.StreamRecord) -> "StreamRecord":
        """Read a record from the wire."""
        record = orjson.loads(message.json)
        change = record["dynamodb"]
        new, old = change.get("NewImage"), change.get("OldImage")
        return cls(
            event_id=record["eventID"],
            event_name=record["eventName"],
            keys=decode_attributes(change["Keys"]),
            new_image=None if new is None else decode_attributes(new),
            old_image=None if old is None else decode_attributes(old),
            sequence_number=message.sequence_number,
            shard_id=message.shard_id,
            created=datetime.fromtimestamp(change["ApproximateCreationDateTime"], UTC),
            origin_region=message.origin_region,
            region=record.get("awsRegion", ""),
            size_bytes=change["SizeBytes"],
            view_type=change["StreamViewType"],
            user_identity=record.get("userIdentity"),
        )


@dataclass(frozen=True, slots=True)
class Region:
    """A region as the router sees it.

    Attributes:
        name: Of the region.
        coordinates: Where it lies.
        healthy: Its node answers health checks.
        available: Healthy and caught up: gets traffic.
        round_trip_ms: The router's own round trip; None when unknown.
        distance_km: From the coordinates that were asked for; None when there were none.
        address: Where its node answers gRPC, as the router reaches it.
        reason: Why it gets no traffic; empty when it does.
    """

    name: str
    coordinates: Coordinates
    healthy: bool = False
    available: bool = False
    round_trip_ms: float | None = None
    distance_km: float | None = None
    address: str = field(default="", compare=False)
    reason: str = ""

    @classmethod
    def from_message(cls, message: router_pb2.RegionStatus) -> "Region":
        """Read a region from the wire."""
        return cls(
            name=message.region,
            coordinates=Coordinates(message.coordinates.latitude, message.coordinates.longitude),
            healthy=message.healthy,
            available=message.available,
            round_trip_ms=None if message.round_trip_ms < 0 else message.round_trip_ms,
            distance_km=None if message.distance_km < 0 else message.distance_km,
            address=message.address,
            reason=message.reason,
        )
