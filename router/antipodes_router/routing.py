"""Which region serves a request: pure, a wish and a look at the regions in, an order out.

An available region always comes before an unavailable one, whatever was wished for. Among equals
the name decides, so that two routers which see the same regions say the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite

from antipodes.core.regions import Coordinates, distance_km

UNKNOWN = -1.0
"""A round trip or distance that is not known."""


@dataclass(frozen=True, slots=True)
class RegionView:
    """What the router knows about one region at one moment.

    Attributes:
        region: Name.
        address: host:port of its node.
        coordinates: Where it lies.
        healthy: Health checks answer SERVING.
        available: Healthy and caught up: gets traffic.
        round_trip_ms: Last measured round trip, smoothed; negative when unknown.
        nearness_ms: Round trip in coarse steps that hold still, for ordering; negative when
            unknown.
        reason: Why it gets no traffic; empty when it does.
    """

    region: str
    address: str
    coordinates: Coordinates
    healthy: bool = False
    available: bool = False
    round_trip_ms: float = UNKNOWN
    nearness_ms: float = UNKNOWN
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a client is. The first of the three that is given decides.

    Attributes:
        region: This region first, the others by their distance from it; empty when not given.
        coordinates: Nearest on the globe first.
        measured_ms: Round trips that the client measured, by region; a region it did not measure
            comes after those it did.
    """

    region: str = ""
    coordinates: Coordinates | None = None
    measured_ms: Mapping[str, float] = field(default_factory=dict)


NO_WISH = Wish()


def parse_coordinates(text: str, separator: str = ",") -> Coordinates:
    """Read "latitude,longitude" in degrees.

    Raises:
        ValueError: The text is not two numbers, or one is off the globe.
    """
    try:
        latitude, longitude = map(float, text.split(separator))
    except ValueError:
        raise ValueError(f"{text!r} is not of the form LATITUDE{separator}LONGITUDE") from None
    return check_coordinates(latitude, longitude)


def check_coordinates(latitude: float, longitude: float) -> Coordinates:
    """Make coordinates of two numbers.

    Raises:
        ValueError: One is off the globe or not a number.
    """
    if not -90 <= latitude <= 90:
        raise ValueError(f"latitude {latitude:g} is not between -90 and 90")
    if not -180 <= longitude <= 180:
        raise ValueError(f"longitude {longitude:g} is not between -180 and 180")
    return Coordinates(latitude, longitude)


def order_regions(regions: Iterable[RegionView], wish: Wish = NO_WISH) -> list[RegionView]:
    """Order the regions for one request, best first.

    Args:
        regions: All regions, in any order; names are unique.
        wish: Where the client is. A region that is not among the regions counts as not given.

    Returns:
        Each of the regions once.
    """
    views = list(regions)
    cost = _cost(views, wish)
    return sorted(views, key=lambda view: (not view.available, cost(view), view.region))


def _cost(views: list[RegionView], wish: Wish) -> Callable[[RegionView], tuple[float, float]]:
    if wish.region:
        for chosen in views:
            if chosen.region == wish.region:
                # Two regions may share their coordinates; the one that was named still wins.
                return lambda view: (
                    view.region != chosen.region,
                    distance_km(chosen.coordinates, view.coordinates),
                )
    if (here := wish.coordinates) is not None:
        return lambda view: (distance_km(here, view.coordinates), 0.0)
    if wish.measured_ms:
        measured = wish.measured_ms
        return lambda view: (_known(measured.get(view.region)), _known(view.nearness_ms))
    return lambda view: (_known(view.nearness_ms), 0.0)


def _known(milliseconds: float | None) -> float:
    if milliseconds is None or not isfinite(milliseconds) or milliseconds < 0:
        return inf
    return milliseconds
