"""Settings of a node: where they come from, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest

from antipodes.cli.process import RefusedToStart
from antipodes_node.settings import NodeSettings

SOUND: dict[str, Any] = {"region": "us-east-1", "data_dir": "data"}


def load(environ: dict[str, str] | None = None, **flags: Any) -> NodeSettings:
    return NodeSettings.load(SOUND | flags, environ=environ or {})


def test_flags_win_over_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        'region = "a-1"\ncluster_id = "file"\nmap_bytes = 1048576\ndata_dir = "d"\n'
        '[peer]\neu-west-2 = "h:1"\n'
    )
    environ = {"ANTIPODES_NODE_CLUSTER_ID": "env", "ANTIPODES_NODE_REGION": "b-1"}
    settings = NodeSettings.load({"region": "c-1", "listen": None, "peer": ()}, file, environ)
    assert (settings.region, settings.cluster_id, settings.map_bytes) == ("c-1", "env", 1 << 20)
    assert settings.peer == {"eu-west-2": "h:1"}
    assert settings.listen == "127.0.0.1:7401"


def test_peers_come_as_flags_or_as_one_variable() -> None:
    expected = {"eu-west-2": "h:1", "a-1": "[::1]:2"}
    assert load(peer=("eu-west-2=h:1", "a-1=[::1]:2")).peer == expected
    assert load({"ANTIPODES_NODE_PEER": "eu-west-2=h:1, a-1=[::1]:2"}).peer == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"region": "US"}, ["region", "lower-case words and digits", "'US'"]),
        ({"region": "a" * 33}, ["region"]),
        ({"region": "../x"}, ["region"]),
        ({"data_dir": None}, ["data_dir", "Field required"]),
        ({"cluster_id": ""}, ["cluster_id"]),
        ({"listen": "7401"}, ["listen", "'7401' is not of the form HOST:PORT"]),
        ({"listen": "h:70000"}, ["listen"]),
        ({"peer": ("eu-west-2",)}, ["peer", "NAME=VALUE"]),
        ({"peer": ("eu-west-2=h",)}, ["peer", "HOST:PORT"]),
        ({"peer": ("EU=h:1",)}, ["peer", "'EU' cannot be the name of a region"]),
        ({"peer": ("a-1=h:1", "a-1=h:2")}, ["peer", "a-1 is given twice"]),
        ({"peer": ("us-east-1=h:1",)}, ["us-east-1 is its own peer; name only the others"]),
        ({"peer": tuple(f"r-{n}=h:1" for n in range(16))}, ["at most 16 regions"]),
        ({"map_bytes": "12"}, ["map_bytes"]),
        ({"map_bytes": str(8 << 20), "map_bytes_max": str(4 << 20)}, ["lies below map_bytes"]),
        ({"drain_seconds": "-1"}, ["drain_seconds"]),
        ({"log_level": "loud"}, ["log_level"]),
        ({"log_format": "xml"}, ["log_format"]),
    ],
    ids=str,
)
def test_wrong_setting_is_refused_by_name(flags: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RefusedToStart) as caught:
        load(**flags)
    for word in words:
        assert word in caught.value.problem
    assert "ANTIPODES_NODE_* variables" in caught.value.remedy


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(RefusedToStart) as caught:
        load(region="US", listen="x", log_level="loud")
    assert all(name in caught.value.problem for name in ("region", "listen", "log_level"))


@pytest.mark.parametrize("content", ["region = ", "unknown_setting = 1\n", None])
def test_unreadable_file_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "node.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RefusedToStart) as caught:
        NodeSettings.load(SOUND, file, {})
    assert str(file) in caught.value.problem or "unknown_setting" in caught.value.problem


def test_every_setting_is_described() -> None:
    for name, field in NodeSettings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
