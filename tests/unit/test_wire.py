"""The core's values, errors and messages as protobuf and back."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core import errors, tailing
from antipodes.core.attributes import normal_attributes, normal_value
from antipodes.core.errors import AntipodesError, Corrupt, InternalServerError
from antipodes.core.keys import KeyAttribute, KeySchema
from antipodes.core.streams import open_stream
from antipodes.core.tables import VIEW_TYPES, Table, describe, parse_create_table
from antipodes.core.versions import Origin
from antipodes.v1 import admin_pb2, replication_pb2, tables_pb2, types_pb2
from antipodes.wire import errors as wire_errors
from antipodes.wire import replication as wire_replication
from antipodes.wire import tables as wire_tables
from antipodes.wire.attributes import attributes_to_json, fill, fill_attributes, to_json
from tests.unit.test_attributes import values


@given(values)
def test_value_survives_the_wire(value: dict[str, Any]) -> None:
    normal, _ = normal_value(value)
    target = types_pb2.AttributeValue()
    fill(target, normal)
    assert to_json(types_pb2.AttributeValue.FromString(target.SerializeToString())) == normal


@given(st.dictionaries(st.text(min_size=1, max_size=4), values, max_size=4))
def test_item_survives_the_wire(attributes: dict[str, Any]) -> None:
    normal, _ = normal_attributes(attributes)
    item = types_pb2.Item()
    fill_attributes(item.attributes, normal)
    back = types_pb2.Item.FromString(item.SerializeToString())
    assert attributes_to_json(back.attributes) == normal


def test_all_ten_types_have_a_place_on_the_wire() -> None:
    by_type: dict[str, Any] = {
        "S": "", "N": "0", "B": b64encode(b"\0").decode(), "BOOL": False, "NULL": True, "M": {},
        "L": [], "SS": [""], "NS": ["0"], "BS": [""],
    }  # fmt: skip
    for kind, content in by_type.items():
        target = types_pb2.AttributeValue()
        fill(target, {kind: content})
        assert target.WhichOneof("value") is not None
        assert to_json(target) == {kind: content}


def test_value_without_a_type_is_for_the_core_to_refuse() -> None:
    assert to_json(types_pb2.AttributeValue()) == {}


def leaves(cls: type[AntipodesError] = AntipodesError) -> Iterator[type[AntipodesError]]:
    below = cls.__subclasses__()
    for child in below:
        yield from leaves(child)
    if not below:
        yield cls


LEAVES = sorted(leaves(), key=lambda cls: cls.__name__)
BACK = {cls: InternalServerError if cls is Corrupt else cls for cls in LEAVES}
"""What arrives: damage at the node is nothing that a client can tell from another failure."""


@pytest.mark.parametrize("cls", LEAVES)
def test_every_error_has_one_status_and_one_code_and_comes_back(
    cls: type[AntipodesError],
) -> None:
    error = cls("what happened")
    status = wire_errors.to_status(error)
    assert wire_errors.status_code(error) is wire_errors.STATUS_OF[cls]
    assert status.code == wire_errors.STATUS_OF[cls].value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (cls.code, "dynamodb.amazonaws.com")
    again = wire_errors.from_status(status_pb2.Status.FromString(status.SerializeToString()))
    assert type(again) is BACK[cls]
    assert str(again) == "what happened"
    message = wire_errors.to_message(error)
    assert (message.code, message.retryable) == (cls.code, cls.retryable)
    received = wire_errors.from_message(message)
    assert type(received) is BACK[cls]
    assert received.message == "what happened"
    assert wire_errors.from_status(status_pb2.Status.FromString(message.status)) is not None


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in LEAVES if cls is not Corrupt]
    assert len(set(codes)) == len(codes)
    assert set(codes) == set(errors.BY_CODE)
    assert set(wire_errors.STATUS_OF) == set(LEAVES)


def test_status_of_somebody_else_is_not_ours() -> None:
    assert wire_errors.from_status(status_pb2.Status(code=5, message="x")) is None
    assert str(errors.error_for("NewerException", "text")) == "text"


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.ServiceUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.RequestTimeout),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.ValidationException),
        (grpc.StatusCode.UNIMPLEMENTED, errors.UnknownOperationException),
        (grpc.StatusCode.UNKNOWN, InternalServerError),
    ],
)
def test_failed_call_without_details_is_judged_by_its_status(
    code: grpc.StatusCode, cls: type[AntipodesError]
) -> None:
    empty = grpc.aio.Metadata()
    found = wire_errors.from_call(grpc.aio.AioRpcError(code, empty, empty, details=""))
    assert type(found) is cls
    assert code.name in str(found)


ORIGINS = (Origin("eu-west-2", 1), Origin("us-east-1", 3))


@pytest.mark.parametrize(
    "message",
    [
        tailing.Hello(1, "c", ORIGINS[0], ORIGINS[1], 17),
        tailing.Progress(((ORIGINS[0], 5), (ORIGINS[1], 6)), 99),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_a_receiver_says_survives_the_wire(message: Any) -> None:
    printed = wire_replication.request_to_wire(message).SerializeToString()
    request = replication_pb2.TailRequest.FromString(printed)
    assert wire_replication.request_from_wire(request) == message


@pytest.mark.parametrize(
    "message",
    [
        tailing.Welcome(ORIGINS[0], ORIGINS),
        tailing.Batch(3, 9, (b"entry", b""), 0xFFFFFFFF, ORIGINS),
        tailing.Heartbeat(9, 8, 1 << 63, 12345, ((ORIGINS[1], 7),)),
        *(tailing.Reject(reason, "because") for reason in tailing.RejectReason),
    ],
    ids=lambda m: m.reason.name if isinstance(m, tailing.Reject) else type(m).__name__,
)
def test_what_an_origin_says_survives_the_wire(message: Any) -> None:
    wire = wire_replication.response_to_wire(message, "c", ORIGINS[0])
    response = replication_pb2.TailResponse.FromString(wire.SerializeToString())
    assert wire_replication.response_from_wire(response) == message


def test_messages_of_a_newer_version_are_ignored_or_taken_as_a_refusal() -> None:
    assert wire_replication.request_from_wire(replication_pb2.TailRequest()) is None
    assert wire_replication.response_from_wire(replication_pb2.TailResponse()) is None
    newer = replication_pb2.TailResponse()
    newer.reject.reason = 77  # type: ignore[assignment]
    newer.reject.message = "why"
    understood = wire_replication.response_from_wire(newer)
    assert understood == tailing.Reject(tailing.RejectReason.FENCED, "why")


def test_link_states_have_the_numbers_of_the_wire() -> None:
    for state in tailing.LinkState:
        assert admin_pb2.LinkState.Name(admin_pb2.LinkState.ValueType(state.value)) == (
            f"LINK_STATE_{state.name}"
        )


@pytest.mark.parametrize("view_type", VIEW_TYPES)
def test_create_table_has_the_same_meaning_on_the_wire(view_type: str) -> None:
    request = tables_pb2.CreateTableRequest(
        table_name="things",
        attribute_definitions=[
            tables_pb2.AttributeDefinition(
                attribute_name="p", attribute_type=tables_pb2.SCALAR_ATTRIBUTE_TYPE_B
            )
        ],
        key_schema=[
            tables_pb2.KeySchemaElement(attribute_name="p", key_type=tables_pb2.KEY_TYPE_HASH)
        ],
        stream_specification=tables_pb2.StreamSpecification(
            stream_enabled=True,
            stream_view_type=tables_pb2.StreamViewType.Value(f"STREAM_VIEW_TYPE_{view_type}"),
        ),
    )
    parsed = parse_create_table(wire_tables.create_to_json(request))
    assert parsed.view_type == view_type
    assert parsed.schema.partition == ("p", "B")


def test_enum_value_is_named_as_dynamodb_names_it() -> None:
    assert wire_tables.enum_name(tables_pb2.KeyType, tables_pb2.KEY_TYPE_RANGE) == "RANGE"
    assert wire_tables.enum_name(tables_pb2.KeyType, 0) == "UNSPECIFIED"
    assert wire_tables.enum_name(tables_pb2.KeyType, 77) == "77"


def test_description_keeps_every_member_on_the_wire() -> None:
    stream = open_stream(bytes(16), "NEW_AND_OLD_IMAGES", 1, 1_700_000_000_123)
    schema = KeySchema(KeyAttribute("p", "S"), KeyAttribute("s", "N"))
    regions = ("eu-west-2", "us-east-1")
    table = Table("things", bytes(16), bytes(4), schema, regions, "ACTIVE", 5_500, stream)
    described = describe(table, "us-east-1", 3, 99, frozenset({"eu-west-2"}))
    wire = wire_tables.description_to_wire(described)
    assert wire.table_name == "things"
    assert wire.creation_date_time == 5.5
    assert (wire.item_count, wire.table_size_bytes) == (3, 99)
    assert wire.latest_stream_label == "2023-11-14T22:13:20.123"
    assert wire.global_table_version == "2019.11.21"
    [replica] = wire.replicas
    assert (replica.region_name, replica.replica_status) == (
        "eu-west-2", tables_pb2.REPLICA_STATUS_CREATING,
    )  # fmt: skip
    assert [element.key_type for element in wire.key_schema] == [
        tables_pb2.KEY_TYPE_HASH, tables_pb2.KEY_TYPE_RANGE,
    ]  # fmt: skip
