import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antipodes.cli.local_cluster import LocalCluster

REGIONS = ("us-east-1", "eu-west-2", "ap-northeast-1")


def free_ports(count: int) -> int:
    """Find the first of several free ports in a row."""
    for first in range(21_000, 60_000, count):
        probes = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return first
    raise AssertionError("no free ports")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    """Three regions and a router as processes."""
    started = LocalCluster(tmp_path / "cluster", REGIONS, free_ports(len(REGIONS) + 1))
    await started.start()
    yield started
    await started.stop()
