"""The data directory: whose it is, and that one process uses it."""

import json
import os
from pathlib import Path

import pytest

from antipodes.cli.process import RefusedToStart
from antipodes_node.storage.directory import DataDirectory
from antipodes_node.storage.environment import Environment


def claim(path: Path, cluster_id: str = "c", region: str = "us-east-1") -> DataDirectory:
    return DataDirectory(path, cluster_id, region)


def refusal(path: Path, cluster_id: str = "c", region: str = "us-east-1") -> RefusedToStart:
    with pytest.raises(RefusedToStart) as caught:
        claim(path, cluster_id, region)
    return caught.value


@pytest.fixture
def claimed(tmp_path: Path) -> Path:
    """A directory that was used before."""
    path = tmp_path / "deep" / "data"
    claim(path).close()
    return path


def test_new_directory_is_made_and_marked(claimed: Path) -> None:
    identity = json.loads((claimed / "identity.json").read_text())
    assert identity == {"format": 1, "cluster_id": "c", "region": "us-east-1"}
    claim(claimed).close()


def test_directory_in_use_is_refused_until_it_is_given_back(claimed: Path) -> None:
    first = claim(claimed)
    problem = refusal(claimed)
    assert problem.problem == f"data directory {claimed} is in use by process {os.getpid()}"
    assert "--data-dir" in problem.remedy
    first.close()
    first.close()
    claim(claimed).close()


def test_directory_of_another_region_is_refused(claimed: Path) -> None:
    problem = refusal(claimed, region="eu-west-2")
    assert problem.problem == (
        f"data directory {claimed} belongs to region us-east-1, not to eu-west-2"
    )
    assert "--region us-east-1" in problem.remedy


def test_directory_of_another_cluster_is_refused(claimed: Path) -> None:
    problem = refusal(claimed, cluster_id="d")
    assert problem.problem == f"data directory {claimed} belongs to cluster 'c', not to 'd'"
    assert "--cluster-id c" in problem.remedy


def test_directory_of_another_version_is_refused(claimed: Path) -> None:
    (claimed / "identity.json").write_text('{"format":2,"cluster_id":"c","region":"us-east-1"}')
    problem = refusal(claimed)
    assert "has format 2, this version reads format 1" in problem.problem
    assert "run the version of antipodes that wrote it" in problem.remedy


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format":1}', "null", "\xff"])
def test_damaged_identity_is_refused(claimed: Path, content: str) -> None:
    (claimed / "identity.json").write_text(content, encoding="latin-1")
    problem = refusal(claimed)
    assert f"{claimed / 'identity.json'} is damaged" in problem.problem
    assert "restore it from a backup" in problem.remedy


def test_data_without_an_identity_is_refused(claimed: Path) -> None:
    (claimed / "identity.json").unlink()
    problem = refusal(claimed, region="eu-west-2")
    assert f"{claimed / 'identity.json'} is missing, but {claimed / 'lmdb'} holds data" in str(
        problem
    )
    assert not (claimed / "identity.json").exists()


@pytest.mark.parametrize("where", ["/proc/none/data", "file", "file/below"])
def test_path_that_cannot_be_a_directory_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / where
    problem = refusal(path)
    assert f"data directory {path} cannot be written" in problem.problem
    assert "--data-dir" in problem.remedy


def test_refusal_gives_the_directory_back(claimed: Path) -> None:
    refusal(claimed, region="eu-west-2")
    claim(claimed).close()


def test_database_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 100_000)
    with pytest.raises(RefusedToStart) as caught:
        Environment(tmp_path, 1 << 20, 1 << 20)
    assert f"the database in {tmp_path} cannot be opened" in caught.value.problem
    assert "restore the directory from a backup" in caught.value.remedy


def test_map_grows_to_its_bound_and_covers_what_is_there(tmp_path: Path) -> None:
    environment = Environment(tmp_path, 1 << 20, 3 << 20)
    bounds = []
    for _ in range(2):
        environment.grow()
        bounds.append((environment.map_bytes, environment.can_grow))
    assert bounds == [(2 << 20, True), (3 << 20, False)]
    with environment.write() as txn:
        txn.put(b"x", bytes(5 << 18), db=environment.dbs.meta)
    assert 5 << 18 < environment.used_bytes < 2 << 20
    environment.close()
    again = Environment(tmp_path, 1 << 20, 16 << 20)
    assert again.map_bytes >= again.used_bytes
    with again.read() as txn:
        assert txn.get(b"x", db=again.dbs.meta) == bytes(5 << 18)
    again.close()
    bounded = Environment(tmp_path, 1 << 20, 1 << 20)  # never below what is in use
    assert 5 << 18 < bounded.map_bytes < 2 << 20
    bounded.close()
