"""Tables: one region's, and those that several regions make together."""

import asyncio
from typing import Any

import orjson
import pytest

from antipodes.core.errors import (
    ResourceInUseException,
    ResourceNotFoundException,
    ServiceUnavailable,
    ValidationException,
)
from antipodes.v1 import replication_pb2, replication_pb2_grpc, tables_pb2
from tests.integration.nodes import ASIA, EU, US, Client, Cluster, Start, eventually, failing, item

pytestmark = pytest.mark.integration

NEW_AND_OLD = "NEW_AND_OLD_IMAGES"


@pytest.fixture
async def client(cluster: Cluster) -> Client:
    [client] = cluster.clients.values()
    return client


async def add_replica(client: Client, region: str, table: str = "things") -> dict[str, Any]:
    return await client.call(
        "UpdateTable", TableName=table, ReplicaUpdates=[{"Create": {"RegionName": region}}]
    )


async def describe(client: Client, table: str = "things") -> dict[str, Any]:
    found: dict[str, Any] = (await client.call("DescribeTable", TableName=table))["Table"]
    return found


async def present_nowhere(cluster: Cluster, table: str = "things") -> None:
    for client in cluster.clients.values():

        async def absent(client: Client = client) -> bool:
            return table not in await client.tables_listed()

        await eventually(absent)


async def test_new_table_is_described_and_listed(client: Client) -> None:
    made = (await client.create(view_type="KEYS_ONLY"))["TableDescription"]
    assert made["TableStatus"] == "CREATING"
    found = await describe(client)
    assert found["TableStatus"] == "ACTIVE"
    assert found["TableId"] == made["TableId"]
    assert found["KeySchema"] == [
        {"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "s", "KeyType": "RANGE"},
    ]  # fmt: skip
    assert found["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    assert found["LatestStreamArn"].startswith(found["TableArn"] + "/stream/")
    assert "Replicas" not in found
    assert await client.tables_listed() == ["things"]


async def test_description_counts_items_and_bytes(client: Client) -> None:
    await client.create()
    await client.put("x", n={"N": "42"})
    await client.put("y")
    await client.put("y", n={"N": "42"})
    await client.delete("x")
    found = await describe(client)
    assert (found["ItemCount"], found["TableSizeBytes"]) == (1, len("pysan") + 2)


async def test_both_doors_describe_a_table_alike(client: Client) -> None:
    made = await client.tables.CreateTable(
        tables_pb2.CreateTableRequest(
            table_name="things",
            attribute_definitions=[
                tables_pb2.AttributeDefinition(
                    attribute_name="p", attribute_type=tables_pb2.SCALAR_ATTRIBUTE_TYPE_N
                )
            ],
            key_schema=[
                tables_pb2.KeySchemaElement(attribute_name="p", key_type=tables_pb2.KEY_TYPE_HASH)
            ],
            stream_specification=tables_pb2.StreamSpecification(
                stream_enabled=True, stream_view_type=tables_pb2.STREAM_VIEW_TYPE_NEW_IMAGE
            ),
        )
    )
    assert made.table_description.table_status == tables_pb2.TABLE_STATUS_CREATING
    request = tables_pb2.DescribeTableRequest(table_name="things")
    by_unary = (await client.tables.DescribeTable(request)).table
    found = await describe(client)
    assert by_unary.table_id == found["TableId"]
    assert by_unary.latest_stream_arn == found["LatestStreamArn"]
    assert found["AttributeDefinitions"] == [{"AttributeName": "p", "AttributeType": "N"}]
    assert by_unary.stream_specification.stream_view_type == tables_pb2.STREAM_VIEW_TYPE_NEW_IMAGE
    deleted = await client.tables.DeleteTable(tables_pb2.DeleteTableRequest(table_name="things"))
    assert deleted.table_description.table_status == tables_pb2.TABLE_STATUS_DELETING
    assert list((await client.tables.ListTables(tables_pb2.ListTablesRequest())).table_names) == []


async def test_tables_are_listed_in_pages(client: Client) -> None:
    for name in ("ccc", "aaa", "bbb"):
        await client.create(name)
    first = await client.call("ListTables", Limit=2)
    assert first == {"TableNames": ["aaa", "bbb"], "LastEvaluatedTableName": "bbb"}
    second = await client.call("ListTables", Limit=2, ExclusiveStartTableName="bbb")
    assert second == {"TableNames": ["ccc"]}
    for limit in (0, 101):
        assert isinstance(
            await failing(client.call("ListTables", Limit=limit)), ValidationException
        )


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"TableName": None}, "Value null at 'tableName'"),
        ({"TableName": "a/b/c"}, "regular expression pattern"),
        ({"KeySchema": []}, "'keySchema'"),
        ({"KeySchema": [{"AttributeName": "p", "KeyType": "RANGE"}]}, "is not a HASH key type"),
        ({"KeySchema": [{"AttributeName": "q", "KeyType": "HASH"}]},
         "not defined in AttributeDefinitions. Keys: [q], AttributeDefinitions: [p]"),
        ({"KeySchema": [{"AttributeName": "p", "KeyType": "HASH"},
                        {"AttributeName": "p", "KeyType": "RANGE"}]}, "have the same name"),
        ({"KeySchema": [{"KeyType": "HASH"}]},
         "Value null at 'keySchema.1.member.attributeName'"),
        ({"AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"},
                                   {"AttributeName": "q", "AttributeType": "S"}]},
         "does not exactly match"),
        ({"AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "M"}]},
         "Value 'M' at 'attributeDefinitions.1.member.attributeType'"),
        ({"AttributeDefinitions": [{"AttributeName": "p" * 256, "AttributeType": "S"}]}, "255"),
        ({"StreamSpecification": {"StreamEnabled": True}}, "StreamViewType must be specified"),
        ({"StreamSpecification": {"StreamEnabled": False, "StreamViewType": "KEYS_ONLY"}},
         "cannot be specified"),
        ({"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "ALL"}},
         "'streamSpecification.streamViewType'"),
        ({"GlobalSecondaryIndexes": []}, "does not support the parameter GlobalSecondaryIndexes"),
        ({"Replicas": [{"RegionName": "mars-north-1"}]},
         "Region 'mars-north-1' is not part of this cluster; its regions are us-east-1"),
    ],
    ids=str,
)  # fmt: skip
async def test_bad_create_is_refused(client: Client, changed: dict[str, Any], text: str) -> None:
    request = {
        "TableName": "things",
        "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}],
    }
    problem = await failing(client.call("CreateTable", **(request | changed)))
    assert isinstance(problem, ValidationException)
    assert text in str(problem)
    assert await client.tables_listed() == []


async def test_table_that_exists_is_not_made_again(client: Client) -> None:
    await client.create()
    problem = await failing(client.create())
    assert isinstance(problem, ResourceInUseException)
    assert str(problem) == "Table already exists: things"


async def test_table_that_does_not_exist_is_not_found(client: Client) -> None:
    for operation, more in (
        ("DescribeTable", {}),
        ("DeleteTable", {}),
        ("UpdateTable", {"ReplicaUpdates": [{"Create": {"RegionName": US}}]}),
    ):
        problem = await failing(client.call(operation, TableName="things", **more))
        assert isinstance(problem, ResourceNotFoundException)
        assert str(problem) == "Requested resource not found: Table: things not found"


async def test_deleted_table_leaves_nothing_behind(client: Client) -> None:
    await client.create(view_type=NEW_AND_OLD)
    old_id = (await describe(client))["TableId"]
    await client.put("x")
    await client.call("DeleteTable", TableName="things")
    assert isinstance(await failing(client.get("x")), ResourceNotFoundException)
    await client.create()
    assert (await describe(client))["TableId"] != old_id
    assert await client.get("x") is None
    assert (await describe(client))["ItemCount"] == 0


async def test_table_appears_in_all_its_regions_with_the_same_id(clusters: Start) -> None:
    cluster = await clusters(3)
    await cluster[EU].create(replicas=(US, ASIA))
    ids = set()
    for region, client in cluster.clients.items():

        async def active(client: Client = client) -> dict[str, Any] | None:
            found = await describe(client)
            return found if found["TableStatus"] == "ACTIVE" else None

        found = await eventually(active)
        ids.add(found["TableId"])
        others = sorted(set(cluster.ports) - {region})
        assert [replica["RegionName"] for replica in found["Replicas"]] == others
        assert found["StreamSpecification"]["StreamViewType"] == NEW_AND_OLD
        assert found["TableArn"] == f"arn:aws:dynamodb:{region}:000000000000:table/things"
    assert len(ids) == 1


async def test_table_is_made_nowhere_when_a_region_is_down(clusters: Start) -> None:
    cluster = await clusters(3)
    await cluster.stop(ASIA)
    problem = await failing(cluster[US].create(replicas=(EU, ASIA)))
    assert isinstance(problem, ServiceUnavailable)
    assert f"region {ASIA} cannot take part" in str(problem)
    assert "made in no region; try again when all its regions are up" in str(problem)
    await present_nowhere(cluster)
    await cluster.start(ASIA)
    await present_nowhere(cluster)
    await eventually(lambda: cluster[US].create(replicas=(EU, ASIA)))
    await cluster[US].put("x")
    await cluster.converged()


async def test_table_is_made_nowhere_when_its_name_is_taken_in_another_region(
    clusters: Start,
) -> None:
    cluster = await clusters(3)
    await cluster[ASIA].create()
    problem = await failing(cluster[US].create(replicas=(EU, ASIA)))
    assert isinstance(problem, ResourceInUseException)
    assert str(problem) == f"Table already exists: things in region {ASIA}"
    await eventually(lambda: _lacks(cluster[US]))
    await eventually(lambda: _lacks(cluster[EU]))
    assert "Replicas" not in await describe(cluster[ASIA])


async def _lacks(client: Client, table: str = "things") -> bool:
    return table not in await client.tables_listed()


async def test_two_regions_that_make_the_same_table_at_once_end_with_one_or_none(
    clusters: Start,
) -> None:
    cluster = await clusters(2)
    made = await asyncio.gather(
        cluster[US].create(replicas=(EU,)), cluster[EU].create(replicas=(US,)),
        return_exceptions=True,
    )  # fmt: skip
    refused = [each for each in made if isinstance(each, BaseException)]
    assert all(isinstance(each, ResourceInUseException) for each in refused)
    assert len(refused) >= 1

    async def agreed() -> bool:
        names = [await client.tables_listed() for client in cluster.clients.values()]
        return names == ([[], []] if len(refused) == 2 else [["things"], ["things"]])

    await eventually(agreed)
    if len(refused) == 2:
        await cluster[US].create(replicas=(EU,))
    ids = {(await describe(client))["TableId"] for client in cluster.clients.values()}
    assert len(ids) == 1


async def test_change_whose_coordinator_died_undecided_is_forgotten(clusters: Start) -> None:
    cluster = await clusters(2)
    await cluster[EU].create("taken")
    table = await describe(cluster[EU], "taken")
    change = {
        "format": 1, "id": "c" * 32, "kind": "create", "coordinator": US,
        "participants": [EU, US], "name": "things", "table_id": table["TableId"].replace("-", ""),
        "schema": [["p", "S"]], "regions": [EU, US], "created_ms": 1, "view_type": None,
    }  # fmt: skip
    change["table_id"] = "ab" * 16
    stub = replication_pb2_grpc.ReplicationStub(cluster[EU].channel)
    await stub.PrepareTableChange(
        replication_pb2.PrepareTableChangeRequest(
            cluster_id="test",
            protocol_version=1,
            coordinator=US,
            change_id="c" * 32,
            change=orjson.dumps(change),
        )
    )
    # The region that decides knows nothing of it, so it was not decided.
    await eventually(lambda: _lacks(cluster[EU]))
    await cluster[EU].create()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"cluster_id": "other"}, "belongs to cluster 'other'"),
        ({"protocol_version": 99}, "speaks replication protocol 99"),
        ({"change": b"{"}, "cannot be read"),
        ({"change": b"[]"}, "cannot be read"),
        ({"change": b'{"format":1}'}, "cannot be read"),
        ({"change": b'{"format":2}'}, "format 2"),
    ],
    ids=str,
)
async def test_strange_table_change_is_refused(
    cluster: Cluster, client: Client, changed: dict[str, Any], text: str
) -> None:
    values: dict[str, Any] = {
        "cluster_id": "test", "protocol_version": 1, "coordinator": EU, "change_id": "x"
    }  # fmt: skip
    stub = replication_pb2_grpc.ReplicationStub(client.channel)
    request: Any = replication_pb2.PrepareTableChangeRequest(**(values | changed))
    problem = await failing(stub.PrepareTableChange(request))
    assert isinstance(problem, ValidationException)
    assert text in str(problem)


async def test_replica_is_added_to_an_empty_table(clusters: Start) -> None:
    cluster = await clusters(3)
    await cluster[US].create()
    answer = await add_replica(cluster[US], EU)
    assert answer["TableDescription"]["TableStatus"] == "UPDATING"
    await eventually(lambda: cluster[US].put("x"))
    await eventually(lambda: cluster[EU].put("y"))
    await eventually(lambda: cluster[EU].get("x"))
    await eventually(lambda: cluster[US].get("y"))
    assert await _lacks(cluster[ASIA])
    problem = await failing(add_replica(cluster[US], ASIA))
    assert "has data" in str(problem)


@pytest.mark.parametrize("deleted", [False, True], ids=["data", "tombstone"])
async def test_replica_is_not_added_to_a_table_that_was_written_to(
    clusters: Start, deleted: bool
) -> None:
    cluster = await clusters(2)
    await cluster[US].create()
    await cluster[US].put("x")
    if deleted:
        await cluster[US].delete("x")
    problem = await failing(add_replica(cluster[US], EU))
    assert isinstance(problem, ValidationException)
    assert f"Table things has data in region {US}: a replica can be added" in str(problem)
    assert "Create the table with its replicas, or add them while it is empty" in str(problem)
    await cluster[US].put("y")  # it stays as it was
    assert "Replicas" not in await describe(cluster[US])
    assert await _lacks(cluster[EU])


@pytest.mark.parametrize(
    ("updates", "text"),
    [
        ([], "'replicaUpdates'"),
        ([{"Delete": {"RegionName": EU}}], "only the Create action"),
        ([{"Create": {"RegionName": "mars-1"}}], "'mars-1' is not part of this cluster"),
        ([{"Create": {"RegionName": US}}], f"already existed as tables: {US}"),
        ([{"Create": {}}], "'replicaUpdates.1.member.create.regionName'"),
    ],
    ids=str,
)
async def test_bad_replica_update_is_refused(client: Client, updates: Any, text: str) -> None:
    await client.create()
    request = {"TableName": "things", "ReplicaUpdates": updates}
    problem = await failing(client.call("UpdateTable", **request))
    assert isinstance(problem, ValidationException)
    assert text in str(problem)


async def test_table_with_a_narrow_stream_gets_no_replica(clusters: Start) -> None:
    cluster = await clusters(2)
    await cluster[US].create(view_type="KEYS_ONLY")
    problem = await failing(add_replica(cluster[US], EU))
    assert "streams KEYS_ONLY; a table with replicas streams NEW_AND_OLD_IMAGES" in str(problem)


async def test_delete_of_a_global_table_must_say_so(pair: Cluster) -> None:
    problem = await failing(pair[US].call("DeleteTable", TableName="things"))
    assert isinstance(problem, ValidationException)
    assert f"has replicas in {EU}" in str(problem)
    assert "AllReplicas" in str(problem)
    await pair[US].call("DeleteTable", TableName="things", AllReplicas=True)
    await present_nowhere(pair)


async def test_deleted_table_takes_late_entries_with_it(pair: Cluster) -> None:
    await pair[EU].pause(US)
    await pair[US].put("late")
    await pair[US].call("DeleteTable", TableName="things", AllReplicas=True)
    await present_nowhere(pair)
    await pair[US].create("fresh", replicas=(EU,))
    await pair[EU].resume(US)
    await pair[US].put("x", table="fresh")
    await eventually(lambda: pair[EU].get("x", table="fresh"))


async def test_region_receives_only_its_tables(clusters: Start) -> None:
    cluster = await clusters(3)
    await cluster[US].create("wide", replicas=(EU, ASIA))
    await cluster[US].create("narrow", replicas=(EU,))
    await cluster[US].create("local")
    for table in ("narrow", "local", "wide"):
        await cluster[US].put("x", table=table)
    await eventually(lambda: cluster[ASIA].get("x", table="wide"))
    await eventually(lambda: cluster[EU].get("x", table="narrow"))
    assert await cluster[ASIA].tables_listed() == ["wide"]
    assert await cluster[EU].tables_listed() == ["narrow", "wide"]
    assert (await cluster[ASIA].link(US)).entries_applied == 1
    assert (await cluster[EU].link(US)).entries_applied == 2


async def test_table_change_survives_restarts_of_everybody(clusters: Start) -> None:
    cluster = await clusters(2)
    await cluster[US].create(replicas=(EU,))
    before = await describe(cluster[US])
    await cluster.restart(US)
    await cluster.restart(EU)
    assert await describe(cluster[US]) == before
    await cluster[EU].call("PutItem", TableName="things", Item=item("x"))
    await eventually(lambda: cluster[US].get("x"))
