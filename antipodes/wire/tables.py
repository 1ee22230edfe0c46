"""Table requests and descriptions: DynamoDB's JSON shape to protobuf and back."""

from typing import Any

from antipodes.v1 import tables_pb2 as pb

_PREFIX_OF = {
    "TableStatus": "TABLE_STATUS_",
    "ReplicaStatus": "REPLICA_STATUS_",
    "AttributeType": "SCALAR_ATTRIBUTE_TYPE_",
    "KeyType": "KEY_TYPE_",
    "StreamViewType": "STREAM_VIEW_TYPE_",
}


def enum_name(enum: Any, number: int) -> str:
    """Give an enum value DynamoDB's name.

    Args:
        enum: An enum of ours; its values are named after it.
        number: A value; one that this version does not know is printed as a number.
    """
    values = enum.DESCRIPTOR.values_by_number
    if number not in values:
        return str(number)
    name: str = values[number].name
    return name.removeprefix(values[0].name.removesuffix("UNSPECIFIED"))


def create_to_json(request: pb.CreateTableRequest) -> dict[str, Any]:
    """Give a CreateTable request the JSON shape."""
    shaped: dict[str, Any] = {
        "TableName": request.table_name,
        "AttributeDefinitions": [
            {
                "AttributeName": d.attribute_name,
                "AttributeType": enum_name(pb.ScalarAttributeType, d.attribute_type),
            }
            for d in request.attribute_definitions
        ],
        "KeySchema": [
            {
                "AttributeName": e.attribute_name,
                "KeyType": enum_name(pb.KeyType, e.key_type),
            }
            for e in request.key_schema
        ],
        "Replicas": [{"RegionName": region} for region in request.replica_regions],
    }
    if request.HasField("stream_specification"):
        specification = request.stream_specification
        view_type = enum_name(pb.StreamViewType, specification.stream_view_type)
        asked: dict[str, Any] = {"StreamEnabled": specification.stream_enabled}
        if specification.stream_view_type:
            asked["StreamViewType"] = view_type
        shaped["StreamSpecification"] = asked
    return shaped


def update_to_json(request: pb.UpdateTableRequest) -> dict[str, Any]:
    """Give an UpdateTable request the JSON shape."""
    return {
        "TableName": request.table_name,
        "ReplicaUpdates": [
            {"Create": {"RegionName": update.create.region_name}}
            for update in request.replica_updates
            if update.HasField("create")
        ],
    }


def description_to_wire(described: dict[str, Any]) -> pb.TableDescription:
    """Print a table description of JSON shape."""
    wire = pb.TableDescription(
        table_name=described["TableName"],
        table_status=pb.TableStatus.Value(_PREFIX_OF["TableStatus"] + described["TableStatus"]),
        attribute_definitions=[
            pb.AttributeDefinition(
                attribute_name=d["AttributeName"],
                attribute_type=pb.ScalarAttributeType.Value(
                    _PREFIX_OF["AttributeType"] + d["AttributeType"]
                ),
            )
            for d in described["AttributeDefinitions"]
        ],
        key_schema=[
            pb.KeySchemaElement(
                attribute_name=e["AttributeName"],
                key_type=pb.KeyType.Value(_PREFIX_OF["KeyType"] + e["KeyType"]),
            )
            for e in described["KeySchema"]
        ],
        table_arn=described["TableArn"],
        table_id=described["TableId"],
        creation_date_time=described["CreationDateTime"],
        item_count=described["ItemCount"],
        table_size_bytes=described["TableSizeBytes"],
        latest_stream_arn=described.get("LatestStreamArn", ""),
        latest_stream_label=described.get("LatestStreamLabel", ""),
        global_table_version=described.get("GlobalTableVersion", ""),
        replicas=[
            pb.ReplicaDescription(
                region_name=r["RegionName"],
                replica_status=pb.ReplicaStatus.Value(
                    _PREFIX_OF["ReplicaStatus"] + r["ReplicaStatus"]
                ),
                replica_arn=r["ReplicaArn"],
            )
            for r in described.get("Replicas", ())
        ],
    )
    if specification := described.get("StreamSpecification"):
        wire.stream_specification.CopyFrom(
            pb.StreamSpecification(
                stream_enabled=specification["StreamEnabled"],
                stream_view_type=pb.StreamViewType.Value(
                    _PREFIX_OF["StreamViewType"] + specification["StreamViewType"]
                ),
            )
        )
    return wire
