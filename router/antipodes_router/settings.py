"""What an operator can set, and what must hold for all of it together."""

import re
from collections.abc import Mapping
from typing import Annotated, Self

import pydantic

from antipodes.cli.process import ProcessSettings, parse_pairs
from antipodes.core.regions import AWS_REGIONS, Coordinates, valid_name
from antipodes_router.routing import parse_coordinates

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")

PORT_MAX = 65_535


def _address_problem(address: str, port_min: int) -> str:
    """Say what is wrong with a host:port text; empty when nothing is."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return f"{address!r} is not of the form HOST:PORT, for example 127.0.0.1:7401"
    if not port_min <= int(match[2]) <= PORT_MAX:
        return f"port {match[2]} of {address!r} is not between {port_min} and {PORT_MAX}"
    return ""


def _address_problems(addresses: Mapping[str, str]) -> list[str]:
    """Say what is wrong with the addresses of regions; two must not share one."""
    problems = []
    by_address: dict[str, str] = {}
    for name, address in addresses.items():
        if problem := _address_problem(address, port_min=1):
            problems.append(f"{name}: {problem}")
        if (other := by_address.setdefault(address, name)) != name:
            problems.append(f"{name} and {other} have the same address {address}")
    return problems


def _parse_places(value: object) -> object:
    """Turn NAME=LAT/LON texts into coordinates; leave other values for pydantic to judge."""
    pairs = parse_pairs(value)
    if not isinstance(pairs, dict):
        return pairs
    places: dict[object, object] = {}
    for name, place in pairs.items():
        try:
            if isinstance(place, str):
                places[name] = parse_coordinates(place, "/")
            elif isinstance(place, list | tuple):
                places[name] = parse_coordinates("/".join(map(str, place)), "/")
            else:
                places[name] = place
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return places


class RouterSettings(ProcessSettings):
    """Settings of one router. Routers keep no state: any number may run side by side."""

    listen: str = pydantic.Field(
        "127.0.0.1:7400",
        description="HOST:PORT where clients reach this router; port 0 takes any free one.",
    )
    http_listen: str = pydantic.Field(
        "",
        description="HOST:PORT where clients reach this router by DynamoDB's HTTP protocol; port 0 "
        "takes any free one, empty is off.",
    )
    cluster_id: str = pydantic.Field(
        "", description="Send traffic only to nodes of this cluster; empty takes any."
    )
    region: Annotated[dict[str, str], pydantic.BeforeValidator(parse_pairs)] = pydantic.Field(
        default_factory=dict,
        validate_default=True,
        description="A region and the HOST:PORT of its node, as NAME=ADDRESS; once per region.",
    )
    http_region: Annotated[dict[str, str], pydantic.BeforeValidator(parse_pairs)] = pydantic.Field(
        default_factory=dict,
        description="A region and the HOST:PORT where its node answers HTTP, as NAME=ADDRESS; once "
        "per region that the HTTP port may use.",
    )
    failover_named_regions: bool = pydantic.Field(
        False,
        description="Let another region serve an HTTP request whose signature names a region that "
        "is not available.",
    )
    coordinates: Annotated[dict[str, Coordinates], pydantic.BeforeValidator(_parse_places)] = (
        pydantic.Field(
            default_factory=dict,
            description="Where a region lies, as NAME=LATITUDE/LONGITUDE in degrees; needed for "
            "names that AWS does not use, wins for the others.",
        )
    )
    health_interval_ms: int = pydantic.Field(
        500, ge=10, le=60_000, description="Pause between two health checks of a region."
    )
    health_timeout_ms: int = pydantic.Field(
        1000,
        ge=10,
        le=60_000,
        description="A health check without an answer for so long takes the region out; a second "
        "one in a row also breaks the calls in flight there.",
    )
    catch_up_interval_ms: int = pydantic.Field(
        100, ge=10, le=60_000, description="Pause between two looks at a region that catches up."
    )
    catch_up_wait_ms: int = pydantic.Field(
        5000,
        ge=0,
        le=3_600_000,
        description="When no healthy region has caught up for so long, all of them get traffic.",
    )
    drain_ms: int = pydantic.Field(
        2000,
        ge=0,
        le=600_000,
        description="How long calls in flight may finish after SIGTERM or SIGINT.",
    )

    @classmethod
    def env_prefix(cls) -> str:
        """Prefix of the environment variables."""
        return "ANTIPODES_ROUTER_"

    @pydantic.field_validator("listen")
    @classmethod
    def _listen_is_an_address(cls, listen: str) -> str:
        if problem := _address_problem(listen, port_min=0):
            raise ValueError(problem)
        return listen

    @pydantic.field_validator("http_listen")
    @classmethod
    def _http_listen_is_an_address(cls, http_listen: str) -> str:
        if http_listen and (problem := _address_problem(http_listen, port_min=0)):
            raise ValueError(problem)
        return http_listen

    @pydantic.field_validator("http_region")
    @classmethod
    def _http_regions_are_reachable(cls, http_region: dict[str, str]) -> dict[str, str]:
        if problems := _address_problems(http_region):
            raise ValueError("; ".join(problems))
        return dict(sorted(http_region.items()))

    @pydantic.field_validator("region")
    @classmethod
    def _regions_are_named_and_reachable(cls, region: dict[str, str]) -> dict[str, str]:
        if not region:
            raise ValueError(
                "no region is given; name at least one with --region us-east-1=127.0.0.1:7401"
            )
        problems = [
            f"{name!r} cannot be a region's name: lower-case words and digits joined by hyphens, "
            "at most 32 characters"
            for name in region
            if not valid_name(name)
        ]
        if problems := problems + _address_problems(region):
            raise ValueError("; ".join(problems))
        return dict(sorted(region.items()))

    @pydantic.model_validator(mode="after")
    def _regions_lie_somewhere(self) -> Self:
        problems = [
            f"where region {name} lies is not known: add --coordinates {name}=LATITUDE/LONGITUDE"
            for name in self.region
            if name not in self.coordinates and name not in AWS_REGIONS
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @pydantic.model_validator(mode="after")
    def _http_regions_are_regions(self) -> Self:
        problems = [
            f"http_region: there is no region {name}; name it with --region too"
            for name in self.http_region
            if name not in self.region
        ]
        by_address = {address: name for name, address in self.region.items()}
        problems += [
            f"http_region: {address} is where {by_address[address]} answers gRPC; name the port "
            "of its node's --http-listen"
            for address in self.http_region.values()
            if address in by_address
        ]
        if self.http_listen and not self.http_region:
            problems.append(
                "http_listen is given, but no region that answers HTTP; name at least one with "
                f"--http-region {next(iter(self.region))}=127.0.0.1:8001"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def place_of(self, region: str) -> Coordinates:
        """Say where a configured region lies."""
        return self.coordinates.get(region) or AWS_REGIONS[region]
