"""Settings of a node."""

from pathlib import Path
from typing import Annotated, Self

import pydantic

from antipodes.cli.process import ProcessSettings, parse_pairs
from antipodes.core import limits
from antipodes.core.regions import valid_name

LOOPBACK = ("localhost", "[::1]", "::1")


def parse_address(text: str) -> tuple[str, int]:
    """Split ``host:port``.

    Raises:
        ValueError: Not of that form, or the port is out of range.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65_535:
        raise ValueError(f"{text!r} is not of the form HOST:PORT")
    return host, int(port)


class NodeSettings(ProcessSettings):
    """Everything that can be set about a node. `cluster_id` must be the same in all regions."""

    region: str = pydantic.Field(
        description="Name of the region that this node serves, for example eu-west-2."
    )
    cluster_id: str = pydantic.Field(
        "antipodes", min_length=1, max_length=64,
        description="Name of the cluster; nodes of another cluster are refused.",
    )  # fmt: skip
    data_dir: Path = pydantic.Field(description="Directory that holds this region's data.")
    listen: str = pydantic.Field(
        "127.0.0.1:7401", description="HOST:PORT to answer gRPC on; port 0 takes a free one."
    )
    http_listen: str = pydantic.Field(
        "", description="HOST:PORT to answer DynamoDB's HTTP protocol on; empty answers nowhere."
    )
    auth: str = pydantic.Field(
        "none", pattern="^none$",
        description="Who may use the HTTP door: none takes any signature, or no signature.",
    )  # fmt: skip
    insecure_listen: bool = pydantic.Field(
        False, description="Answer HTTP beyond this machine although everybody may do everything."
    )
    peer: Annotated[dict[str, str], pydantic.BeforeValidator(parse_pairs)] = pydantic.Field(
        default_factory=dict,
        description="Another region and where its node answers, REGION=HOST:PORT; repeat for each.",
    )
    map_bytes: int = pydantic.Field(
        256 * limits.MIB, ge=limits.MIB,
        description="Size of the database's memory map to begin with; it doubles when full.",
    )  # fmt: skip
    map_bytes_max: int = pydantic.Field(
        1 << 40, ge=limits.MIB, description="What the memory map may grow to."
    )
    drain_seconds: float = pydantic.Field(
        2.0, ge=0, le=300, description="How long calls under way may go on after SIGTERM."
    )

    @classmethod
    def env_prefix(cls) -> str:
        """Prefix of the environment variables."""
        return "ANTIPODES_NODE_"

    @pydantic.field_validator("region")
    @classmethod
    def _check_region(cls, region: str) -> str:
        if not valid_name(region):
            raise ValueError("a region is named by lower-case words and digits, like eu-west-2")
        return region

    @pydantic.field_validator("listen")
    @classmethod
    def _check_listen(cls, listen: str) -> str:
        parse_address(listen)
        return listen

    @pydantic.field_validator("http_listen")
    @classmethod
    def _check_http_listen(cls, http_listen: str) -> str:
        if http_listen:
            parse_address(http_listen)
        return http_listen

    @pydantic.field_validator("peer")
    @classmethod
    def _check_peers(cls, peers: dict[str, str]) -> dict[str, str]:
        for region, address in peers.items():
            if not valid_name(region):
                raise ValueError(f"{region!r} cannot be the name of a region")
            parse_address(address)
        if len(peers) >= limits.REGIONS_MAX:
            raise ValueError(f"a cluster has at most {limits.REGIONS_MAX} regions")
        return peers

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.region in self.peer:
            raise ValueError(f"region {self.region} is its own peer; name only the others")
        if self.http_listen and not self.insecure_listen:
            host, _ = parse_address(self.http_listen)
            if host not in LOOPBACK and not host.startswith("127."):
                raise ValueError(
                    f"http_listen {self.http_listen} is reachable from other machines and auth is"
                    " none; listen on 127.0.0.1, or set insecure_listen to allow everybody"
                    " everything"
                )
        if self.map_bytes_max < self.map_bytes:
            raise ValueError("map_bytes_max lies below map_bytes")
        return self
