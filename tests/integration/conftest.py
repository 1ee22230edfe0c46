from pathlib import Path
from typing import Any

import pytest

from tests.integration.nodes import REGIONS, Cluster, Start, Starting


@pytest.fixture
async def clusters(tmp_path: Path) -> Starting:
    """Starts clusters: ``await clusters(3)``; all are stopped afterwards."""
    made: list[Cluster] = []

    async def start(count: int = 1, *, started: bool = True, **changed: Any) -> Cluster:
        cluster = Cluster(tmp_path / f"cluster-{len(made)}", REGIONS[:count])
        made.append(cluster)
        if started:
            await cluster.start(**changed)
        return cluster

    yield start
    for cluster in made:
        await cluster.stop()


@pytest.fixture
async def cluster(clusters: Start) -> Cluster:
    """One node."""
    return await clusters(1)


@pytest.fixture
async def pair(clusters: Start) -> Cluster:
    """Two nodes with one table that both hold."""
    return await _with_table(await clusters(2))


@pytest.fixture
async def trio(clusters: Start) -> Cluster:
    """Three nodes with one table that all hold."""
    return await _with_table(await clusters(3))


async def _with_table(cluster: Cluster) -> Cluster:
    first, *others = cluster.ports
    await cluster[first].create(replicas=tuple(others))
    return cluster
