"""boto3 against the router of a real cluster."""

import asyncio
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from antipodes.cli.local_cluster import LocalCluster
from tests.cluster.conftest import REGIONS, free_ports
from tests.cluster.test_kill import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def _client(endpoint: str, region: str) -> Any:
    return boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name=region
    ).client("dynamodb", endpoint_url=endpoint, config=Config(retries={"max_attempts": 0}))


async def test_boto3_reaches_the_region_it_names_and_sees_what_others_wrote(tmp_path: Path) -> None:
    port = free_ports(10)
    cluster = LocalCluster(tmp_path, REGIONS, port, port + 5)
    await cluster.start()
    try:
        endpoint = f"http://{cluster.http_address('router')}"
        clients = {region: _client(endpoint, region) for region in REGIONS}

        def create() -> None:
            clients["us-east-1"].create_table(
                TableName="songs",
                AttributeDefinitions=[{"AttributeName": "artist", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "artist", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
            for region in REGIONS[1:]:
                clients["us-east-1"].update_table(
                    TableName="songs", ReplicaUpdates=[{"Create": {"RegionName": region}}]
                )

        def put() -> str:
            answer = clients["eu-west-2"].put_item(
                TableName="songs", Item={"artist": {"S": "No One You Know"}}
            )
            return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-antipodes-served-by"])

        await asyncio.to_thread(create)
        assert await asyncio.to_thread(put) == "eu-west-2"

        async def arrived() -> bool:
            found = await asyncio.to_thread(
                clients["ap-northeast-1"].get_item,
                TableName="songs", Key={"artist": {"S": "No One You Know"}},
            )  # fmt: skip
            return "Item" in found

        await eventually(arrived, "the item reaches the third region")
        described = await asyncio.to_thread(
            clients["ap-northeast-1"].describe_table, TableName="songs"
        )
        assert {r["RegionName"] for r in described["Table"]["Replicas"]} == set(REGIONS[:2])
        for client in clients.values():
            client.close()
    finally:
        await cluster.stop()
