import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from antipodes_node.app import Node
from antipodes_node.settings import NodeSettings


class HostedNode:
    """A node on an event loop of its own, for clients that block."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        settings = NodeSettings.load(
            {
                "region": "us-east-1", "data_dir": directory, "listen": "127.0.0.1:0",
                "http_listen": "127.0.0.1:0", "drain_seconds": 0.2,
            },
            environ={},
        )  # fmt: skip
        self.node = self._run(_started(settings))
        self.endpoint = f"http://127.0.0.1:{self.node.http_port}"

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def stop(self) -> None:
        self._run(self.node.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _started(settings: NodeSettings) -> Node:
    node = Node(settings)
    await node.start()
    return node


@pytest.fixture(scope="session")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedNode]:
    node = HostedNode(tmp_path_factory.mktemp("hosted"))
    yield node
    node.stop()


def _session() -> Any:
    return boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )


@pytest.fixture(scope="session")
def boto_client(hosted: HostedNode) -> Iterator[Any]:
    """boto3's low-level client."""
    client = _session().client(
        "dynamodb", endpoint_url=hosted.endpoint, config=Config(retries={"max_attempts": 0})
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def boto_resource(hosted: HostedNode) -> Iterator[Any]:
    """boto3's resource."""
    resource = _session().resource("dynamodb", endpoint_url=hosted.endpoint)
    yield resource
    resource.meta.client.close()
